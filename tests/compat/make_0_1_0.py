"""Makes home-0.1.0.zip and runs-0.1.0.zip: what anomalist 0.1.0 leaves on a disk, for test_0_1_0.py.

Not a test. It takes 0.1.0 and the tests of its time, and writes the archives beside itself:

    LOGNAME=somebody PYTHONPATH=TREE_OF_0_1_0/src:TREE_OF_0_1_0 python tests/compat/make_0_1_0.py EMPTY_FOLDER

Everything is made by 0.1.0's own commands from drawn pictures and clips, inside the folder and by relative
paths, so that no place of this machine gets into it. Pictures of 20 pixels keep the profiles small.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
from packed import pack
from PIL import Image
from typer.testing import CliRunner

import anomalist
from anomalist.cli.app import app
from tests.pictures import tile
from tests.street import Film, make_film, walker

HERE = Path(__file__).resolve().parent
SIDE = 20
RUNNER = walker(4.0, 60.0, speed=4.0)
UNTOLD = {
    *("time", "created", "updated", "milliseconds", "sha256", "profile_digest", "scene_digest"),
    *("normals", "files", "tracks", "attributes", "claims", "measures", "calibration"),
    *("opinions", "prompts", "replies", "reasoner", "detector", "policy"),
}
CAPTIONS = ("A forklift drives past the gate.", "Two men carry a plank.", "Nobody is there.")


def save(path: str, picture: np.ndarray) -> None:
    """Write a picture, with the folders that it needs."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def hole(number: int, x: int, y: int) -> np.ndarray:
    """A tile with a black hole."""
    picture = tile(number, SIDE)
    down, across = np.mgrid[:SIDE, :SIDE]
    picture[(down - y) ** 2 + (across - x) ** 2 < 9] = 5
    return picture


def stripe(number: int, start: float) -> np.ndarray:
    """A tile with a bright stripe across."""
    picture = tile(number, SIDE)
    down, across = np.mgrid[:SIDE, :SIDE]
    picture[(abs(down - 0.6 * across - start) < 1.2) & (across > 5) & (across < SIDE - 5)] = 250
    return picture


def clip(path: str, film: Film) -> None:
    """Write a film small, as H.264."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "30", "preset": "slow"})
        stream.height, stream.width = film.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in film.frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.pixels, format="rgb24")))
        container.mux(stream.encode())


def draw() -> None:
    """Draw all pictures and clips."""
    for number in range(20):
        save(f"good/{number:02d}.png", tile(number, SIDE))
    for number in range(4):
        save(f"defects/hole/{number}.png", hole(100 + number, 7 + 2 * number, 12 - number))
        save(f"defects/stripe/{number}.png", stripe(200 + number, 2.0 + number))
    save("new/a-good.png", tile(800, SIDE))
    save("new/b-hole.png", hole(801, 8, 8))
    save("new/c-stripe.png", stripe(802, 4.0))
    save("new/d-hole.png", hole(803, 11, 9))
    Path("new/e-broken.jpg").write_text("this is no picture")
    for seed in range(1, 6):
        clip(f"street/{seed}.mp4", make_film(18, people=seed))
    clip("clips/calm.mp4", make_film(7, people=43))
    clip("clips/runner.mp4", make_film(9, RUNNER, people=42))
    Path("captions.txt").write_text("\n".join(CAPTIONS * 14) + "\n")


def run(*words: str, lines: str | None = None, code: int = 0) -> tuple[str, str]:
    """Run a command in the folder; what it said on stdout and stderr."""
    print("anomalist", *words, file=sys.stderr)
    done = CliRunner().invoke(app, list(words), input=lines, catch_exceptions=False)
    print(done.output[-2000:], file=sys.stderr)
    if done.exit_code != code:
        raise SystemExit(f"exit code {done.exit_code}")
    return done.stdout, done.stderr


def rows(*words: str, lines: str | None = None, code: int = 0) -> list[dict[str, Any]]:
    """The JSON lines that a command prints."""
    return [json.loads(line) for line in run(*words, "--json", lines=lines, code=code)[0].splitlines()]


def make() -> None:
    """Leave behind what a user of 0.1.0 has."""
    run("learn", "good", "--profile", "tiles", "--effort", "fast")
    run("learn", "good", "--profile", "known", "--effort", "fast", "--defects", "defects")
    run("learn-scene", "street", "--profile", "gate")

    run("memory", "build", "--from", "captions.txt", "--name", "gate")
    run("memory", "add", "A drone hovers over the gate", "--name", "gate", "--category", "drone")

    dark = "a dark place that looks like missing material"
    run("rules", "add", dark, "--profile", "tiles", "--kind", "object", "--severity", "2", "--yes")
    run("rules", "add", "a bright stripe", "--profile", "tiles", "--polarity", "normal", "--yes")
    run("rules", "add", "somebody runs", "--profile", "gate", "--severity", "2", "--yes")
    mine = {rule["text"]: rule["id"] for name in ("tiles", "gate") for rule in listed(name)}
    run("rules", "edit", mine[dark], "--severity", "3", "--keywords", "missing", "--note", "as told", "--yes")
    run("rules", "disable", mine["a bright stripe"], "--note", "no longer", "--yes")
    run("rules", "edit", "shipped-7", "--profile", "gate", "--severity", "4", "--yes")

    run("ask", "new/b-hole.png", "This is fine.", "--profile", "tiles")
    talk = "Where is it?\nThis is a scratch, severity 3.\nHow large is it?\n"
    run("chat", "new/c-stripe.png", "--profile", "tiles", "--name", "shift 1", lines=talk)
    run("triage", "clips", "--profile", "gate", "--out", "watch")
    run("feedback", "watch", "runner.mp4:E1", "dismissed", "--note", "a jogger")
    run("inspect", "new", "--profile", "tiles", "--out", "run", code=3)


def listed(profile: str) -> list[dict[str, Any]]:
    """All rules of a profile that somebody wrote or changed, disabled ones too."""
    every = rows("rules", "list", "--profile", profile, "--all")
    return [rule for rule in every if rule["origin"] != "shipped" or rule["version"] > 1]


def told() -> dict[str, Any]:
    """What 0.1.0 says of it."""
    rules = {name: listed(name) for name in ("tiles", "gate")}
    again = ("inspect", "new", "--profile", "tiles", "--out", "run")
    said = {
        "profiles": rows("profiles"),
        "inspect": rows("inspect", "new", "--profile", "tiles", code=3),
        "known": rows("inspect", "new", "--profile", "known", code=3),
        "triage": rows("triage", "clips", "--profile", "gate"),
        "rules": rules,
        "history": {
            rule["id"]: rows("rules", "show", rule["id"]) for several in rules.values() for rule in several
        },
        "memory list": rows("memory", "list", "--name", "gate"),
        "memory search": rows("memory", "search", "a drone in the air", "--name", "gate", "-k", "2"),
        "memory stats": rows("memory", "stats", "--name", "gate"),
        "ask run": rows("ask", "run", "Which pictures are anomalous?"),
        "ask watch": rows("ask", "watch", "What happened?", "--picture", "runner.mp4"),
        "ask picture": rows("ask", "new/d-hole.png", "Where is it?", "--profile", "tiles"),
        "chats": rows("chat", "--list"),
        "alerts": json.loads(Path("watch/triage.json").read_text())["alerts"],
        "records": json.loads(Path("run/report.json").read_text())["records"],
        "inspect again": run(*again)[1],
        "chat again": rows("chat", "--name", "shift 1", lines="Where is it?\n"),
        "chat about watch": rows("chat", "watch", "--name", "night", lines="What happened in runner.mp4?\n"),
    }
    return {name: without(value, UNTOLD) for name, value in said.items()}


def without(value: Any, keys: set[str]) -> Any:
    """A JSON value without these keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(inner, keys) for key, inner in value.items() if key not in keys}
    return [without(inner, keys) for inner in value] if isinstance(value, list) else value


def main() -> None:
    """Make, ask and pack."""
    if anomalist.__version__ != "0.1.0":
        raise SystemExit(f"this is {anomalist.__version__}")
    os.chdir(sys.argv[1])
    os.environ["ANOMALIST_HOME"] = "home"
    draw()
    make()
    before = pack([Path(name) for name in ("home", "good", "new", "clips")])
    runs = pack([Path(name) for name in ("run", "watch")], without=(".html",))
    expected = json.dumps(told(), indent=1, ensure_ascii=False) + "\n"
    (HERE / "home-0.1.0.zip").write_bytes(before)
    (HERE / "runs-0.1.0.zip").write_bytes(runs)
    (HERE / "expected-0.1.0.json").write_text(expected, encoding="utf-8")


if __name__ == "__main__":
    main()
