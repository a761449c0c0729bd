"""A scripted chat model (a fake LangChain model) that replays replies from a JSON Lines file.

For trials, demonstrations and tests. Each line is an object with

- ``reply``: a text, or an object that is sent as JSON;
- ``prompt`` (optional): the id of the only prompt that it replies to, such as ``judge.v1``.

Every call takes the next line that fits its prompt; so does a retry after an invalid reply. After the last
line it starts again with the first, so that two lines are enough for a folder of pictures. Empty lines and
lines that start with ``#`` are skipped::

    {"prompt": "describe.v1", "reply": {"scene": "A grey tile.", "observations": [], "text_seen": []}}
    {"prompt": "judge.v1", "reply": "I think it's fine."}

`StreamedReplyModel` is the base of chat models that produce a reply in chunks, for streaming and for whole
replies alike.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import Field, PrivateAttr, ValidationError

from anomalist.agent.models.structured import prompt_id
from anomalist.errors import ModelError
from anomalist.types.common import Frozen


class StreamedReplyModel(BaseChatModel):
    """Base chat model: streams the chunks of a subclass; the last one has ``chunk_position`` "last"."""

    @abstractmethod
    def _pieces(self, messages: list[BaseMessage]) -> Sequence[AIMessageChunk]:
        """The reply in chunks, at least one."""

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> Iterator[ChatGenerationChunk]:
        pieces = self._pieces(messages)
        for number, piece in enumerate(pieces, 1):
            if number == len(pieces):
                piece = AIMessageChunk(**(dict(piece) | {"chunk_position": "last"}))
            chunk = ChatGenerationChunk(message=piece)
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager))


CHUNK_CHARS = 40
"""Characters in a chunk."""


class ScriptedReply(Frozen):
    """One line of the script."""

    reply: str | dict[str, Any]
    prompt: str | None = Field(None, description="id of the prompt that it replies to; None for any")

    @property
    def text(self) -> str:
        """The reply as text."""
        return self.reply if isinstance(self.reply, str) else json.dumps(self.reply, ensure_ascii=False)


class ScriptedModel(StreamedReplyModel):
    """Replays its script in order. Not thread-safe."""

    lines: tuple[ScriptedReply, ...]
    _position: int = PrivateAttr(0)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _pieces(self, messages: list[BaseMessage]) -> list[AIMessageChunk]:
        text = self._next(prompt_id(messages))
        starts = range(0, max(1, len(text)), CHUNK_CHARS)
        return [AIMessageChunk(content=text[start : start + CHUNK_CHARS]) for start in starts]

    def _next(self, prompt: str | None) -> str:
        """The next reply that fits the prompt with this id, cyclically."""
        for step in range(len(self.lines)):
            index = (self._position + step) % len(self.lines)
            if self.lines[index].prompt in (None, prompt):
                self._position = index + 1
                return self.lines[index].text
        raise ModelError(f"The script has no reply to the prompt {prompt or 'without an id'}.")


def open_scripted(rest: str) -> ScriptedModel:
    """Open the file named in ``scripted:FILE``.

    Raises
    ------
    ModelError : the file can't be read, is empty, or a line is invalid (the message names it).
    """
    path = Path(rest)
    try:
        rows = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ModelError(f"The script {path} can't be read: {reason}.") from error
    lines = _parse_script(path, rows)
    if not lines:
        raise ModelError(f"The script {path} holds no replies.", 'Write a line such as {"reply": "…"}.')
    return ScriptedModel(lines=lines)


def _parse_script(path: Path, rows: Sequence[str]) -> tuple[ScriptedReply, ...]:
    lines = []
    for number, row in enumerate(rows, start=1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        try:
            lines.append(ScriptedReply.model_validate_json(row))
        except ValidationError as error:
            problem = error.errors(include_input=False)[0]["msg"]
            raise ModelError(
                f"Line {number} of the script {path} can't be used: {problem}.",
                'Each line is an object with "reply" and, if need be, "prompt".',
            ) from error
    return tuple(lines)
