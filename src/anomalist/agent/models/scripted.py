"""A scripted chat model (a fake LangChain model) that replays replies from a JSON Lines file.

For trying things out, for demonstrations and for tests. Each line is an object with

- ``reply``: what the model says: text as it is, or an object, which is said as JSON;
- ``prompt`` (optional): say it only to the prompt with this id, such as ``judge.v1``. Without it the reply
  fits every prompt.

Every call takes the next line that fits; a reply that is sent back as unusable is followed by the next one to
the same prompt. After the last one it starts again from the first, so that two lines are enough for a folder
of pictures. Empty lines and lines that start with ``#`` are skipped::

    {"prompt": "describe.v1", "reply": {"scene": "A grey tile.", "observations": [], "text_seen": []}}
    {"prompt": "judge.v1", "reply": "I think it's fine."}

`StreamedReplyModel` is the base of models whose reply is known chunk by chunk: streamed or whole, it is the
same.
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
    """Streams the chunks that a subclass gives; the last one has ``chunk_position`` "last"."""

    @abstractmethod
    def _pieces(self, messages: list[BaseMessage]) -> Sequence[AIMessageChunk]:
        """The reply in pieces, at least one."""

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
"""Characters that are streamed at a time."""


class ScriptedReply(Frozen):
    """One reply of the script."""

    reply: str | dict[str, Any]
    prompt: str | None = Field(None, description="id of the prompt that it replies to; None for any")

    @property
    def text(self) -> str:
        """What is said."""
        return self.reply if isinstance(self.reply, str) else json.dumps(self.reply, ensure_ascii=False)


class ScriptedModel(StreamedReplyModel):
    """Replays its script in order, whatever the input. Not thread-safe."""

    lines: tuple[ScriptedReply, ...]
    _position: int = PrivateAttr(0)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _pieces(self, messages: list[BaseMessage]) -> list[AIMessageChunk]:
        text = self._next(prompt_id(messages))
        starts = range(0, max(1, len(text)), CHUNK_CHARS)
        return [AIMessageChunk(content=text[start : start + CHUNK_CHARS]) for start in starts]

    def _next(self, asked: str | None) -> str:
        """Take the next line that fits, going round once."""
        for step in range(len(self.lines)):
            index = (self._position + step) % len(self.lines)
            if self.lines[index].prompt in (None, asked):
                self._position = index + 1
                return self.lines[index].text
        raise ModelError(f"The script has no reply to the prompt {asked or 'without an id'}.")


def open_scripted(rest: str) -> ScriptedModel:
    """Open the file named in ``scripted:FILE``.

    Raises
    ------
    ModelError : the file can't be read, is empty, or a line is not in the form above (names the line).
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
