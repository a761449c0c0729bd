"""Everything a finished run leaves for people and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalist.types import Record


def write_reports(
    records: Sequence[Record],
    folder: Path,
    calibrations: Mapping[str, Mapping[str, Any]],
    *,
    title: str | None = None,
) -> Path:
    """Write report.html, report.md, report.json, results.csv and coco.json into ``folder``.

    ``calibrations`` maps profile digests to what `RunFolder.calibration` gives. Returns the HTML file.
    """
    from anomalist.report.exports import write_coco, write_csv
    from anomalist.report.html import write_html
    from anomalist.report.markdown import write_markdown
    from anomalist.report.summary import write_json

    write_csv(records, folder / "results.csv")
    write_coco(records, folder, folder / "coco.json")
    write_json(records, folder / "report.json")
    write_markdown(records, folder / "report.md", title=title)
    return write_html(records, folder, calibrations, folder / "report.html", title=title)
