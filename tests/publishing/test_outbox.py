"""The outbox: nothing is lost without a word, and whatever goes wrong, it goes on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from anomalist.publishing import outbox
from anomalist.publishing.outbox import DeliveryError, Outbox
from tests.waiting import until


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(outbox, "LAST_SECONDS", 0.2)


def test_messages_that_are_dropped_while_a_receiver_is_away_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_WAITING", 3)
    told: list[str] = []

    def away(*_: str) -> None:
        raise DeliveryError("it can't be reached")

    with Outbox(tmp_path / "outbox.sqlite", "hook", away, told.append) as box:
        box.put("0", "", "0")
        until(lambda: bool(told))
        for number in range(1, 6):
            box.put(str(number), "", str(number))
        assert box.dropped == 3
    assert ["can't be reached" in each for each in told] == [True, False, False]
    assert "dropped" in told[1] and "3 messages" in told[2]


@pytest.mark.parametrize("error", [ValueError("secret"), sqlite3.OperationalError("database is locked")])
def test_what_nobody_reckoned_with_is_told_and_tried_again(error: Exception, tmp_path: Path) -> None:
    told: list[str] = []
    taken: list[str] = []

    def deliver(id: str, topic: str, body: str) -> None:
        if not taken and not told:
            raise error
        taken.append(body)

    with Outbox(tmp_path / "outbox.sqlite", "hook", deliver, told.append) as box:
        for number in range(3):
            box.put(str(number), "", str(number))
        until(lambda: box.waiting() == 0)
    assert taken == ["0", "1", "2"]
    assert len(told) == 1 and "secret" not in told[0]


def test_an_outbox_that_can_t_be_written_any_more_is_told_and_ends_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    taken: list[str] = []
    file = tmp_path / "outbox.sqlite"
    with Outbox(file, "hook", lambda *message: taken.append(message[2]), told.append) as box:
        with sqlite3.connect(file) as other:  # as on a full disk, every write fails
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON messages WHEN NEW.body = 'lost' "
                "BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            )
        for body in ("lost", "lost", "sent"):
            box.put(body, "", body)
        until(lambda: taken == ["sent"])
    assert ["disk is full" in each for each in told] == [True, False]
    assert "2 messages" in told[1] and "lost" in told[1]
