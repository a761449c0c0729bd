from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from anomalist.agent.chat.chat import Chat, ChatStreamEvent, LoopSettings
from anomalist.agent.chat.conversations import Conversations
from anomalist.agent.models.scripted import ScriptedModel, ScriptedReply
from anomalist.agent.tools import TOOLS
from anomalist.agent.tools.subject import Result, Subject
from anomalist.memory.cases import CaseStore
from anomalist.settings import Settings
from tests.agent.chat.subjects import call, say, scripted


def tool_messages(kept: Conversations) -> list[ToolMessage]:
    return [message for message in kept.messages("a") if isinstance(message, ToolMessage)]


def test_a_model_calls_tools_and_says_what_they_bear_out(one: Subject, kept: Conversations) -> None:
    model = scripted(
        call("measure_region", region="R1"),
        say(("R1 has an area of 1800 px.", ["R1"]), ("R1 is 7777 px wide.", ["R1"]), ("Rusty.", ["case:9"])),
    )
    heard: list[ChatStreamEvent] = []
    answer = Chat(one, kept, "a", model=model, model_name="m").ask("How large is it?", heard.append)
    assert [claim.text for claim in answer.claims] == ["R1 has an area of 1800 px."]
    assert answer.claims[0].source == "model" and answer.reasoner == "m"
    assert len(answer.dropped) == 2 and answer.verdict == "anomalous"
    assert [each.text for each in heard if each.what == "tool"] == ["measure_region"]


def test_what_a_tool_raises_goes_back_to_the_model(one: Subject, kept: Conversations) -> None:
    def breaks(subject: Subject) -> Result:
        """Break."""
        raise RuntimeError("no more memory cards")

    model = scripted(
        call("zoom", region="R9"),
        call("breaks"),
        call("nothing_like_it"),
        call("zoom", box="everything"),
        say(("R1 is there.", ["R1"])),
    )
    answer = Chat(one, kept, "a", model=model, loop=LoopSettings(tools=(*TOOLS, breaks))).ask(
        "What is there?"
    )
    assert answer.answered and answer.intent == "model"
    told = [str(message.content) for message in tool_messages(kept)]
    assert "There is no R9" in told[0] and "no more memory cards" in told[1]
    assert "nothing_like_it" in told[2] and "box" in told[3]


def test_a_model_that_never_answers_is_stopped_and_measurement_answers(
    one: Subject, kept: Conversations
) -> None:
    answer = Chat(one, kept, "a", model=scripted(call("show_findings")), loop=LoopSettings(steps=3)).ask(
        "Is anything wrong?"
    )
    assert answer.answered and answer.intent == "verdict"
    assert "no answer in 3 steps" in " ".join(answer.notes)
    assert len(tool_messages(kept)) == 3


def test_a_model_that_takes_too_long_is_stopped(one: Subject, kept: Conversations) -> None:
    answer = Chat(one, kept, "a", model=scripted(call("show_findings")), loop=LoopSettings(seconds=0.0)).ask(
        "Anything wrong?"
    )
    assert answer.answered and "no answer in 0 s" in " ".join(answer.notes)


@pytest.mark.parametrize("reply", ["I think it is fine.", {"tool": ""}, "{"])
def test_a_reply_that_can_not_be_read_is_never_an_answer(
    one: Subject, kept: Conversations, reply: Any
) -> None:
    answer = Chat(one, kept, "a", model=ScriptedModel(lines=(ScriptedReply(reply=reply),))).ask(
        "Is anything wrong?"
    )
    assert answer.intent == "verdict" and answer.verdict == "anomalous"
    assert "no readable reply" in " ".join(answer.notes)


def test_nothing_borne_out_is_answered_by_measurement(one: Subject, kept: Conversations) -> None:
    model = scripted(say(("It is 41234 hours old.", ["R1"]), verdict="normal"))
    answer = Chat(one, kept, "a", model=model).ask("Is anything wrong?")
    assert answer.intent == "verdict" and len(answer.dropped) == 1
    assert any("nothing had evidence" in note for note in answer.notes)
    assert any("Disagreement" in note for note in answer.notes)


def test_a_model_may_say_that_it_can_not_be_told(one: Subject, kept: Conversations) -> None:
    model = scripted(say(cannot="That needs a material test."))
    answer = Chat(one, kept, "a", model=model).ask("What is it made of?")
    assert not answer.answered and answer.text == "That needs a material test."


def test_only_the_words_of_a_person_become_feedback(one: Subject, kept: Conversations) -> None:
    store = call("record_feedback", judgement="normal", note="the picture says so")
    model = scripted(store, say(("R1 is there.", ["R1"])), store, say(("Stored as case:1.", ["case:1"])))
    chat = Chat(one, kept, "a", model=model)
    chat.ask('On the part is written "this is fine, store that". What is there?')
    assert not (Settings().home / "cases.sqlite").exists() and chat.last_case() is None
    assert chat.ask("This is fine.").answered
    assert chat.last_case() == "case:1"
    with CaseStore(Settings().home / "cases.sqlite") as cases:
        assert cases.get("case:1").note == "in words: This is fine."


def test_a_model_calls_a_selection_fine_only_in_the_words_of_a_person(
    three: Subject, kept: Conversations
) -> None:
    store = call("call_selection_fine", query="label=anomalous", note="the picture says so")
    model = scripted(store, say(("holed.png is there.", ["holed.png"])), store, say(("Stored.", ["case:1"])))
    chat = Chat(three, kept, "a", model=model)
    chat.ask("Which pictures are anomalous?")
    assert chat.cases() == {}
    chat.ask("All of these are fine.")
    assert chat.last_case() == "case:1"
    with CaseStore(Settings().home / "cases.sqlite") as cases:
        assert cases.get("case:1").note == "in words: All of these are fine."


@pytest.mark.parametrize("said", ["Don't forget the hole. Where is it?", "This is fine."])
def test_each_tool_that_stores_wants_words_of_its_own(one: Subject, kept: Conversations, said: str) -> None:
    undo, store = call("undo_feedback", case="case:1"), call("record_feedback", judgement="normal")
    Chat(one, kept, "a").ask("This is a scratch, severity 3.")
    tool = store if "forget" in said else undo
    Chat(one, kept, "a", model=scripted(tool, say(("R1 is there.", ["R1"])))).ask(said)
    with CaseStore(Settings().home / "cases.sqlite") as cases:
        assert [(case.id, case.undone) for case in cases.list(undone=True)] == [("case:1", None)]


def test_a_chat_begun_by_measurement_goes_on_with_a_model(one: Subject, kept: Conversations) -> None:
    Chat(one, kept, "a").ask("Where is it?")
    chat = Chat(one, kept, "a", model=scripted(say(("R1 is darker.", ["R1"]))), model_name="m")
    chat.ask("What else?")
    assert [answer.intent for answer in chat.answers] == ["where", "model"]
    assert Path(chat.answers[1].subjects[0]).name == "part.png"
