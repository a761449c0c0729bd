from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from anomalist.errors import DetectorError
from anomalist.eval.peers.protocol import SHIPPED, ScriptPeer, script_peer
from tests.pictures import holed, tile, write

EXAMPLE = Path(__file__).parents[3] / "examples" / "peer" / "brightness.py"


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    learn = [write(tmp_path / "good" / f"{number}.png", tile(number)) for number in range(3)]
    return learn, [write(tmp_path / "x.png", tile(9)), write(tmp_path / "hole.png", holed(9))]


def scripted(folder: Path, body: str) -> ScriptPeer:
    script = folder / "script.py"
    script.write_text(f"import json, sys, pathlib\nfolder = pathlib.Path(sys.argv[1])\n{body}\n")
    return ScriptPeer("peer:script.py", script, Path(sys.executable), "script")


def test_the_example_learns_and_scores_in_an_interpreter_of_its_own(
    pictures: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    learn, score = pictures
    peer = script_peer(f"peer:{EXAMPLE}?depth=2&name=grey", Path(sys.executable))
    given = peer(learn, score, 7, tmp_path / "work")
    usual = np.mean([tile(number).mean() for number in range(3)])
    assert given.scores[1] == pytest.approx(usual - 5, abs=1)
    assert given.scores[0] < given.scores[1]
    assert [one.shape for one in given.maps if one is not None] == [(64, 64)] * 2
    assert given.version == "brightness 1"
    request = json.loads((tmp_path / "work" / "request.json").read_text())
    assert (request["seed"], request["options"]) == (7, {"depth": 2, "name": "grey"})
    assert request["score"] == ["000000.png", "000001.png"]  # no name gives a label away


def test_an_interpreter_without_anomalib_is_told_what_to_do(
    pictures: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    peer = script_peer("anomalib:Patchcore", Path(sys.executable))
    assert peer.script == SHIPPED
    with pytest.raises(
        DetectorError, match="lacks what anomalib:Patchcore needs: No module named 'anomalib'"
    ) as error:
        peer(*pictures, 0, tmp_path / "work")
    assert "--peer-python" in str(error.value)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("sys.exit('out of memory')", "failed with status 1: out of memory"),
        ("pass", "no result that can be read"),
        ("(folder / 'result.json').write_text('{\"format\": 1, \"sco')", "no result that can be read"),
        (
            "(folder / 'result.json').write_text(json.dumps(dict(format=1, scores=[1.0], learn_seconds=0, "
            "score_seconds=0)))",
            "1 scores",
        ),
    ],
)
def test_a_script_that_fails_is_one_clear_error(
    body: str, wrong: str, pictures: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    with pytest.raises(DetectorError, match=wrong):
        scripted(tmp_path, body)(*pictures, 0, tmp_path / "work")


def test_what_is_no_peer_is_refused() -> None:
    for spec, python, wrong in (
        ("anomalib:Patchcore", None, "environment of its own"),
        ("peer:gone.py", Path(sys.executable), "no script gone.py"),
        ("ray:x", Path(sys.executable), "ray:x is no peer"),
    ):
        with pytest.raises(DetectorError, match=wrong):
            script_peer(spec, python)


def test_an_interpreter_that_is_not_there_is_named(
    pictures: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    with pytest.raises(DetectorError, match="gone/python can't be run"):
        script_peer(f"peer:{EXAMPLE}", Path("gone/python"))(*pictures, 0, tmp_path / "work")
