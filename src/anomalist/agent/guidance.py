"""What a user adds in words: what to watch for, what to ignore, what is known about the product."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import RootModel, ValidationError

from anomalist.errors import DataError

Texts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Guidance:
    """What the user says about the pictures. The model reads it as data; the detector doesn't read it.

    Parameters
    ----------
    watch : what matters above all.
    ignore : what is no anomaly (language-guided, as in LAFT). It never takes back an alarm of the detector.
    product : what the pictures show.
    knowledge : (kind, text) on how this product looks when it is good and when it is not.
    """

    watch: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    product: str | None = None
    knowledge: Texts = ()


NO_GUIDANCE = Guidance()


class _Knowledge(RootModel[dict[str, dict[str, str | dict[str, str]]]]):
    """MMAD's domain knowledge: data set → product → text, or → kind → text."""


def product_knowledge(path: Path, product: str) -> Texts:
    """Look up a product in a file in the format of MMAD's domain knowledge.

    Parameters
    ----------
    path : JSON: data set → product → kind of defect (or "good") → text. A product may also have one text.
    product : its name, "bottle", or with the data set, "MVTec/bottle", where several have it.

    Returns
    -------
    (kind, text) in the order of the file; a single text has the kind "about".

    Raises
    ------
    DataError : the file can't be read or has another form, the product is not in it, or in several data sets.
    """
    try:
        content = _Knowledge.model_validate(json.loads(path.read_text(encoding="utf-8"))).root
    except OSError as error:
        raise DataError(f"The knowledge file {path} can't be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        what = "has another form" if isinstance(error, ValidationError) else "is not JSON"
        raise DataError(
            f"The knowledge file {path} {what}.", "It must map data set to product to kind to text."
        ) from error
    return _texts(_found(content, product, path))


def _found(
    content: Mapping[str, Mapping[str, str | dict[str, str]]], product: str, path: Path
) -> str | dict[str, str]:
    """Return the entry of a product, named with or without its data set."""
    entries = {
        (group, name): entry for group, products in content.items() for name, entry in products.items()
    }
    fitting = [key for key in entries if product in (key[1], "/".join(key))]
    if len(fitting) == 1:
        return entries[fitting[0]]
    if fitting:
        several = ", ".join("/".join(key) for key in fitting)
        raise DataError(f"{product} is in {path} more than once: {several}.", "Name one of these.")
    known = ", ".join(sorted("/".join(key) for key in entries)) or "nothing"
    raise DataError(f"{path} knows nothing about {product}.", f"It knows about {known}.")


def _texts(entry: str | dict[str, str]) -> Texts:
    return (("about", entry),) if isinstance(entry, str) else tuple(entry.items())
