"""Vision-language models on this machine, through transformers, as LangChain chat models."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, get_args

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field, PrivateAttr

from anomalist.agent.constrained import SchemaMask, schema_of, schema_tokens
from anomalist.agent.conversation import Prompt, decode_picture, prepare
from anomalist.agent.generation import Written, end_tokens, halting, on_device, write_greedily
from anomalist.agent.loading import (
    Dtype,
    Quantisation,
    load_network,
    local_folder,
    memory_errors,
    read_config,
    smaller,
    weights_digest,
)
from anomalist.agent.prefix import letter_tokens, log_sum, next_token_logits
from anomalist.agent.processors import open_processor
from anomalist.errors import ModelError

MOST_TOKENS = 1024
"""Default length of a reply: a judgement takes about 300 tokens."""

OPTIONS = frozenset({"response_format", "max_tokens", "timeout"})


def open_local(
    name: str,
    *,
    quantisation: Quantisation | None = None,
    dtype: Dtype = "auto",
    max_pixels: int | None = None,
) -> LocalChatModel:
    """Open a vision-language model that is on this machine; nothing is ever downloaded.

    Parameters
    ----------
    name : folder as saved by transformers, or downloaded model as in ``Qwen/Qwen3-VL-2B-Instruct``.
    quantisation : "nf4" (about half a byte a weight) or "int8" (one), by bitsandbytes; vision tower and head
        stay in 16 bit.
    dtype : of weights and activations; "auto" is what the model is saved as.
    max_pixels : of each picture that the model looks at; None is a default that fits its kind.

    Raises
    ------
    ModelError : the model is missing, of an unknown kind or damaged, or doesn't fit into memory.
    """
    if quantisation is not None and quantisation not in get_args(Quantisation):
        raise ModelError(
            f"No quantisation {quantisation!r}.", f"There are {', '.join(get_args(Quantisation))}."
        )
    if dtype not in get_args(Dtype):
        raise ModelError(f"No dtype {dtype!r}.", f"There are {', '.join(get_args(Dtype))}.")
    if max_pixels is not None and max_pixels < 1:
        raise ModelError(f"max_pixels must be a positive number, not {max_pixels}.")
    folder = local_folder(name)
    config = read_config(name, folder)
    try:
        processor = open_processor(folder, config.model_type, max_pixels)
    except Exception as error:  # whatever the part that stumbles raises
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"The processor of {name} can't be loaded: {reason}") from error
    network = load_network(name, folder, config, quantisation, dtype)
    write_greedily(network, processor.tokenizer)
    return LocalChatModel(
        model_name=name,
        quantisation=quantisation,
        dtype=str(network.dtype).removeprefix("torch."),
        max_pixels=max_pixels,
        folder=folder,
        network=network,
        processor=processor,
    )


class LocalChatModel(BaseChatModel):
    """A vision-language model in this process. It always takes the most probable token.

    Calls take ``response_format`` (JSON by schema: nothing else can be written), ``max_tokens`` and
    ``timeout`` (seconds from when it is its turn). A reply that reaches ``max_tokens`` is returned as far
    as it goes, with the finish reason "length"; cut-off JSON is for the reader of replies to refuse. One call
    runs at a time; others wait.
    """

    model_name: str
    quantisation: Quantisation | None
    dtype: str
    max_pixels: int | None
    max_tokens: int = MOST_TOKENS
    folder: Path
    network: Any = Field(exclude=True, repr=False)
    processor: Any = Field(exclude=True, repr=False)
    _alone: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "local"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        names = ("model_name", "quantisation", "dtype", "max_pixels", "max_tokens")
        return {name: getattr(self, name) for name in names}

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of weights, vocabulary and settings; the first look takes seconds for large models."""
        return weights_digest(self.folder)

    def option_logprobs(
        self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]
    ) -> list[list[float]]:
        """Return the log-probability of each letter as first token of the reply, for each conversation.

        One forward pass each; what conversations with the same pictures have in common is read once. A letter
        counts with and without a space before it where both are tokens for all letters.

        Raises
        ------
        ModelError : a letter that is no single token, a conversation that can't be read, or no memory left.
        """
        variants = letter_tokens(self.processor.tokenizer, letters)
        decode = functools.cache(decode_picture)
        with self._alone, self._memory():
            prompts = [prepare(self.processor, messages, decode) for messages in messages_list]
            if not prompts:
                return []
            self._room(max(prompts, key=lambda prompt: prompt.length), 1)
            logprobs = next_token_logits(self.network, prompts).log_softmax(dim=-1)
        return [[log_sum(row[list(tokens)].tolist()) for tokens in variants] for row in logprobs]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: object,
    ) -> ChatResult:
        written = self._write(messages, stop, options)
        message = AIMessage(
            written.text, response_metadata=self._metadata(written), usage_metadata=written.usage
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: object,
    ) -> Iterator[ChatGenerationChunk]:
        """Give the reply word by word. Whoever stops listening stops the writing, ctrl-c included."""
        from transformers import TextIteratorStreamer

        words = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        cancelled = threading.Event()
        outcome: list[Written | BaseException] = []

        def write() -> None:
            try:
                outcome.append(self._write(messages, stop, options, words, cancelled))
            except BaseException as error:  # raised again where the words are read
                outcome.append(error)
            finally:
                words.text_queue.put(words.stop_signal)

        writer = threading.Thread(target=write, name="anomalist-model", daemon=True)
        writer.start()
        try:
            for word in words:
                if word:
                    yield self._chunk(word, run_manager)
        finally:
            cancelled.set()
            writer.join()
        match outcome[0]:
            case BaseException() as error:
                raise error
            case written:
                metadata = self._metadata(written)
                end = AIMessageChunk(
                    content="",
                    response_metadata=metadata,
                    usage_metadata=written.usage,
                    chunk_position="last",
                )
                yield ChatGenerationChunk(message=end, generation_info=metadata)

    def _write(
        self,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        options: Mapping[str, Any],
        words: Any = None,  # noqa: ANN401 -- a streamer of transformers
        cancelled: threading.Event | None = None,
    ) -> Written:
        """Let the model reply; words go out one by one, and a cancelled reply ends where it is."""
        if unknown := [*(["stop"] if stop else []), *(options.keys() - OPTIONS)]:
            raise ModelError(f"A local model knows no option {', '.join(sorted(unknown))}.")
        schema = schema_of(options.get("response_format"))
        with self._alone, self._memory(), halting(self.network, options.get("timeout"), cancelled):
            prompt = prepare(self.processor, messages)
            room = self._room(prompt, options.get("max_tokens") or self.max_tokens)
            tokens = self.network.generate(
                **on_device(self.network, prompt.inputs),
                max_new_tokens=room,
                logits_processor=[SchemaMask(self._vocabulary, schema, prompt.length)] if schema else [],
                streamer=words,
            )[0, prompt.length :].tolist()
        ended = bool(tokens) and tokens[-1] in end_tokens(self.network)
        text = self.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return Written(text, "stop" if ended else "length", prompt.length, len(tokens))

    def _room(self, prompt: Prompt, wanted: int) -> int:
        """Return how many tokens the reply may have."""
        window = getattr(self.network.config.get_text_config(), "max_position_embeddings", None) or math.inf
        if prompt.length >= window:
            raise ModelError(
                f"The conversation takes {prompt.length} tokens, and {self.model_name} holds {window}.",
                "Lower max_pixels, or show fewer pictures.",
            )
        return int(min(wanted, window - prompt.length))

    @functools.cached_property
    def _vocabulary(self) -> Any:  # noqa: ANN401 -- llguidance
        return schema_tokens(self.processor.tokenizer, end_tokens(self.network))

    def _memory(self) -> AbstractContextManager[None]:
        return memory_errors(f"Asking {self.model_name}", smaller(self.quantisation, pictures=True))

    def _metadata(self, written: Written) -> dict[str, Any]:
        return {"model_name": self.model_name, "finish_reason": written.finish}

    @staticmethod
    def _chunk(word: str, run_manager: CallbackManagerForLLMRun | None) -> ChatGenerationChunk:
        chunk = ChatGenerationChunk(message=AIMessageChunk(content=word))
        if run_manager is not None:
            run_manager.on_llm_new_token(word, chunk=chunk)
        return chunk
