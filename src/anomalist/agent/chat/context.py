"""The chat model's context: records as text, picture views, tools as LangChain tools, reply schemas.

Also resolves which picture a follow-up question refers to ("the second one", "it"). Views are rendered at
each call and never stored.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_type_hints

import numpy as np
from langchain_core.messages import BaseMessage, ToolMessage
from pydantic import BaseModel, Field, create_model, model_validator

from anomalist.agent.asking.question import ORDINAL, ORDINALS, QUOTED, question_without_options
from anomalist.agent.reasoning.vlm_views import CLOSE_UP_SIDE, OVERVIEW_SIDE, overview_picture
from anomalist.agent.reasoning.wording import failure_sentence
from anomalist.agent.tools import TOOLS
from anomalist.agent.tools.subject import Result, Subject
from anomalist.errors import AnomalistError
from anomalist.types.clip import EVENT_ID, ClipRecord
from anomalist.types.common import SEVERITIES, Answer, Frozen, UInt8Array
from anomalist.types.image import REGION_ID, Record
from anomalist.types.names import names_source

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

ANSWER_KEY = "answer"
"""Key under which a message carries the checked `Answer` as JSON."""

MAX_SENTENCES = 12
"""Sentences of one answer."""


class Sentence(Frozen):
    """One sentence and the ids that it rests on."""

    text: str = Field(min_length=1, max_length=1000)
    evidence: tuple[str, ...] = Field(max_length=12)


class ModelAnswer(Frozen):
    """Give the answer, sentence by sentence, each with the ids that it rests on."""

    sentences: tuple[Sentence, ...] = Field((), max_length=MAX_SENTENCES)
    verdict: Literal["normal", "anomalous", "undecided", "not asked"] = Field(
        "not asked", description="what you think of the picture, where that was asked"
    )
    cannot: str = Field("", max_length=1000, description="why it can't be answered, and what would help")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.sentences and not self.cannot.strip():
            raise ValueError('there are neither "sentences" nor a reason in "cannot"')
        return self


class ModelStep(Frozen):
    """The next step: a tool and its arguments, or, with an empty tool, the answer."""

    tool: str = Field(max_length=60)
    arguments: dict[str, Any] = Field(default_factory=dict)
    sentences: tuple[Sentence, ...] = Field((), max_length=MAX_SENTENCES)
    verdict: Literal["normal", "anomalous", "undecided", "not asked"] = "not asked"
    cannot: str = Field("", max_length=1000)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if not self.tool:
            self.answer()
        return self

    @classmethod
    def with_tools(cls, names: Sequence[str]) -> type[ModelStep]:
        """The schema of a step that calls one of these tools or none; without it small models invent some.

        Validation is as lenient as before: a tool that isn't there is answered as any wrong call.
        """
        tool: Any = (str, Field(max_length=60, json_schema_extra={"enum": ["", *names]}))
        return create_model(cls.__name__, __base__=cls, tool=tool)

    def answer(self) -> ModelAnswer:
        """The answer of a step without a tool call."""
        return ModelAnswer(sentences=self.sentences, verdict=self.verdict, cannot=self.cannot)


MAX_RESULT_CHARS = 8000
"""Longest tool result in a message, characters; longer ones are cut."""

UNDO_TOOL, SELECTION_TOOL = "undo_feedback", "call_selection_fine"
FEEDBACK_TOOLS = frozenset({"record_feedback", UNDO_TOOL, SELECTION_TOOL})
"""Tools that change the case store; they run only if the person's question asks for it."""

_IDS = re.compile(r'"ids":\s*\[([^\]]*)\]')


class StoredToolResult(Result):
    """A tool result as stored in the messages of a conversation."""

    text: str


def as_langchain_tools(
    subject: Callable[[], Subject], tools: Sequence[Callable[..., Result]] = TOOLS
) -> list[BaseTool]:
    """Wrap tools as LangChain tools; ``subject`` returns the current subject of the conversation."""
    from langchain_core.tools import StructuredTool

    def bind(tool: Callable[..., Result]) -> BaseTool:
        def call(**arguments: Any) -> str:  # noqa: ANN401
            return result_as_json(tool(subject(), **arguments))

        return StructuredTool.from_function(
            call,
            name=tool.__name__,
            description=inspect.getdoc(tool),
            args_schema=_argument_schema(tool),
            infer_schema=False,
        )

    return [bind(tool) for tool in tools]


def result_as_json(result: Result) -> str:
    """A result as JSON, ids first, without None values, cut to `MAX_RESULT_CHARS`."""
    content = result.model_dump(mode="json", exclude_none=True)
    text = json.dumps(content, ensure_ascii=False)
    if len(text) <= MAX_RESULT_CHARS:
        return text
    return f"{text[:MAX_RESULT_CHARS]} … (cut: ask for less)"


def stored_tool_results(messages: Iterable[BaseMessage]) -> tuple[StoredToolResult, ...]:
    """Successful tool results in a conversation: the ids and numbers that an answer may cite."""
    found = []
    for message in messages:
        if isinstance(message, ToolMessage) and message.status == "success":
            text = str(message.content)
            ids = [id for listed in _IDS.findall(text) for id in re.findall(r'"([^"]+)"', listed)]
            found.append(StoredToolResult(ids=tuple(dict.fromkeys(ids)), text=text))
    return tuple(found)


def stored_cases(messages: Iterable[BaseMessage]) -> list[str]:
    """Ids of the cases that a conversation stored or took back, by a model's call or by measurement."""
    found: list[str] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.name in FEEDBACK_TOOLS and message.status == "success":
                found += [id for result in stored_tool_results([message]) for id in result.ids]
        elif text := message.additional_kwargs.get(ANSWER_KEY):
            answer = Answer.model_validate_json(text)
            if answer.intent == "feedback" and answer.answered:
                found += [id for claim in answer.claims[:1] for id in claim.evidence]
    return [id for id in found if id.startswith("case:")]


def _argument_schema(tool: Callable[..., Result]) -> type[BaseModel]:
    """The arguments of a tool, without the subject, as a pydantic model."""
    hints = get_type_hints(tool)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is parameter.empty else parameter.default)
        for name, parameter in list(inspect.signature(tool).parameters.items())[1:]
    }
    return create_model(f"Arguments of {tool.__name__}", **fields)


_BACK_REFERENCE = re.compile(
    rf"\b(?:it|its|it's|that|this|there|here|{REGION_ID}|{EVENT_ID}|"
    r"the (?:picture|tile|part|board|clip|mark|spot|line|finding|defect|region|crack|scratch|damage))\b",
    re.I,
)
_SEVERAL = re.compile(
    r"\b(?:all|any of|each|every|which (?:of|ones?|pictures?|tiles?|parts?|clips?|are|were)|these|those|"
    r"others?|pictures|tiles|parts|images|clips|boards|batch|lot|delivery|consignment|shift|run|ones)\b",
    re.I,
)


def narrow_subject(subject: Subject, text: str, earlier: Sequence[Answer]) -> Subject:
    """The subject reduced to the picture or clip that a question refers to; unchanged where that is open.

    Parameters
    ----------
    subject : pictures or clips; a single one is returned unchanged.
    text : the question; its options are ignored.
    earlier : answers of the conversation, in order, which "it" and "the second one" refer to.
    """
    sources = sources_of(subject)
    if len(sources) < 2:
        return subject
    text = question_without_options(text)
    paths = re.findall(r"[\w.-]+(?:/[\w.-]+)+", text)
    named = [source for source in sources if any(names_source(path, source) for path in paths)]
    named = named or [source for source in sources if _mentions_file(text, source)]
    if named:
        return only_source(subject, named[0]) if len(named) == 1 else subject
    text = QUOTED.sub(" … ", text)  # quoted text counts for file names only
    ordinal = ORDINAL.search(text.lower())
    listing = next(filter(None, (listed_sources(answer, sources) for answer in reversed(earlier))), ())
    if ordinal and listing:
        place = -1 if ordinal[1] == "last" else ORDINALS.index(ordinal[1])
        return only_source(subject, listing[place]) if place < len(listing) else subject
    if _SEVERAL.search(text) or not _BACK_REFERENCE.search(text):
        return subject
    focus = last_focus(earlier, sources)
    return subject if focus is None else only_source(subject, focus)


def last_focus(earlier: Sequence[Answer], sources: Sequence[str]) -> str | None:
    """The picture or clip of the last answer that is about any; None where that is about several."""
    for answer in reversed(earlier):
        about = [source for source in answer.subjects if source in sources]
        about = about if len(about) == 1 else list(listed_sources(answer, sources))
        if len(about) == 1:
            return about[0]
        if about:
            return None
    return None


def listed_sources(answer: Answer, sources: Sequence[str]) -> tuple[str, ...]:
    """The pictures that an answer lists one by one, in their order."""
    by_name: dict[str, list[str]] = {}
    for source in sources:
        by_name.setdefault(Path(source).name, []).append(source)
    # A sentence that cites several pictures gives no order that a person could refer to.
    cited = [claim.evidence[0] for claim in answer.claims if len(claim.evidence) == 1]
    meant = [[s for s in by_name.get(Path(id).name, ()) if names_source(id, s)] for id in cited]
    return tuple(dict.fromkeys(each[0] for each in meant if len(each) == 1))


def sources_of(subject: Subject) -> tuple[str, ...]:
    """Sources of the pictures and clips."""
    return (*(record.source for record in subject.records), *(clip.source for clip in subject.clips))


def only_source(subject: Subject, source: str) -> Subject:
    """The subject with one picture or clip; the others stay searchable as ``past``."""
    return replace(
        subject,
        records=tuple(record for record in subject.records if record.source == source),
        clips=tuple(clip for clip in subject.clips if clip.source == source),
        past=(*subject.past, *subject.records),
    )


def replace_file_name(text: str, source: str) -> str:
    """The text with a file name replaced by "it"."""
    return _file_name_pattern(source).sub("it", text)


def _mentions_file(text: str, source: str) -> bool:
    # Of thousands of sources hardly one is named: a pattern each would take seconds.
    name = source.replace("\\", "/").rpartition("/")[2]
    stem = name.rpartition(".")[0] or name
    if stem.lower() not in text.lower():
        return False
    return _file_name_pattern(source).search(text) is not None


def _file_name_pattern(source: str) -> re.Pattern[str]:
    """Matches a file name with or without its extension."""
    path = Path(source)
    return re.compile(rf"(?<![\w.-])(?:{re.escape(path.name)}|{re.escape(path.stem)})(?![\w-])", re.I)


MAX_LISTED = 30
"""Pictures and clips in the prompt; the others can be searched."""

MAX_IDS = 80
"""Citable ids in the prompt."""


def describe_records(subject: Subject, meant: Subject) -> str:
    """One line per picture or clip, and the claims of the one that the question refers to.

    Parameters
    ----------
    subject : everything that the conversation is about.
    meant : the subject narrowed to what the question refers to, see `narrow_subject`.
    """
    lines = [*map(_record_line, subject.records), *map(_record_line, subject.clips)]
    shown = lines[:MAX_LISTED]
    if len(lines) > len(shown):
        shown.append(f"and {len(lines) - len(shown)} more, which search_records finds")
    sources = sources_of(meant)
    if len(sources) == 1:
        shown.append(f"The question is taken to be about {Path(sources[0]).name}:")
        claims = [claim for record in meant.records for claim in record.claims]
        claims += [claim for clip in meant.clips for event in clip.events for claim in event.claims]
        shown += [f"- {claim.text} [{', '.join(claim.evidence)}]" for claim in claims[:MAX_LISTED]]
    return "\n".join(shown)


def citable_ids(meant: Subject, results: Iterable[StoredToolResult]) -> list[str]:
    """Ids of what the question refers to, then of tool results."""
    ids = ["score"]
    for record in meant.records:
        ids.append(Path(record.source).name)
        if len(meant.records) == 1:
            ids += [place.id for place in record.places] + [item.id for item in record.recall.items]
    for clip in meant.clips:
        ids.append(Path(clip.source).name)
        if len(meant.clips) == 1:
            ids += [event.id for event in clip.events]
    ids += [id for result in results for id in result.ids]
    return list(dict.fromkeys(ids))[:MAX_IDS]


def _record_line(record: Record | ClipRecord) -> str:
    if not record.judged:
        return failure_sentence(record)
    name = Path(record.source).name
    if isinstance(record, ClipRecord):
        return f"{name}: {record.label}, {len(record.events)} events"
    parts = [str(record.label)]
    parts += [f"severity {SEVERITIES[record.severity]}"] if record.severity else []
    parts += [record.kind] if record.kind else []
    parts += [f"score {record.score:.3g}"] if record.score is not None else []
    parts += [f"p {record.p_value:.3g}"] if record.p_value is not None else []
    parts += [f"regions {', '.join(region.id for region in record.regions[:12])}"] if record.regions else []
    return f"{name}: {', '.join(parts)}"


MAX_CLOSE_UPS = 2
"""Zoomed crops in one prompt, the latest ones."""


def question_views(subject: Subject, turn: Sequence[BaseMessage]) -> tuple[list[UInt8Array], list[str]]:
    """The picture that the question refers to, regions outlined, then the crops zoomed into in this turn.

    Returns
    -------
    Pictures, uint8 (h, w, 3), and a caption for each. For a picture that is missing or has changed there is
    only a caption that says so; with several pictures there are none.
    """
    from anomalist.vision.drawing import thumbnail

    if len(subject.records) != 1:
        return [], []
    (record,) = subject.records
    try:
        media = subject.media(record)
    except AnomalistError as error:
        return [], [f"There is no picture to show: {error}"]
    held = subject.inspections.get(record.source)
    if held is not None and held.evidence is not None:
        pictures = [overview_picture(media, held.evidence)]
        words = ["Picture 1: the whole picture, its regions outlined with their ids"]
    else:
        pictures = [thumbnail(media.pixels, max_side=OVERVIEW_SIDE)]
        words = ["Picture 1: the whole picture"]
    for x0, y0, x1, y1 in _zoomed_windows(turn)[-MAX_CLOSE_UPS:]:
        cut = np.ascontiguousarray(media.pixels[y0:y1, x0:x1])
        if cut.size:
            pictures.append(thumbnail(cut, max_side=CLOSE_UP_SIDE))
            words.append(f"Picture {len(pictures)}: closer, from x {x0}, y {y0} to x {x1}, y {y1}")
    return pictures, words


def _zoomed_windows(turn: Sequence[BaseMessage]) -> list[tuple[int, int, int, int]]:
    """Windows (x0, y0, x1, y1) of the zoom calls of a turn."""
    found = []
    for message in turn:
        if isinstance(message, ToolMessage) and message.name == "zoom" and message.status == "success":
            try:
                x0, y0, x1, y1 = json.loads(str(message.content))["window"]
            except (ValueError, KeyError, TypeError):
                continue
            found.append((x0, y0, x1, y1))
    return found
