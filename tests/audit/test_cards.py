"""Cards from records alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalist.audit.cards import model_card, profile_card
from anomalist.audit.recording import AuditTrail
from anomalist.errors import DataError, ProfileError
from anomalist.vision.motion.scene import Scene
from anomalist.vision.profile import Profile
from tests.audit.conftest import Logged


def test_a_profile_card_says_what_it_was_learned_from_and_what_came_out(
    kept_log: Logged, tiles_profile: Profile
) -> None:
    card = profile_card(str(tiles_profile.path), kept_log.folder)
    assert tiles_profile.digest in card and "24 normal pictures" in card
    assert "promised 5 % false alarms" in card.replace("\u00a0", " ") and "No probes were made" in card


def test_a_scene_has_a_card_too(street: Scene, kept_log: Logged) -> None:
    assert "5 videos" in profile_card(str(street.path), kept_log.folder)


def test_a_model_card_counts_calls_agreement_and_dropped_sentences(tmp_path: Path, kept_log: Logged) -> None:
    record = next(record for record in kept_log.records if record.label == "anomalous")
    opinions = [{"by": "detector", "label": "anomalous"}, {"by": "a model", "label": "normal"}]
    said = record.replace(model="a model", opinions=opinions, replies=("{}", "{}"), dropped=("nothing",))
    with AuditTrail(tmp_path / "audit") as trail:
        trail.decision(said)
    card = model_card("a model", tmp_path / "audit")
    assert "Asked about 1 pictures" in card and "Agreed with the detector on 0 of 1" in card
    with pytest.raises(DataError, match="names no model"):
        model_card("another", tmp_path / "audit")


def test_what_is_not_there_is_a_clear_error(kept_log: Logged) -> None:
    with pytest.raises(ProfileError):
        profile_card("nothing-of-that-name", kept_log.folder)
