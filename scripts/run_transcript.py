"""Write down conversations about made-up runs: `python scripts/run_transcript.py docs/transcript-runs.md`.

500 pictures of three products, and a night of 40 clips. Answers come from measurement alone. Every number of
an answer is looked up again by its query on the run folder; the script fails where one isn't found.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anomalist
from anomalist.agent.asking.draft import number_texts
from anomalist.agent.chat.chat import Chat
from anomalist.agent.chat.conversations import Conversations
from anomalist.cli.ask import format_answer
from anomalist.eval.run_examples import write_clip_run, write_picture_run
from anomalist.subjects import load_subject
from anomalist.types.common import Answer

ABOUT_PICTURES = (
    "How did the run go?",
    "How many are anomalous?",
    "and on gravel?",
    "only the severe ones",
    "Which ones?",
    "Where is the defect in the second one?",
    "Why critical and not moderate?",
    "Did the same thing happen on other pictures?",
    "Compare brick with gravel.",
    "Reject rate by product, as a table",
    "Is the reject rate getting worse over time?",
    "Can I ship grass?",
    "Why did you miss the defects on grass?",
    "At what time of day do most defects occur?",
    "How many rejects between 8 and 10 am?",
    "How many pictures could not be judged?",
    "How many holes does each part have?",
    "How many marble parts are bad?",
    "What about quality?",
    "Which grass pictures are critical?",
    "All of these are fine.",
    "undo that",
)
ABOUT_CLIPS = (
    "What happened last night?",
    "How many events were there?",
    "Which camera had the most alerts?",
    "Compare the gate with the yard.",
    "What was the worst event?",
    "Was anybody in the forbidden zone?",
    "Which clips could not be judged?",
    "Who was the person at the gate?",
)
LOOKED_UP = ("search", "compare")
"""Intents whose numbers are all those of their one query."""


def main() -> None:
    """Make the runs, ask, look up, write."""
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(ANOMALIST_HOME=home, LOGNAME="inspector")
        os.chdir(home)
        parts = [
            "# Conversations about runs",
            "Made by `python scripts/run_transcript.py docs/transcript-runs.md`, without a language model.\n"
            "The runs are made up (`anomalist.eval.run_examples`); `anomalist query` finds each number\n"
            "again.",
            "## 500 pictures of three products",
            talk(write_picture_run(Path("parts-run"), 500), ABOUT_PICTURES),
            "## A night of 40 clips",
            talk(write_clip_run(Path("night-run"), 40), ABOUT_CLIPS),
        ]
    target.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def talk(run: Path, questions: Sequence[str]) -> str:
    """A conversation about a run as Markdown."""
    lines = []
    with Conversations() as kept:
        chat = Chat(load_subject(run), kept, run.name)
        for question in questions:
            reply = chat.ask(question)
            look_up(run, reply)
            lines.append(f"**{question}**\n\n```text\n{format_answer(reply)}\n```")
    return "\n\n".join(lines)


def look_up(run: Path, reply: Answer) -> None:
    """Fail where a number of an answer is not one of its query's result."""
    if reply.query is None or reply.intent not in LOOKED_UP:
        return
    found = anomalist.query(run, reply.query)
    known = set(_numbers(found.model_dump()))
    known |= {100 * value for value in known} | {round(g.of * (g.value or 0)) for g in found.groups}
    known |= {round(float(row[-1]) * float(row[-2])) for row in found.rows if _is_share(row)}
    known |= {len(found.rows), len(found.rows) - 20, round((found.value or 0) * found.matched)}
    counted = [str(row[found.columns.index("severity")]) for row in found.rows if "severity" in found.columns]
    known |= {counted.count(word) for word in counted}
    for text in number_texts(reply.text):
        value = float(text.replace(",", "").replace("−", "-"))
        if not any(abs(value - each) <= 0.006 * max(1.0, abs(each)) for each in known):
            raise SystemExit(f"{text} of {reply.text!r} is not found by: {reply.query}")


def _numbers(content: object) -> Iterator[float]:
    """Every number in a result, those in its texts included."""
    if isinstance(content, str):
        yield from (float(text.replace(",", "").replace("−", "-")) for text in number_texts(content))
    elif isinstance(content, int | float):
        yield float(content)
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _numbers(value)
    elif isinstance(content, Sequence):
        for value in content:
            yield from _numbers(value)


def _is_share(row: Sequence[object]) -> bool:
    return len(row) > 1 and isinstance(row[-1], float) and isinstance(row[-2], int)


if __name__ == "__main__":
    main()
