"""A server that measures on a cluster answers as one that measures itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray.serve")

from anomalist.cluster.serving import MeasuringReplica
from anomalist.errors import DataError
from anomalist.vision.detectors.reference import load_reference
from anomalist.vision.detectors.unsupervised import ZeroShotEvidence
from anomalist.vision.parallel import evidence_opener
from tests.boards import board, noisy
from tests.cluster.clusters import WHAT_RAY_LEAVES, one_node
from tests.pictures import write
from tests.server.conftest import GOOD, HOLED, Open, home, learned, opened, upload

__all__ = ["home", "learned", "opened"]
pytestmark = WHAT_RAY_LEAVES


def judged(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was decided, without times and names of a request."""
    fields = ("label", "p_value", "threshold", "severity", "kind", "claims", "status", "error", "regions")
    return [{field: each["record"][field] for field in fields} for each in found]


def test_the_answers_are_those_of_a_server_without_a_cluster(opened: Open) -> None:
    pictures = [("hole.png", HOLED), ("good.png", GOOD), ("broken.png", b"\x89PNG\r\n\x1a\n and no more")]
    plain = opened()
    expected = [upload(plain, picture) for picture in pictures]
    plain.__exit__(None, None, None)
    with one_node(2):
        client = opened(ray="local")
        with ThreadPoolExecutor(3) as callers:
            found = list(callers.map(lambda picture: upload(client, picture), pictures))
        gone = client.post(
            "/v1/inspections", files=[("files", ("a.png", GOOD, "image/png"))], data={"profile": "gone"}
        )
        client.__exit__(None, None, None)
    for one, other in zip(expected, found, strict=True):
        for kept in (*one, *other):
            kept["record"]["error"] = (kept["record"]["error"] or "").rpartition("/")[2]
        assert judged(other) == judged(one)
        if one[0]["record"]["score"] is not None:
            assert other[0]["record"]["score"] == pytest.approx(one[0]["record"]["score"], rel=1e-4)
    assert [each[0]["record"]["label"] for each in found] == ["anomalous", "normal", None]
    assert gone.status_code == 422 and "gone" in gone.json()["error"]


def test_a_server_without_its_cluster_does_not_start(opened: Open) -> None:
    with pytest.raises(DataError, match=r"No Ray cluster answers at 127\.0\.0\.1:1 "):
        opened(ray="127.0.0.1:1")


def test_pictures_of_several_sources_in_one_batch_go_back_to_who_asked(tmp_path: Path) -> None:
    from anomalist.cluster.measuring import measured_picture

    good = write(tmp_path / "good.png", board())
    new = [str(write(tmp_path / f"{i}.png", noisy(board(), i))) for i in range(2)]
    reference, alone = load_reference(good), ZeroShotEvidence()
    replica = MeasuringReplica({})
    asked = [
        (evidence_opener(reference), reference.digest, new[0]),
        (evidence_opener(alone), alone.digest, new[1]),
        (evidence_opener(alone), "0" * 64, new[0]),
        (evidence_opener(reference), reference.digest, new[1]),
    ]
    replies = replica.measure(asked)
    assert [bool(error) for _, error, _ in replies] == [False, False, True, False]
    assert "another version" in replies[2][1]
    measured = [
        measured_picture(path, row)[1]
        for (_, _, path), (row, _, _) in zip(asked, replies, strict=True)
        if row
    ]
    assert [media and media.source for media in measured] == [new[0], new[1], new[1]]
    assert set(replica._open) == {reference.digest, alone.digest}
