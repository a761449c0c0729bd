"""``anomalist chat``: a conversation about pictures, a run, or a clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.commands.options import RateOption
from anomalist.commands.waiting import wait_asleep
from anomalist.errors import DataError

if TYPE_CHECKING:
    from anomalist.agent.chat.conversations import Conversations
    from anomalist.commands.chat_subject import Opened


def chat(
    what: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IMAGE…|CLIP|RUN]",
            help="Pictures, a clip, or what inspect or triage wrote with --out; left out with --name.",
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="What was learned: a profile for pictures, a scene for a clip.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Instead of a profile: one good picture of the same thing.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Who answers: builtin, hf:NAME_OR_FOLDER, openai:URL#MODEL, scripted:FILE, "
            "evidence (no model), or auto: the model of ANOMALIST_MODEL if it is there, else evidence."
        ),
    ] = "auto",
    name: Annotated[
        str | None, typer.Option(help="Of the conversation: a new one, or one to go on with.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the conversations.")] = False,
    false_alarm_rate: RateOption = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where /evidence and /save write; a folder named like the chat.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Each answer as one JSON object on stdout.")] = False,
) -> None:
    """Talk about pictures, a run or a clip: ask, look closer, correct, ask again. /help lists commands.

    Questions can be piped in, one a line. Conversations are kept by name.
    """
    wait_asleep()
    from anomalist.agent.asking.answering import REASONER
    from anomalist.agent.asking.intents import read_intent
    from anomalist.agent.asking.question import read_question
    from anomalist.agent.chat.chat import Chat
    from anomalist.agent.chat.conversations import Conversations
    from anomalist.agent.models import EVIDENCE, choose, open_model
    from anomalist.commands.chat_session import Session, typed_lines
    from anomalist.terminal import err

    with Conversations() as conversations:
        if listing:
            _list(conversations, json=json)
            return
        opened = _opened(conversations, tuple(what or ()), profile, reference, name, false_alarm_rate)
        choice = choose(model)
        err.print(choice.why, markup=False, highlight=False, soft_wrap=True)
        speaker = None if choice.spec == EVIDENCE else open_model(choice.spec)
        talk = Chat(
            opened.subject,
            conversations,
            opened.name,
            model=speaker,
            model_name=REASONER if speaker is None else choice.spec,
            about=opened.about,
        )
        read_intent(read_question("Is anything wrong?"), "picture")  # loads what the first question needs
        err.print(
            f'Conversation "{talk.name}", {len(talk.answers)} answers so far; go on with it later: '
            f'anomalist chat --name "{talk.name}". /help lists commands.',
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        session = Session(talk, json=json, folder=folder or Path(_as_folder(talk.name)))
        session.run(typed_lines([answer.question for answer in talk.answers], echo=not json))


def _opened(
    conversations: Conversations,
    what: tuple[Path, ...],
    profile: str | None,
    reference: Path | None,
    name: str | None,
    rate: float | None,
) -> Opened:
    """The conversation of a name, or a new one about what is named."""
    from dataclasses import replace

    from anomalist.commands.chat_subject import open_again, open_subject
    from anomalist.terminal import err

    known = conversations.find(name) if name is not None else None
    if known is None:
        if name is not None and not what:
            raise DataError(
                f"There is no conversation {name!r}.", "Name what it is to be about, or see --list."
            )
        opened = open_subject(what, profile, reference, rate)
        return replace(opened, name=name or conversations.free_name(opened.name))
    if what:
        raise DataError(
            f"There is a conversation {name!r} already.",
            f'Go on with it: anomalist chat --name "{name}", or choose another name.',
        )
    opened, why = open_again(known, conversations)
    if why is not None:
        err.print(f"It can't be looked at again: {why}", markup=False, highlight=False, soft_wrap=True)
    return opened


def _list(conversations: Conversations, *, json: bool) -> None:
    from rich.table import Table

    from anomalist.terminal import out

    table = Table("name", "answers", "last")
    for entry in conversations.list():
        if json:
            print(entry.model_dump_json())
        table.add_row(entry.name, str(entry.turns), entry.updated)
    if not json:
        out.print(table if table.row_count else "No conversations yet. Begin one: anomalist chat IMAGE")


def _as_folder(name: str) -> str:
    """A name of a conversation as that of a folder."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".") or "chat"
