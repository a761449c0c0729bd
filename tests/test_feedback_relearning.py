"""Learning from feedback: what people called fine is normal from then on; nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.errors import DataError
from anomalist.feedback import corrected_to_normal, relearn
from anomalist.memory.cases import Case, CaseStore, Feedback
from anomalist.pipeline import Inspector, learn
from anomalist.types.image import Record
from anomalist.vision.profile import Profile
from tests.pictures import holed, write, write_tiles


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    write_tiles(tmp_path / "good", 12)
    return learn(tmp_path / "good", profile=tmp_path / "profile", effort="fast", seed=3)


@pytest.fixture
def record(profile: Profile, tmp_path: Path) -> Record:
    return Inspector(profile, false_alarm_rate=0.2).inspect(write(tmp_path / "odd.png", holed(7))).record


def say(path: Path, record: Record, severity: int, part: str | None = None) -> Case:
    with CaseStore(path) as store:
        return store.add(
            Feedback(
                action="corrected",
                media="picture",
                source=record.source,
                sha256=record.sha256,
                part=part,
                severity=severity,
                profile=record.profile,
            )
        )


def test_what_was_called_fine_is_learned_with_the_same_settings(
    profile: Profile, record: Record, tmp_path: Path
) -> None:
    cases = tmp_path / "cases.sqlite"
    case = say(cases, record, 0)
    learned, fine = relearn(profile.path, cases=cases)
    assert [each.id for each in fine] == [case.id]
    assert len(learned.manifest.normals) == 13
    assert learned.manifest.seed == 3
    before = Inspector(profile, false_alarm_rate=0.2).inspect(record.source).record
    after = Inspector(profile.path, false_alarm_rate=0.2).inspect(record.source).record
    assert before.p_value is not None
    assert after.p_value is not None
    assert after.p_value >= before.p_value
    with pytest.raises(DataError, match="no new feedback"):
        relearn(profile.path, cases=cases)


def test_only_the_last_word_on_a_whole_picture_counts(record: Record, tmp_path: Path) -> None:
    cases = tmp_path / "cases.sqlite"
    assert record.profile is not None
    assert corrected_to_normal(record.profile, cases) == ()
    say(cases, record, 0, part="R1")
    assert corrected_to_normal(record.profile, cases) == ()
    last = say(cases, record, 0)
    assert [case.id for case in corrected_to_normal(record.profile, cases)] == [last.id]
    with CaseStore(cases) as store:
        store.undo(last.id)
    assert corrected_to_normal(record.profile, cases) == ()
    say(cases, record, 0)
    say(cases, record, 3)
    assert corrected_to_normal(record.profile, cases) == ()


@pytest.mark.parametrize("changed", ["odd.png", "good"])
def test_pictures_that_are_gone_or_changed_are_named_and_the_profile_stays(
    profile: Profile, record: Record, tmp_path: Path, changed: str
) -> None:
    cases = tmp_path / "cases.sqlite"
    say(cases, record, 0)
    path = tmp_path / changed
    victim = path if path.is_file() else sorted(path.iterdir())[0]
    if path.is_file():
        write(victim, holed(8))
    else:
        victim.unlink()
    digest = profile.manifest.digest
    with pytest.raises(DataError, match=victim.name):
        relearn(profile.path, cases=cases)
    from anomalist.vision.profile import load_profile

    assert load_profile(profile.path).manifest.digest == digest
