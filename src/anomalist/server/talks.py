"""Questions and conversations about inspected pictures and runs; they happen in the thread of a `Lane`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from anomalist.agent.models.selection import EVIDENCE, open_model
from anomalist.agent.tools.subject import Subject
from anomalist.audit.probes import probe_results
from anomalist.audit.recording import open_trail, record_answer, record_said_feedback
from anomalist.composition import resolve_model
from anomalist.errors import AnomalistError, DataError
from anomalist.memory.cases import acting_as
from anomalist.server.inspecting import LoadedProfiles
from anomalist.server.lane import Lane
from anomalist.server.problems import NotFoundError
from anomalist.server.store import InspectionStore
from anomalist.storage.places import bring_run
from anomalist.storage.run_folder import CLIPS, RECORDS
from anomalist.subjects import load_subject
from anomalist.types.common import Answer
from anomalist.types.image import Record

if TYPE_CHECKING:
    from anomalist.agent.chat.chat import ChatStreamEvent

Listener = Callable[["ChatStreamEvent"], None]


@dataclass(frozen=True)
class About:
    """What a question is about: inspected pictures by id, or a run by name."""

    inspections: tuple[str, ...] = ()
    run: str = ""


class Talks:
    """Answers questions, and keeps conversations by name.

    Parameters
    ----------
    lane : the thread that does it.
    store : where pictures are looked up.
    loaded : profiles in memory, shared with who inspects.
    runs : folder of the run folders.
    model : who answers in conversations, as after ``--model``.
    """

    def __init__(
        self, lane: Lane, store: InspectionStore, loaded: LoadedProfiles, runs: Path, model: str
    ) -> None:
        self._lane = lane
        self._store = store
        self._loaded = loaded
        self._runs = runs
        self._model = model

    def ask(
        self, about: About, question: str, options: Sequence[str], owner: str, *, corrects: bool
    ) -> Future[Answer]:
        """Answer one question; what ``owner`` says instead is stored where they may correct.

        Raises BusyError; the future raises AnomalistError where it can't be asked.
        """

        def work() -> Answer:
            from anomalist.agent.asking.answering import answer
            from anomalist.agent.asking.question import read_question

            read_question(question)  # refused before the long work
            with acting_as(owner):
                subject = replace(self._subject(about), takes_feedback=corrects)
                reply = answer(subject, question, options)
                record_said_feedback(reply, subject.case_file)
                record_answer(reply)
            return reply

        return self._lane.submit(work)

    def say(
        self, name: str, about: About | None, text: str, listener: Listener, owner: str, *, corrects: bool
    ) -> Future[Answer]:
        """Say something in a conversation: a question, or what is right.

        Parameters
        ----------
        name : of the conversation.
        about : what a new one is about; None goes on with one that is there.
        listener : called with sentences and tool calls as they come.
        corrects : whether ``owner`` may.

        Raises BusyError; the future raises AnomalistError.
        """

        def work() -> Answer:
            with acting_as(owner):
                return self._say(name, about, text, listener, corrects=corrects)

        return self._lane.submit(work)

    def answers(self, name: str) -> tuple[Answer, ...]:
        """The answers of a conversation so far. Raises NotFoundError."""
        from anomalist.agent.chat.chat_models import stored_answers
        from anomalist.agent.chat.conversations import Conversations

        with Conversations() as conversations:
            if conversations.find(name) is None:
                raise NotFoundError(f"There is no conversation {name[:80]!r}.")
            return tuple(stored_answers(conversations.messages(name)))

    def _say(
        self, name: str, about: About | None, text: str, listener: Listener, *, corrects: bool
    ) -> Answer:
        from anomalist.agent.asking.answering import REASONER
        from anomalist.agent.chat.chat import Chat
        from anomalist.agent.chat.conversations import Conversations

        with Conversations() as conversations:
            known = conversations.find(name)
            if known is not None:
                stored = known.about
                about = About(tuple(stored.get("inspections", ())), str(stored.get("of_run", "")))
            elif about is None:
                raise NotFoundError(f"There is no conversation {name[:80]!r}.")
            spec = resolve_model(self._model)
            subject = replace(self._subject(about), takes_feedback=corrects)
            model = None if spec == EVIDENCE else open_model(spec)
            origin = {"inspections": list(about.inspections), "of_run": about.run}
            if known is None:
                conversations.begin(name, origin, subject)
            chat = Chat(
                subject,
                conversations,
                name,
                model=model,
                model_name=REASONER if spec == EVIDENCE else spec,
                about=origin,
            )
            before = chat.cases()
            reply = chat.ask(text, listener)
            after = chat.cases()
        if (trail := open_trail()) is not None:
            with trail:
                trail.conversation_feedback(before, after, subject.case_file)
                trail.answer(reply, conversation=name)
        return reply

    def _subject(self, about: About) -> Subject:
        if about.run:
            return replace(load_subject(run_folder(self._runs, about.run)), probes=probe_results)
        if not about.inspections:
            raise DataError("What is the question about?", "Name inspected pictures, or a run.")
        found = [self._store.get(id) for id in about.inspections]
        records = tuple(each.record for each in found)
        base = Subject()
        if len({(record.profile_digest, rate_of(record)) for record in records}) == 1:
            with contextlib.suppress(AnomalistError):  # what is on record can still be asked
                if (inspector := self._loaded.of_record(records[0])) is not None:
                    base = inspector.subject([])
        return replace(base, records=records, folder=self._runs / found[0].run, probes=probe_results)


def rate_of(record: Record) -> float | None:
    """The false-alarm rate that a picture was decided at."""
    return None if record.calibration is None else record.calibration.false_alarm_rate


def run_folder(runs: Path, name: str) -> Path:
    """The folder of a run. Raises NotFoundError, also for what is no name."""
    path = runs / name
    if "/" in name or "\\" in name or "\x00" in name or name.startswith("."):
        raise NotFoundError("There is no such run.")
    bring_run(path)
    try:
        there = (path / RECORDS).is_file() or (path / CLIPS).is_file()
    except OSError:
        there = False
    if not there:
        raise NotFoundError(f"There is no run {name[:80]}.")
    return path
