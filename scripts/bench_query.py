"""How long queries over many records take, and the first answer about a run: `python scripts/bench_query.py`.

Made-up records are repeated under new names until there are as many as asked for.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from anomalist.agent.asking.answering import answer, prepare
from anomalist.agent.tools.subject import Subject
from anomalist.eval.run_examples import picture_records
from anomalist.querying.execution import run_query
from anomalist.querying.parsing import parse_query
from anomalist.querying.run_tables import tables_of_runs
from anomalist.storage.run_folder import RECORDS

QUERIES = (
    "count",
    "count label=anomalous",
    "label=anomalous by kind",
    "count by folder, label",
    "share label=anomalous by product",
    "share label=anomalous compare folder=brick with folder=gravel",
    "mean score by product",
    "median p by folder",
    "label=anomalous trend hour",
    "severity>=major sort -score top 20",
    "severity=critical folder=grass",
    "name~00123",
    "regions by place, kind",
    "regions where size>10% by product",
    "claims where text~scratch by label",
    "alike brick/early/EXAMPLE.png top 50",
    "time>=2026-11-30 by severity",
)


def rows(count: int) -> Iterator[bytes]:
    """Rows of a run of ``count`` pictures."""
    made = [(record.source, record.model_dump_json().encode()) for record in picture_records(2000)]
    for number in range(count):
        source, row = made[number % len(made)]
        yield row.replace(source.encode(), source.replace(".png", f"-{number:07d}.png").encode(), 1) + b"\n"


def first_answer(count: int) -> None:
    """Print the seconds of opening a conversation about records at hand, and of its first answers."""
    made = list(picture_records(2000))
    records = tuple(
        record.replace(source=record.source.replace(".png", f"-{number:07d}.png"))
        for number, record in ((number, made[number % len(made)]) for number in range(count))
    )
    subject = Subject(records=records, cases=Path("none.sqlite"))
    for text in ("", "Can I ship this batch?", "How many are anomalous?", "Which pictures are critical?"):
        began, work = time.perf_counter(), time.process_time()
        if text:
            answer(subject, text)
        else:
            prepare(subject)
        spent, worked = time.perf_counter() - began, time.process_time() - work
        print(f"{spent:8.3f} s  ({worked:.3f} s of processor time)  {text or 'opened'}")


def main() -> None:
    """Print seconds by query."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--asked", type=int, help="only ask, in English, about so many records")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="run folder that is made, or found again")
    asked = parser.parse_args()
    if asked.asked:
        first_answer(asked.asked)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary) / "run"
        if not (folder / RECORDS).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / RECORDS).open("wb") as file:
                file.writelines(rows(asked.records))
        began = time.perf_counter()
        with tables_of_runs([folder]) as tables:
            print(f"{time.perf_counter() - began:8.2f} s  to open {tables.count('pictures'):,} records")
            ((example,),) = tables.rows("SELECT name FROM regions ORDER BY number LIMIT 1")
            slowest = 0.0
            for text in QUERIES:
                query = parse_query(text.replace("brick/early/EXAMPLE.png", str(example)))
                spent = []
                for _ in range(asked.repeats):
                    began = time.perf_counter()
                    result = run_query(tables, query)
                    spent.append(time.perf_counter() - began)
                slowest = max(slowest, statistics.median(spent))
                print(f"{statistics.median(spent):8.3f} s  {len(result.rows):9,} rows  {query}")
            print(f"{slowest:8.3f} s  the slowest, median of {asked.repeats}")


if __name__ == "__main__":
    main()
