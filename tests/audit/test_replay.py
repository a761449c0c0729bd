"""Decisions taken again: equal with what was used then; what changed since is named as the cause."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from anomalist.audit.reading import find_entry
from anomalist.audit.recording import AuditTrail, RunTrail
from anomalist.audit.replay import Replayer
from anomalist.audit.stores import media_path
from anomalist.errors import DataError
from anomalist.pipeline import Inspector, learn
from anomalist.vision.profile import Profile
from tests.audit.conftest import Logged, add_rule
from tests.pictures import holed, write, write_tiles


def test_with_what_was_used_then_every_decision_is_the_same(kept_log: Logged) -> None:
    replayer = Replayer(kept_log.folder)
    done = [replayer.replay(entry) for entry in kept_log.entries()]
    assert all(each.equal for each in done), [each.differences for each in done]
    assert max(abs(each.score_difference or 0) for each in done) < 1e-6


def test_the_kept_file_stands_in_for_one_that_is_gone(logged: Logged) -> None:
    logged.pictures[0].unlink()
    entry = logged.entries()[0]
    assert Replayer(logged.folder).replay(entry).equal
    media_path(logged.folder, logged.records[0].sha256 or "").unlink()
    failed = Replayer(logged.folder).replay(entry)
    assert not failed.equal and "is gone" in failed.failed


def test_a_file_that_is_another_one_now_is_not_judged_in_its_place(logged: Logged) -> None:
    media_path(logged.folder, logged.records[0].sha256 or "").unlink()
    write(logged.pictures[0], holed(1))
    assert "has changed" in Replayer(logged.folder).replay(logged.entries()[0]).failed


def test_a_decision_is_not_taken_again_with_a_kept_profile_that_is_another_one_now(logged: Logged) -> None:
    (kept,) = (logged.folder / "profiles").glob("*/*")
    manifest = (kept / "profile.json").read_text()
    (kept / "profile.json").unlink()  # the profile itself is linked to it
    (kept / "profile.json").write_text(manifest.replace('"low": ', '"low": 9'))
    failed = Replayer(logged.folder).replay(logged.entries()[0])
    assert not failed.equal and "has been changed" in failed.failed


def test_a_profile_in_a_folder_of_another_name_is_found_again(tiles_profile: Profile, tmp_path: Path) -> None:
    shutil.copytree(tiles_profile.path, tmp_path / "moved")
    inspector = Inspector(tmp_path / "moved", model="evidence")
    trail = AuditTrail(tmp_path / "audit")
    trail.begin_inspection(inspector, "inspect")
    with RunTrail(trail, None) as kept:
        list(kept.keep([inspector.inspect(write(tmp_path / "hole.png", holed(700))).record]))
    assert Replayer(tmp_path / "audit").replay(find_entry("1", tmp_path / "audit")).equal


def _logged_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Profile, list[Path]]:
    """A profile with a plain name, and a logged decision on two pictures."""
    monkeypatch.setenv("ANOMALIST_HOME", str(tmp_path / "home"))
    write_tiles(tmp_path / "good", 20)
    profile = learn(tmp_path / "good", profile="tiles", effort="fast")
    pictures = [write(tmp_path / f"hole{n}.png", holed(700 + n)) for n in range(2)]
    inspector = Inspector(profile, model="evidence")
    trail = AuditTrail(tmp_path / "home" / "audit")
    trail.begin_inspection(inspector, "inspect")
    with RunTrail(trail, None) as kept:
        list(kept.keep(inspector.inspect(path).record for path in pictures))
    return tmp_path / "home" / "audit", profile, pictures


def test_a_profile_learned_again_a_rule_and_a_policy_are_named_as_causes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = _logged_named(tmp_path, monkeypatch)
    entry = find_entry("1", folder)
    assert Replayer(folder).replay(entry, today=True).equal

    add_rule("tiles", "a dark place", "dark", 4)
    by_rule = Replayer(folder).replay(entry, today=True)
    assert not by_rule.equal
    assert len(by_rule.causes) == 1 and by_rule.causes[0].startswith("rules: rule:")
    assert "a dark place" in by_rule.causes[0]

    shutil.rmtree(tmp_path / "home" / "profiles" / "tiles")
    write_tiles(tmp_path / "good", 14, first=40)
    learn(tmp_path / "good", profile="tiles", effort="fast")
    both = Replayer(folder).replay(entry, today=True)
    assert {cause.partition(":")[0] for cause in both.causes} == {"profile", "rules"}
    assert "was learned again" in " ".join(both.causes) and "normals" in " ".join(both.causes)

    policy = tmp_path / "strict.toml"
    policy.write_text("[area]\nmoderate = 0.0001\nmajor = 0.0002\ncritical = 0.0003\n")
    named = [change.part for change in Replayer(folder, policy).replay(entry).changes]
    assert "policy" in named and Replayer(folder, policy).replay(entry).equal


def test_a_version_is_the_reason_only_where_it_makes_the_difference_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, _ = _logged_named(tmp_path, monkeypatch)
    entry = find_entry("1", folder)
    monkeypatch.setattr("anomalist.audit.changes.__version__", "9.0")
    add_rule("tiles", "a dark place", "dark", 4)
    by_rule = Replayer(folder).replay(entry, today=True)
    assert [cause.partition(":")[0] for cause in by_rule.causes] == ["rules"] and not by_rule.untried

    def scored_otherwise(*arguments: object) -> object:
        found = inspect(*arguments)
        verdict = found.record.verdict.model_copy(update={"severity": 1})
        return replace(found, record=found.record.replace(verdict=verdict))

    inspect = Inspector.inspect
    monkeypatch.setattr(Inspector, "inspect", scored_otherwise)
    by_both = Replayer(folder).replay(entry, today=True)
    assert {cause.partition(":")[0] for cause in by_both.causes} == {"rules", "version"}

    shutil.rmtree(folder / "profiles")
    unknown = Replayer(folder).replay(entry, today=True)
    assert {change.part for change in unknown.untried} == {"rules", "version"}
    assert len(unknown.causes) == 1 and unknown.causes[0].startswith("unknown")


def test_a_changed_prompt_is_named(kept_log: Logged) -> None:
    from anomalist.audit.changes import changes_since
    from anomalist.types.common import PromptUsed

    record = kept_log.records[0].replace(prompts=(PromptUsed(id="judge.v1", sha256="ab" * 32),))
    session = Replayer(kept_log.folder).session_of(kept_log.entries()[0])
    (text,) = [each.text for each in changes_since(kept_log.folder, session, record) if each.part == "prompt"]
    assert text.startswith("judge.v1 was changed")


def test_what_is_no_decision_or_was_redacted_is_refused(kept_log: Logged) -> None:
    with pytest.raises(DataError, match="no decision"):
        Replayer(kept_log.folder).replay(find_entry("0", kept_log.folder))
