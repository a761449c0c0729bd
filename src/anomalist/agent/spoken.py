"""A chat model whose reply is known piece by piece: streamed or whole, it is the same."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult


class SpokenModel(BaseChatModel):
    """Streams the pieces that a subclass says; the last one is marked as such."""

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
                piece = piece.model_copy(update={"chunk_position": "last"})
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
