from __future__ import annotations

from anomalist.agent.chat.chat import Chat
from anomalist.agent.chat.conversations import Conversations
from anomalist.agent.tools.subject import Subject
from anomalist.types.clip import ClipRecord
from tests.agent.chat.subjects import call, say, scripted


def quiet(name: str = "yard.mp4") -> ClipRecord:
    return ClipRecord(source=name, status="ok", label="normal", duration=12.0)


def test_a_clip_is_talked_about_with_and_without_a_model_and_kept(kept: Conversations) -> None:
    subject = Subject(clips=(quiet(), quiet("gate.mp4")))
    chat = Chat(subject, kept, "a")
    answer = chat.ask("What happened in yard.mp4?")
    assert answer.answered and answer.verdict == "normal" and answer.subjects == ("yard.mp4",)
    assert kept.records("a") == ((), subject.clips)
    model = scripted(call("list_events", clip="gate.mp4"), say(("Nothing stands out.", ["score"])))
    answer = Chat(subject, kept, "a", model=model).ask("And in gate.mp4, over its 12 s?")
    assert answer.answered and answer.intent == "model" and answer.subjects == ("gate.mp4",)
