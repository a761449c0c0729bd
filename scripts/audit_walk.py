"""Write down an auditor's walk: a complaint comes in; find the decision, see why, verify, replay, export.

    python scripts/audit_walk.py docs/audit-walk.md

Everything is done anew, by the commands that the page shows, on generated pictures in a temporary folder.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.pictures import holed, tile, write, write_tiles

ANOMALIST = "from anomalist.cli.app import main; main()"
MAX_LINES = 60


def main() -> None:
    """Walk and write."""
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        text = walk(Path(place))
    target.write_text(text, encoding="utf-8")


def walk(place: Path) -> str:
    """The page; its pictures and the log lie in ``place``."""
    write_tiles(place / "good", 24)
    for number in range(8):
        bad = number in (2, 5)
        write(place / "monday" / f"plate-{number}.png", (holed if bad else tile)(600 + number))
    lines = [
        "# An auditor's walk",
        "",
        "Written by `python scripts/audit_walk.py docs/audit-walk.md`, which runs every command below on "
        "generated pictures. Ids, times and keys are others each time.",
        "",
        "On Monday eight plates are inspected.",
        "",
    ]
    lines += shown("anomalist learn good --profile plates --effort fast")
    lines += shown("anomalist inspect monday --profile plates --out monday-run --keep-media all")
    lines += ["A month later the supplier complains: plate 5 was rejected, and they want to know why.", ""]
    lines += ["## Find the decision", ""]
    lines += shown("anomalist audit search plate-5")
    (id_,) = ids_of("plate-5")
    lines += ["## See why", ""]
    lines += shown(f"anomalist audit show {id_} --out decision.html")
    lines += [
        "Is the place that it names what the verdict rests on? It is replaced by what is normal there:",
        "",
    ]
    lines += shown(f"anomalist audit reasons {id_}")
    lines += ["## Is the log what was written on Monday?", ""]
    lines += shown("anomalist audit verify")
    lines += ["## Take the decision again", "", "With the profile, the policy and the rules of Monday:", ""]
    lines += shown(f"anomalist audit replay {id_}")
    lines += ["Since then the profile was learned again, from more plates. With what is there today:", ""]
    write_tiles(place / "good", 30)
    run("anomalist learn good --profile plates --effort fast --force")
    lines += shown(f"anomalist audit replay {id_} --today")
    lines += ["## What was the promise worth?", ""]
    lines += shown("anomalist audit promises --profile plates")
    lines += ["## Hand it over", ""]
    lines += shown(f"anomalist audit export {id_} --out bundle")
    lines += ["The supplier verifies it on a plain Python, without this package or any other:", ""]
    lines += shown("python3 -I -S bundle/verify.py")
    lines += ["And had somebody made the verdict milder in the copy:", ""]
    segment = next((place / "bundle" / "log").glob("segment-*"))
    segment.write_bytes(segment.read_bytes().replace(b'"severity":3', b'"severity":1', 1))
    lines += shown("python3 -I -S bundle/verify.py")
    return "\n".join(lines).rstrip() + "\n"


def ids_of(text: str) -> list[str]:
    """Ids of the decisions that a search finds."""
    found = run(f"anomalist audit search {text} --kind inspection --json")
    return [json.loads(line)["id"] for line in found.splitlines() if line.startswith("{")]


def shown(command: str) -> list[str]:
    """A command and what it says, as Markdown."""
    said = run(command).rstrip().replace(f"{Path.cwd()}/", "")
    lines = [line.rstrip() for line in said.splitlines()]
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], "…"]
    return ["```", f"$ {command}", *lines, "```", ""]


def run(command: str) -> str:
    """What a command writes, errors and messages too."""
    words = shlex.split(command)
    program = (
        [sys.executable, *words[1:]]
        if words[0].startswith("python")
        else [sys.executable, "-c", ANOMALIST, *words[1:]]
    )
    environment = os.environ | {"ANOMALIST_HOME": "home", "LOGNAME": "inspector", "COLUMNS": "108"}
    done = subprocess.run(
        program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
    )
    return done.stdout


if __name__ == "__main__":
    main()
