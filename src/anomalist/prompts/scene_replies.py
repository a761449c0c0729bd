"""The form in which a model writes scenes."""

from __future__ import annotations

from typing import Annotated

from anomalist.prompts.replies import Id, Text, at_most
from anomalist.types import Frozen

MOST_PAIRS = 15


class WrittenPair(Frozen):
    """A normal scene, an anomalous one at the same spot, and the kind of anomaly."""

    normal: Text
    anomalous: Text
    kind: Id


class WrittenPairs(Frozen):
    """Several of them."""

    pairs: Annotated[tuple[WrittenPair, ...], at_most(MOST_PAIRS, 1)]
