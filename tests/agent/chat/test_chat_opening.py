from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from anomalist.agent.chat.chat import Chat, open_evidence
from anomalist.agent.chat.conversations import Conversations
from anomalist.agent.tools.subject import Subject
from anomalist.errors import DataError
from anomalist.memory.rules.rule import shipped_anomalies
from anomalist.memory.rules.store import RuleStore


def test_a_region_is_written_and_named(one: Subject, kept: Conversations, tmp_path: Path) -> None:
    text, _, file = open_evidence(Chat(one, kept, "a"), "r1", tmp_path / "out").partition("\n")
    assert text == "R1 with its surroundings." and Path(file).parent == tmp_path / "out"
    assert Path(file).read_bytes()[:4] == b"\x89PNG"


def test_beside_what_is_normal_where_that_is_known(one: Subject, kept: Conversations, tmp_path: Path) -> None:
    subject = replace(one, counterpart=lambda media, region: media.pixels[:50, :50])
    text, _, file = open_evidence(Chat(subject, kept, "a"), "R1", tmp_path).partition("\n")
    assert text == "R1 on the left, the nearest normal picture on the right." and Path(file).exists()


def test_cases_rules_and_score_are_told(one: Subject, kept: Conversations, tmp_path: Path) -> None:
    chat = Chat(one, kept, "a")
    chat.ask("This is a scratch, severity 3.")
    assert "scratch, severity major" in open_evidence(chat, "case:1", tmp_path)
    assert "score 3.2, threshold 3, p = 0.01" in open_evidence(chat, "score", tmp_path)
    with pytest.raises(DataError, match="no rule:999999"):
        open_evidence(chat, "rule:999999", tmp_path)


def test_a_rule_that_is_disabled_or_was_replaced_is_still_there(
    one: Subject, kept: Conversations, tmp_path: Path
) -> None:
    chat = Chat(one, kept, "a")
    shipped = shipped_anomalies()[0]
    with RuleStore(one.case_file) as store:
        rule = store.add(one.records[0].profile or "", [shipped])[0]
        assert "disabled" not in open_evidence(chat, rule.id, tmp_path)
        store.change(rule.replace(enabled=False))
    told = open_evidence(chat, rule.id, tmp_path)
    assert rule.text in told and "disabled" in told
    assert rule.text in open_evidence(chat, shipped.id, tmp_path)


def test_of_several_pictures_it_is_the_one_talked_about_or_named(
    three: Subject, kept: Conversations, tmp_path: Path
) -> None:
    chat = Chat(three, kept, "a")
    with pytest.raises(DataError, match="Which picture"):
        open_evidence(chat, "R1", tmp_path)
    assert "worse-" in open_evidence(chat, "R2 in worse.png", tmp_path)
    chat.ask("Where is it in holed.png?")
    assert "holed-" in open_evidence(chat, "R1", tmp_path)


@pytest.mark.parametrize("wanted", ["R7", "E1", "thing", "case:77", "R1; rm -rf"])
def test_what_is_not_there_is_said(one: Subject, kept: Conversations, tmp_path: Path, wanted: str) -> None:
    chat = Chat(one, kept, "a")
    if wanted.startswith("R1"):
        with pytest.raises(DataError, match="nothing called 'R1;'"):
            open_evidence(chat, wanted, tmp_path)
    else:
        with pytest.raises(DataError):
            open_evidence(chat, wanted, tmp_path)
