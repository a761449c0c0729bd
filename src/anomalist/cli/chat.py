"""``anomalist chat``: a conversation about pictures, a run or a clip, with slash commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.cli.ask import format_answer
from anomalist.cli.terminal import RateOption
from anomalist.errors import AnomalistError, DataError

if TYPE_CHECKING:
    from anomalist.agent.chat.chat import Chat, ChatStreamEvent
    from anomalist.agent.chat.conversations import Conversations
    from anomalist.audit.recording import AuditTrail
    from anomalist.subjects import OpenedSubject
    from anomalist.types.common import Answer


INPUT_PROMPT = "> "

CHAT_HELP = """Ask in plain words: is anything wrong, where, what kind, how bad, why, how sure, how large, …
Give options: "Where is it? A) upper left B) lower right"; on lines of their own, end with an empty line.
Say what is right: "This is fine.", "This is a scratch, severity 3."
/evidence ID      open what an id rests on: R1, E2, case:12, rule:7, score (R1 NAME: of another picture)
/look PATH        inspect another picture and talk about it, too
/undo             take back what was stored last in this conversation
/save [FOLDER]    write the conversation and the report of its pictures
/help  /quit"""


class ChatSession:
    """Runs a chat line by line.

    Parameters
    ----------
    chat : the conversation.
    json : answers as JSON, one a line, instead of text.
    folder : where /evidence writes pictures, and /save if no other is named.
    trail : the audit log that answers and corrections are written into.
    """

    def __init__(self, chat: Chat, *, json: bool, folder: Path, trail: AuditTrail | None = None) -> None:
        self._chat = chat
        self._trail = trail
        self._json = json
        self._folder = folder

    def run(self, lines: Iterator[str]) -> int:
        """Take lines until they end or one says /quit; returns how many could not be used."""
        from anomalist.agent.asking.question import join_option_lines

        failed = 0
        for line in join_option_lines(lines):
            text = line.strip()
            if text in ("/quit", "/exit"):
                break
            if not text:
                continue
            try:
                self._take(text)
            except AnomalistError as error:
                failed += 1
                _print_error(str(error))
            except KeyboardInterrupt:
                _print_error("Interrupted. Ask again, or /quit.")
        return failed

    def _take(self, text: str) -> None:
        if not text.startswith("/"):
            before = self._chat.cases()
            self._say(self._chat.ask(text, None if self._json else draft_printer()))
            self._write_feedback(before)
            return
        name, _, rest = text.partition(" ")
        commands: dict[str, Callable[[str], str | Answer]] = {
            "/evidence": lambda id: self._evidence(id),
            "/look": self._look,
            "/undo": lambda _: self._undo(),
            "/save": self._save,
            "/help": lambda _: CHAT_HELP,
        }
        if name not in commands:
            raise DataError(f"There is no {name[:40]}.", "/help lists what there is.")
        said = commands[name](rest.strip())
        if isinstance(said, str):
            print(said, file=sys.stderr if self._json else sys.stdout, flush=True)
        else:
            self._say(said)

    def _write_feedback(self, before: dict[str, bool]) -> None:
        """Write into the audit log what was stored or taken back since then."""
        if self._trail is not None:
            chat = self._chat
            self._trail.conversation_feedback(before, chat.cases(), chat.subject.case_file)

    def _say(self, answer: Answer) -> None:
        if self._trail is not None:
            self._trail.answer(answer, conversation=self._chat.name)
        print(answer.model_dump_json() if self._json else f"{format_answer(answer)}\n", flush=True)

    def _evidence(self, id: str) -> str:
        from anomalist.agent.chat.chat import ID_FORMATS, open_evidence

        if not id:
            raise DataError("Which evidence?", ID_FORMATS)
        return open_evidence(self._chat, id, self._folder)

    def _look(self, path: str) -> Answer:
        inspect = self._chat.subject.inspect
        if not path:
            raise DataError("Which picture?", "/look PATH")
        if inspect is None:
            raise DataError("Nothing is at hand to inspect with.", "Begin the chat with --profile.")
        return self._chat.look_at(inspect(path))

    def _undo(self) -> str:
        case = self._chat.last_case()
        if case is None:
            raise DataError("Nothing that was stored in this conversation is left to take back.")
        from anomalist.agent.tools.memory import undo_feedback

        before = self._chat.cases()
        undone = undo_feedback(self._chat.subject, case)
        self._write_feedback(before)
        return f"{undone.case} is taken back: {undone.note or undone.text}"

    def _save(self, folder: str) -> str:
        from anomalist.report.builder import write_conversation

        target = Path(folder) if folder else self._folder
        chat = self._chat
        return "\n".join(map(str, write_conversation(chat.answers, chat.subject.records, target, chat.name)))


def draft_printer() -> Callable[[ChatStreamEvent], None] | None:
    """Print tool calls and draft sentences to stderr as the model works; None if that is no terminal."""
    from anomalist.cli.terminal import err

    if not err.is_terminal:
        return None

    def show(each: ChatStreamEvent) -> None:
        text = f"  … {each.text}" if each.what == "tool" else f"  {each.text}"
        err.print(text, style="dim", markup=False, highlight=False)

    return show


def input_lines(earlier: list[str], *, echo: bool) -> Iterator[str]:
    """Lines as a person types them, with the earlier questions to go back to; or as they are piped in.

    ``echo`` repeats piped lines on stdout, so that answers can be read together with their questions.
    """
    if not sys.stdin.isatty():
        for line in sys.stdin:
            if echo and line.strip():
                print(f"{INPUT_PROMPT}{line.strip()}", flush=True)
            yield line
        return
    try:
        import readline  # line editing and history, where the platform has them

        for question in earlier:
            readline.add_history(question)
    except ImportError:
        pass
    while True:
        try:
            yield input(INPUT_PROMPT)
        except EOFError:
            return
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return


def _print_error(text: str) -> None:
    from anomalist.cli.terminal import err

    err.print(text, markup=False, highlight=False, soft_wrap=True)


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
            help="Who answers: hf:NAME_OR_FOLDER, openai:URL#MODEL, scripted:FILE, "
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
    from dataclasses import replace

    from anomalist.agent.asking.answering import REASONER, prepare
    from anomalist.agent.chat.chat import Chat
    from anomalist.agent.chat.conversations import Conversations
    from anomalist.agent.models.selection import EVIDENCE, open_for_pictures
    from anomalist.audit.probes import probe_results
    from anomalist.audit.recording import open_trail
    from anomalist.cli.terminal import announce_model, err

    with Conversations() as conversations:
        if listing:
            _print_conversations(conversations, json=json)
            return
        opened, is_new = _open_conversation(
            conversations, tuple(what or ()), profile, reference, name, false_alarm_rate
        )
        subject = replace(opened.subject, probes=probe_results)
        spec = announce_model(model)
        speaker = None if spec == EVIDENCE else open_for_pictures(spec)
        title = name or opened.name
        if is_new:
            title = conversations.begin(title, opened.about, subject, numbered=name is None)
        talk = Chat(
            subject,
            conversations,
            title,
            model=speaker,
            model_name=REASONER if speaker is None else spec,
            about=opened.about,
        )
        prepare(subject)
        err.print(
            f'Conversation "{talk.name}", {len(talk.answers)} answers so far; go on with it later: '
            f'anomalist chat --name "{talk.name}". /help lists commands.',
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        earlier = [answer.question for answer in talk.answers]
        with open_trail() or nullcontext() as trail:
            place = folder or Path(_folder_name(talk.name))
            ChatSession(talk, json=json, folder=place, trail=trail).run(input_lines(earlier, echo=not json))


def _open_conversation(
    conversations: Conversations,
    what: tuple[Path, ...],
    profile: str | None,
    reference: Path | None,
    name: str | None,
    rate: float | None,
) -> tuple[OpenedSubject, bool]:
    """The conversation of a name, or one about what is named; and whether it is a new one."""
    from anomalist.agent.chat.conversations import name_taken
    from anomalist.cli.terminal import err
    from anomalist.subjects import open_subject, reopen_subject

    known = conversations.find(name) if name is not None else None
    if known is None:
        if name is not None and not what:
            raise DataError(
                f"There is no conversation {name!r}.", "Name what it is to be about, or see --list."
            )
        return open_subject(what, profile, reference, rate), True
    if what:
        raise name_taken(known.name)
    opened, why = reopen_subject(known, conversations)
    if why is not None:
        err.print(f"It can't be looked at again: {why}", markup=False, highlight=False, soft_wrap=True)
    return opened, False


def _print_conversations(conversations: Conversations, *, json: bool) -> None:
    from rich.table import Table

    from anomalist.cli.terminal import out

    table = Table("name", "answers", "last")
    for entry in conversations.list():
        if json:
            print(entry.model_dump_json())
        table.add_row(entry.name, str(entry.turns), entry.updated)
    if not json:
        out.print(table if table.row_count else "No conversations yet. Begin one: anomalist chat IMAGE")


def _folder_name(name: str) -> str:
    """A name of a conversation as that of a folder."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".") or "chat"
