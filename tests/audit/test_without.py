"""The verdict without a rule, without memory and by the shipped policy: what it would have been."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from anomalist.agent.reasoning.policy import AreaSteps, Policy
from anomalist.audit.reading import LogEntry, read_entries
from anomalist.audit.recording import AuditTrail, RunTrail
from anomalist.audit.replay import Replayer
from anomalist.audit.without import Without, verdicts_without
from anomalist.errors import DataError
from anomalist.pipeline import Inspector
from anomalist.types.common import Recall, Recalled
from anomalist.types.image import Evidence, Media
from anomalist.vision.profile import Profile
from tests.pictures import holed, write

RULE, CASE = "rule:dark-1", "case:7"


@dataclass(frozen=True)
class TwoThings:
    """A memory that recalls a rule and a case to every picture."""

    digest: str = "two things"

    def recall(self, media: Media, evidence: Evidence) -> Recall:
        rule = Recalled(id=RULE, text="a dark place", similarity=0.9, side="anomalous", version=1, severity=4)
        return Recall(items=(rule, Recalled(id=CASE, text="it was a hole", similarity=0.8)))


@pytest.fixture(scope="module")
def decided(tiles_profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LogEntry]:
    """A hole with a rule and a case, under a policy by which every area is critical."""
    root = tmp_path_factory.mktemp("without")
    policy = Policy(area=AreaSteps(moderate=0.0001, major=0.0002, critical=0.0003))
    inspector = Inspector(tiles_profile, model="evidence", memory=TwoThings(), policy=policy)
    trail = AuditTrail(root / "audit", "all")
    trail.begin_inspection(inspector, "inspect")
    with RunTrail(trail, None) as kept:
        list(kept.keep([inspector.inspect(write(root / "hole.png", holed(410))).record]))
    (entry,) = read_entries(root / "audit", kinds=["inspection"])
    return root / "audit", entry


def tried(decided: tuple[Path, LogEntry], *parts: str) -> dict[str, Without]:
    folder, entry = decided
    return {each.part: each for each in verdicts_without(entry, Replayer(folder), parts)}


def test_everything_that_bears_on_a_decision_is_left_out_in_turn(decided: tuple[Path, LogEntry]) -> None:
    found = tried(decided)
    assert list(found) == [RULE, CASE, "memory", "policy"]
    assert {each.verdict for part, each in found.items() if part != "policy"} == {"anomalous, critical"}
    assert found[RULE].differences == () and found["policy"].verdict != "anomalous, critical"
    assert any(text.startswith("severity: 4 then, ") for text in found["policy"].differences)
    assert found["policy"].sentence.startswith("With the shipped policy: anomalous")
    assert found[CASE].sentence == f"Without {CASE}: anomalous, critical (the same)."


def test_what_was_not_recalled_is_not_what_the_verdict_rests_on(decided: tuple[Path, LogEntry]) -> None:
    (found,) = tried(decided, "rule:other-9").values()
    assert found.differences == () and "was not recalled" in found.sentence
    with pytest.raises(DataError, match="R1 is nothing that a verdict could do without"):
        tried(decided, "R1")


def test_what_a_model_would_say_without_a_rule_is_not_made_up(decided: tuple[Path, LogEntry]) -> None:
    from anomalist.audit.without import open_point

    record = Replayer(decided[0]).replay(decided[1]).again
    assert record is not None
    assert open_point(record, RULE) == ""
    assert "is not known" in open_point(record.replace(replies=("a reply",)), RULE)
    assert open_point(record.replace(replies=("a reply",)), "policy") == ""


def test_a_picture_that_is_gone_is_said_so(decided: tuple[Path, LogEntry], tmp_path: Path) -> None:
    import shutil

    folder, entry = decided
    shutil.copytree(folder, tmp_path / "audit")
    shutil.rmtree(tmp_path / "audit" / "media")
    record = entry.content["record"]
    elsewhere = Path(record["source"])
    content = elsewhere.read_bytes()
    elsewhere.unlink()
    try:
        (found,) = verdicts_without(entry, Replayer(tmp_path / "audit"), [RULE])
    finally:
        elsewhere.write_bytes(content)
    assert found.verdict == "" and "can't be said" in found.sentence
