"""Multiple choice in a conversation: by measurement, and with a language model that takes part."""

from __future__ import annotations

from anomalist.agent.chat.chat import Chat
from anomalist.agent.chat.conversations import Conversations
from anomalist.agent.tools.subject import Subject
from tests.agent.chat.subjects import call, say, scripted


def test_options_are_chosen_from_and_kept(one: Subject, kept: Conversations) -> None:
    chat = Chat(one, kept, "a")
    reply = chat.ask("Is anything wrong?\n  a) no\n  b) yes")
    assert (reply.letter, reply.question) == ("B", "Is anything wrong? A) no B) yes")
    assert [option.text for option in reply.options] == ["no", "yes"]
    assert reply.claims and all(claim.evidence for claim in reply.claims)
    assert Chat(one, kept, "a").answers == (reply,)


def test_options_alone_are_for_the_last_question(one: Subject, kept: Conversations) -> None:
    chat = Chat(one, kept, "a")
    chat.ask("Is there a defect?")
    assert chat.ask("A) yes B) no").letter == "A"
    assert chat.ask("A) no B) yes").letter == "B"


def test_words_of_options_do_not_say_which_picture_is_meant(three: Subject, kept: Conversations) -> None:
    chat = Chat(three, kept, "a")
    chat.ask("Is plain.png fine?")
    reply = chat.ask("Is anything wrong with it? A) yes, as with all of them B) no")
    assert (reply.letter, reply.verdict) == ("B", "normal")
    assert len(reply.subjects) == 1
    assert chat.ask("Is something wrong with worse.png? A) yes B) no").letter == "A"


def test_a_model_chooses_by_the_tool_and_its_words_come_after(one: Subject, kept: Conversations) -> None:
    words = ("B is right: R1 is dark.", ["R1"])
    model = scripted(call("choose_option", question="Is it fine?", options=["yes", "no"]), say(words))
    reply = Chat(one, kept, "a", model=model).ask("Is it fine? A) yes B) no")
    assert (reply.letter, reply.intent) == ("B", "model")
    assert reply.text.startswith("B: ") and reply.text.endswith(words[0])
    assert reply.notes == ()


def test_a_model_against_the_measurement_is_a_disagreement(one: Subject, kept: Conversations) -> None:
    model = scripted(say(("The answer is A: R1 is dark.", ["R1"])))
    reply = Chat(one, kept, "a", model=model, model_name="m").ask("Is it fine? A) yes B) no")
    assert reply.letter == "B"
    assert "Disagreement: m says A, what was measured says B" in reply.notes[0]


def test_where_nothing_was_measured_the_letter_is_the_models(one: Subject, kept: Conversations) -> None:
    model = scripted(say(("The answer is B: R1 shines.", ["R1"])))
    question = "What is it made of? A) glass B) steel"
    reply = Chat(one, kept, "a", model=model, model_name="m").ask(question)
    assert reply.letter == "B"
    assert reply.notes[0].endswith("The letter is that of m.")
