"""Run the benchmarks and write docs/benchmarks.md from what they print: nothing on that page is typed.

``python scripts/benchmarks.py [NAME ...] [--data $ANOMALIST_DATA]`` runs the commands of benchmarks.toml, or
those that are named, one after the other, and keeps what each prints in ``docs/figures/NAME.json`` with date,
machine and a digest of the code. What was measured with this very code is kept; ``--again`` measures it anew.
A command that fails leaves the figures of before. ``--page`` alone writes the page from what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from anomalist import __version__
from anomalist.eval.result_cache import content_key, files_digest
from anomalist.eval.run_markdown import processor, share_cell, table_cell
from anomalist.eval.run_page import field_words
from anomalist.storage.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
FIGURES, PAGE = Path("docs/figures"), Path("docs/benchmarks.md")
SETS = "sets"
DETECTION = (
    "image_auroc",
    "image_auroc_by_defect",
    "pixel_auroc",
    "aupro",
    "peak_on_defect_by_defect",
    "mask_iou_median_by_defect",
    "empty_mask_rate",
    "false_alarm_rate",
    "found_at_asked_rate",
    "oracle_at_measured_rate",
    "calibration_efficiency",
    "undecided_rate_normals",
    "undecided_rate_defects",
    "coverage",
    "error_when_decided",
    "learn_seconds",
    "ms_per_image",
    "peak_memory_mb",
)
INTRODUCTION = """\
Written by `make bench` from what each command printed; no figure here is typed. One of them alone, by
the name in square brackets: `make bench-edge`. In round brackets: 95 % intervals by bootstrap over
groups. What each column of detection is says [Evaluate](evaluate.md#columns-of-detection). Times are of the
clock, whatever else ran. Measurements of before, with what was tried, are in the
[record](measurements.md) and the [log](log.md)."""
_LONG = 8  # values that are shown one by one
_WIDE = 4  # results that are shown side by side


@dataclass(frozen=True)
class Bench:
    """A command whose figures stand on the page.

    Parameters
    ----------
    name : of its file, and on the command line.
    title : heading.
    about : what is measured, and what was aimed at.
    command : as one types it; ``$ANOMALIST_DATA`` stands for the folder of the data.
    shown : "detection" for `DETECTION`, else all figures are shown.
    column : figure that names each of several results.
    """

    name: str
    title: str
    about: str
    command: str
    shown: str = ""
    column: str = ""


def load_benches() -> tuple[Bench, ...]:
    """The benchmarks, in the order of the page."""
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["bench"]
    return tuple(
        Bench(**{name: text if name == "about" else " ".join(text.split()) for name, text in each.items()})
        for each in listed
    )


BENCHES = load_benches()


def code_key() -> str:
    """What figures depend on: the package, as for cached results of evaluations, and the scripts."""
    return content_key(files_digest(sorted((ROOT / "scripts").rglob("*.py"))))


def parsed(output: str) -> list[Any]:
    """Results of a command: its JSON objects, one a line; where there are none its text."""
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return rows or [output.strip()]


def measure(bench: Bench, data: str) -> bool:
    """Run a command and keep what it prints; False where it failed."""
    words = shlex.split(bench.command.replace("$ANOMALIST_DATA", data))
    program = Path(sys.executable).with_name(words[0])
    began = time.perf_counter()
    ran = subprocess.run([str(program), *words[1:]], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode:
        return False
    kept = {
        "command": bench.command,
        "measured": date.today().isoformat(),
        "version": __version__,
        "code": code_key(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "seconds": round(time.perf_counter() - began),
        "results": [] if bench.name == SETS else parsed(ran.stdout),
    }
    text = json.dumps(kept, indent=1, ensure_ascii=False)
    write_atomically(ROOT / FIGURES / f"{bench.name}.json", text + "\n")
    return True


def is_current(name: str) -> bool:
    """Whether there are figures of this very code."""
    path = ROOT / FIGURES / f"{name}.json"
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["code"] == code_key()


def page(figures: Path, benches: Sequence[Bench] = BENCHES) -> str:
    """The page, from the files of a folder."""
    return "\n".join(_lines(figures, benches)) + "\n"


def _lines(figures: Path, benches: Sequence[Bench]) -> Iterator[str]:
    yield "# Benchmarks"
    yield ""
    yield from INTRODUCTION.splitlines()
    for bench in benches:
        yield from (
            "",
            f"## {bench.title}",
            "",
            f"{bench.about} [{bench.name}]",
            "",
            "```",
            bench.command,
            "```",
            "",
        )
        path = figures / f"{bench.name}.json"
        if not path.is_file():
            yield "Not measured with this version."
            continue
        kept = json.loads(path.read_text(encoding="utf-8"))
        if bench.name == SETS:
            yield from _sets(figures / f"{SETS}.md")
        elif isinstance(kept["results"][0], str):
            yield from _text(kept["results"][0])
        else:
            yield from _table(bench, kept["results"])
        took = f" in {kept['seconds']:,} s" if kept["seconds"] else ""
        yield ""
        yield (
            f"Measured on {kept['measured']}{took}, version {kept['version']}, {kept['processor']}, "
            f"{kept['cores']} cores."
        )


def _sets(path: Path) -> Iterator[str]:
    """The sections of the page that ``eval all`` wrote, a level deeper."""
    _, _, sections = path.read_text(encoding="utf-8").partition("\n## ")
    yield from f"### {sections}".replace("\n## ", "\n### ").rstrip().splitlines()


def _text(output: str) -> Iterator[str]:
    """What a command printed: its tables, or all of it."""
    lines = output.splitlines()
    tables = [number for number, line in enumerate(lines) if line.startswith("|")]
    if tables:
        yield from lines[tables[0] :]
    else:
        yield from ("```", *lines, "```")


def _table(bench: Bench, results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A column a result, a row a figure; of many results without a name a row each."""
    columns = [dict(_figures(_as_one_seed(result, bench.column))) for result in results]
    names = list(dict.fromkeys(name for column in columns for name in column))
    if bench.shown == "detection":
        names = [
            name for shown in DETECTION for name in names if name == shown or name.startswith(f"{shown}: ")
        ]
    heads = [column.get(bench.column, str(number)) for number, column in enumerate(columns, 1)]
    grid = [["figure", *(heads if len(heads) > 1 else ["value"])]]
    for name in names:
        if name != bench.column:
            words = ": ".join(field_words(part) for part in name.split(": "))
            grid.append([words, *(column.get(name, "–") for column in columns)])
    if len(columns) > _WIDE and bench.column not in columns[0]:
        grid = [list(row) for row in zip(*grid[1:], strict=True)]
    heading, *rows = ("| " + " | ".join(map(table_cell, row)) + " |" for row in grid)
    yield from (heading, "|" + "---|" * len(grid[0]), *rows)


def _as_one_seed(result: dict[str, Any], column: str) -> dict[str, Any]:
    """A result over several seeds with the names of one, in a column "mean"; another one stays as it is."""
    if "measures" not in result:
        return result
    return {column: "mean", **result["measures"], **result["by_defect"]}


def _figures(result: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Figures of a result by name, intervals behind what they belong to."""
    for name, value in result.items():
        full = before + name
        if name.endswith("_interval") and name.removesuffix("_interval") in result:
            continue
        interval = result.get(f"{name}_interval")
        if isinstance(value, dict) and value.keys() == {"mean", "std", "n"}:
            yield full, f"{_number(value['mean'])} ± {_number(value['std'])}"
        elif isinstance(value, dict):
            spans = interval if isinstance(interval, dict) else {}
            inner = {**value, **{f"{key}_interval": span for key, span in spans.items()}}
            yield from _figures(inner, f"{full}: ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for number, each in enumerate(value, 1):
                if {"name", "share", "interval", "of"} <= each.keys():
                    yield f"{before}{each['name']}", share_cell(each["share"], each["interval"], each["of"])
                else:
                    yield from _figures(each, f"{full} {each.get('name', number)}: ")
        elif isinstance(value, list):
            yield full, _listed(value)
        else:
            span = f" ({_number(interval[0])} to {_number(interval[1])})" if interval else ""
            yield full, _number(value) + span


def _listed(values: Sequence[Any]) -> str:
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(values) > _LONG and len(numbers) == len(values):
        return f"{len(values)} values, {_number(min(numbers))} to {_number(max(numbers))}"
    return ", ".join(_number(value) for value in values[:_LONG]) + (" …" if len(values) > _LONG else "")


def _number(value: object) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"


def main() -> int:
    """Measure what was asked for, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks; all when none is named")
    parser.add_argument(
        "--data", default=os.environ.get("ANOMALIST_DATA", ""), help="folder of the data sets"
    )
    parser.add_argument("--again", action="store_true", help="measure what was measured with this code, too")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    asked = parser.parse_args()
    unknown = sorted(set(asked.names) - {bench.name for bench in BENCHES})
    if unknown:
        known = ", ".join(bench.name for bench in BENCHES)
        parser.error(f"There is no benchmark {unknown[0]}. There are: {known}.")
    failed = []
    chosen = (
        [] if asked.page else [bench for bench in BENCHES if not asked.names or bench.name in asked.names]
    )
    for number, bench in enumerate(chosen, 1):
        print(f"{number} of {len(chosen)}: {bench.name}", file=sys.stderr, flush=True)
        if "$ANOMALIST_DATA" in bench.command and not asked.data:
            failed.append(f"{bench.name} (set ANOMALIST_DATA to the folder of the data sets)")
        elif (asked.again or not is_current(bench.name)) and not measure(bench, asked.data):
            failed.append(bench.name)
        write_atomically(ROOT / PAGE, page(ROOT / FIGURES))
    write_atomically(ROOT / PAGE, page(ROOT / FIGURES))
    print(f"The page is {PAGE}." + "".join(f" Failed: {each}." for each in failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
