"""Published results on MMAD, to print beside measured ones; each with its source.

Rows of models are averages over the four data sets, 1-shot, from the tables in the benchmark's repository.
"""

from __future__ import annotations

from pydantic import Field

from anomalist.types.common import Frozen

_REPOSITORY = "github.com/jam-cc/MMAD, all_result, 1-shot"
_PAPER = "Jiang et al., ICLR 2025 (arXiv 2410.09453)"


class PublishedRow(Frozen):
    """One published row, in percent."""

    who: str
    detection: float | None = Field(description="whether anything is wrong: mean of normal and anomalous")
    average: float = Field(description="over all seven subtasks")
    source: str


PUBLISHED: tuple[PublishedRow, ...] = (
    PublishedRow(who="human experts", detection=None, average=86.7, source=_PAPER),
    PublishedRow(who="AD-Copilot", detection=None, average=82.3, source="arXiv 2603.13779"),
    PublishedRow(who="ordinary people", detection=None, average=78.7, source=_PAPER),
    PublishedRow(who="Qwen2-VL-72B", detection=76.2, average=78.6, source=_REPOSITORY),
    PublishedRow(who="GPT-4o", detection=67.5, average=74.3, source=_REPOSITORY),
    PublishedRow(who="Gemini 1.5 Pro", detection=68.6, average=73.1, source=_REPOSITORY),
    PublishedRow(who="Qwen2.5-VL-7B", detection=71.1, average=72.2, source=_REPOSITORY),
    PublishedRow(who="InternVL2-76B", detection=68.2, average=70.7, source=_REPOSITORY),
    PublishedRow(who="Claude 3.5 Sonnet", detection=60.1, average=68.4, source=_REPOSITORY),
)
