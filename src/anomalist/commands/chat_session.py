"""The lines of a chat: questions, and commands that begin with a slash."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from anomalist.commands.asking import shown
from anomalist.errors import AnomalistError, DataError
from anomalist.types import Answer

if TYPE_CHECKING:
    from anomalist.agent.chat.chat import Chat, Heard

PROMPT = "> "

HELP = """Ask in plain words: is anything wrong, where, what kind, how bad, why, how sure, how large, …
Give options: "Where is it? A) upper left B) lower right"; on lines of their own, end with an empty line.
Say what is right: "This is fine.", "This is a scratch, severity 3."
/evidence ID      open what an id rests on: R1, E2, case:12, rule:7, score (R1 NAME: of another picture)
/look PATH        inspect another picture and talk about it, too
/undo             take back what was stored last in this conversation
/save [FOLDER]    write the conversation and the report of its pictures
/help  /quit"""


class Session:
    """Runs a chat line by line.

    Parameters
    ----------
    chat : the conversation.
    json : answers as JSON, one a line, instead of text.
    folder : where /evidence writes pictures, and /save if no other is named.
    """

    def __init__(self, chat: Chat, *, json: bool, folder: Path) -> None:
        self._chat = chat
        self._json = json
        self._folder = folder

    def run(self, lines: Iterator[str]) -> int:
        """Take lines until they end or one says /quit; returns how many could not be used."""
        from anomalist.agent.asking.lettered import gathered

        failed = 0
        for line in gathered(lines):
            text = line.strip()
            if text in ("/quit", "/exit"):
                break
            if not text:
                continue
            try:
                self._take(text)
            except AnomalistError as error:
                failed += 1
                _complain(str(error))
            except KeyboardInterrupt:
                _complain("Interrupted. Ask again, or /quit.")
        return failed

    def _take(self, text: str) -> None:
        if not text.startswith("/"):
            self._say(self._chat.ask(text, None if self._json else heard()))
            return
        name, _, rest = text.partition(" ")
        commands: dict[str, Callable[[str], str | Answer]] = {
            "/evidence": lambda id: self._evidence(id),
            "/look": self._look,
            "/undo": lambda _: self._undo(),
            "/save": self._save,
            "/help": lambda _: HELP,
        }
        if name not in commands:
            raise DataError(f"There is no {name[:40]}.", "/help lists what there is.")
        said = commands[name](rest.strip())
        if isinstance(said, str):
            print(said, file=sys.stderr if self._json else sys.stdout, flush=True)
        else:
            self._say(said)

    def _say(self, answer: Answer) -> None:
        print(answer.model_dump_json() if self._json else f"{shown(answer)}\n", flush=True)

    def _evidence(self, id: str) -> str:
        from anomalist.agent.chat.opening import KNOWN, open_evidence

        if not id:
            raise DataError("Which evidence?", KNOWN)
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
        from anomalist.agent.tools.remembering import undo_feedback

        undone = undo_feedback(self._chat.subject, case)
        return f"{undone.case} is taken back: {undone.note or undone.text}"

    def _save(self, folder: str) -> str:
        from anomalist.report.conversation import save

        target = Path(folder) if folder else self._folder
        chat = self._chat
        return "\n".join(map(str, save(chat.answers, chat.subject.records, target, chat.name)))


def heard() -> Callable[[Heard], None] | None:
    """Show on stderr what a model does and drafts, where a person looks on; what holds comes after it."""
    from anomalist.terminal import err

    if not err.is_terminal:
        return None

    def show(each: Heard) -> None:
        text = f"  … {each.text}" if each.what == "tool" else f"  {each.text}"
        err.print(text, style="dim", markup=False, highlight=False)

    return show


def typed_lines(earlier: list[str], *, echo: bool) -> Iterator[str]:
    """Lines as a person types them, with the earlier questions to go back to; or as they are piped in.

    ``echo`` repeats piped lines on stdout, so that answers can be read together with their questions.
    """
    if not sys.stdin.isatty():
        for line in sys.stdin:
            if echo and line.strip():
                print(f"{PROMPT}{line.strip()}", flush=True)
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
            yield input(PROMPT)
        except EOFError:
            return
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return


def _complain(text: str) -> None:
    from anomalist.terminal import err

    err.print(text, markup=False, highlight=False, soft_wrap=True)
