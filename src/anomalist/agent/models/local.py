"""Local vision-language models (transformers) as LangChain chat models.

Processors are loaded without torchvision: pictures through PIL, no videos. Decoding is greedy; replies can be
constrained to a JSON schema, and options are scored by the log-probability of their letters. Needs torch and
transformers: import inside functions only.
"""

from __future__ import annotations

import copy
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

from anomalist.agent.models.chat_inputs import PromptInputs, decode_picture, prepare_inputs
from anomalist.agent.models.generation import (
    GeneratedReply,
    JsonSchemaLogitsProcessor,
    eos_token_ids,
    grammar_tokenizer,
    letter_token_ids,
    logsumexp,
    move_to_device,
    next_token_logits,
    response_schema,
    set_greedy_decoding,
    stop_on_timeout,
)
from anomalist.agent.models.loading import (
    Dtype,
    Quantisation,
    catch_out_of_memory,
    load_network,
    local_folder,
    memory_remedy,
    read_config,
    weights_digest,
)
from anomalist.agent.models.text_only import TextProcessor, is_text_only
from anomalist.errors import ModelError

DEFAULT_MAX_PIXELS = 1280 * 28 * 28
"""Default for models that take pictures of any size: about 1,280 tokens. The published limit of some is 16
times as high, so that a single photograph can fill the memory."""


def load_processor(folder: Path, model_type: str, max_pixels: int | None) -> Any:  # noqa: ANN401
    """Load the processor of a model; that of one that reads text only is its tokenizer.

    Parameters
    ----------
    folder : of the model.
    model_type : as in its config.
    max_pixels : per picture, as in `limit_pixels`.
    """
    if is_text_only(model_type):
        from transformers import AutoTokenizer

        return TextProcessor(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    processor = _processor_class(model_type).from_pretrained(folder, local_files_only=True, backend="pil")
    limit_pixels(processor.image_processor, max_pixels)
    processor.image_processor = CachingImageProcessor(processor.image_processor)
    return processor


def limit_pixels(images: Any, max_pixels: int | None) -> None:  # noqa: ANN401
    """Set the largest picture that an image processor passes on, in pixels.

    Parameters
    ----------
    images : the image processor; unchanged if it scales pictures to a fixed size (LLaVA).
    max_pixels : None leaves the published value, but at most `DEFAULT_MAX_PIXELS` where pictures keep
        their own size (Qwen-VL).
    """
    size = images.size
    if hasattr(images, "merge_size"):  # Qwen-VL: any size; its "edges" are areas
        most = max_pixels or min(size["longest_edge"], DEFAULT_MAX_PIXELS)
        images.size = {"shortest_edge": min(size["shortest_edge"], most), "longest_edge": most}
    elif max_pixels is None:
        return
    elif hasattr(images, "max_image_size"):  # Idefics3, SmolVLM: square tiles, plus the whole picture
        tile = images.max_image_size["longest_edge"]
        images.size = {"longest_edge": tile * max(1, math.isqrt(max_pixels) // tile)}
    elif hasattr(images, "max_patches"):  # InternVL: tiles of one size in any arrangement
        images.max_patches = max(1, max_pixels // (size["height"] * size["width"]))


class CachingImageProcessor:
    """Image processor that caches its output for the last pictures.

    Many questions about one picture then need its preprocessing only once.
    """

    def __init__(self, images: Any) -> None:  # noqa: ANN401
        self._images = images
        self._key: tuple[Any, ...] = ()
        self._pictures: list[Any] = []
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._images, name)

    def __call__(self, pictures: Any, **options: Any) -> Any:  # noqa: ANN401
        """Return the processor's output; each call gets a mapping of its own."""
        flat = [one for each in pictures for one in (each if isinstance(each, list | tuple) else [each])]
        key = (*map(id, flat), repr(sorted(options.items(), key=lambda item: item[0])))
        if key != self._key:
            self._made = self._images(pictures, **options)
            # A reference to the pictures keeps their ids from being reused.
            self._key, self._pictures = key, flat
        return copy.copy(self._made)


def _processor_class(model_type: str) -> Any:  # noqa: ANN401
    """Return the processor class for a type of model, without its video processor."""
    from transformers import AutoProcessor, Idefics3Processor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name

    if model_type == "smolvlm":
        return Idefics3Processor  # equal for pictures; SmolVLM's own needs num2words, for videos only
    name = PROCESSOR_MAPPING_NAMES.get(model_type)
    base = processor_class_from_name(name) if name else AutoProcessor
    if name is None or "video_processor" not in base.get_attributes():
        return AutoProcessor

    class WithoutVideos(base):  # type: ignore[misc, valid-type]
        """The processor without its video part, which needs torchvision."""

        @classmethod
        def get_attributes(cls) -> list[str]:
            return [part for part in super().get_attributes() if part != "video_processor"]

    return WithoutVideos


MAX_NEW_TOKENS = 1024
"""Default limit of a reply; a judgement takes about 300 tokens."""

CALL_OPTIONS = frozenset({"response_format", "max_tokens", "timeout"})


def open_local(
    name: str,
    *,
    quantisation: Quantisation | None = None,
    dtype: Dtype = "auto",
    max_pixels: int | None = None,
) -> LocalChatModel:
    """Open a model from a folder, a GGUF file or the local cache; nothing is downloaded.

    Parameters
    ----------
    name : folder as saved by transformers, a GGUF file or a folder with one, or name of a downloaded model,
        ``Qwen/Qwen3-VL-2B-Instruct``.
    quantisation : "nf4" (about half a byte per weight) or "int8" (one byte), by bitsandbytes; vision tower
        and head stay in 16 bit.
    dtype : of weights and activations; "auto" is the saved dtype.
    max_pixels : largest picture, see `limit_pixels`.

    Raises
    ------
    ModelError : the model is missing, of an unknown type or damaged, or doesn't fit into memory.
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
        processor = load_processor(folder, config.model_type, max_pixels)
    except Exception as error:  # processors raise anything
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"The processor of {name} can't be loaded: {reason}") from error
    network = load_network(name, folder, config, quantisation, dtype)
    set_greedy_decoding(network, processor.tokenizer)
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
    """A language model in this process, with or without eyes, with greedy decoding.

    Calls take ``response_format`` (constrained decoding by a JSON schema), ``max_tokens`` and ``timeout``
    (seconds from when the model is free). A reply that reaches ``max_tokens`` is returned truncated, with the
    finish reason "length"; `anomalist.agent.models.structured.parse_reply` refuses truncated JSON. Calls are
    serialised by a lock.
    """

    model_name: str
    quantisation: Quantisation | None
    dtype: str
    max_pixels: int | None
    max_tokens: int = MAX_NEW_TOKENS
    folder: Path
    network: Any = Field(exclude=True, repr=False)
    processor: Any = Field(exclude=True, repr=False)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "local"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        names = ("model_name", "quantisation", "dtype", "max_pixels", "max_tokens")
        return {name: getattr(self, name) for name in names}

    @property
    def takes_pictures(self) -> bool:
        """Whether it can be shown pictures; one that can't reads text only."""
        return not isinstance(self.processor, TextProcessor)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of weights, vocabulary and settings; the first access takes seconds for large models."""
        return weights_digest(self.folder)

    def option_logprobs(
        self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]
    ) -> list[list[float]]:
        """Return the log-probability of each letter as first token of the reply, for each conversation.

        One forward pass each; a common prefix of conversations with the same pictures is prefilled once. A
        letter counts with and without a space before it where both are single tokens for all letters.

        Raises
        ------
        ModelError : a letter that is no single token, an invalid conversation, or not enough memory.
        """
        variants = letter_token_ids(self.processor.tokenizer, letters)
        decode = functools.cache(decode_picture)
        with self._lock, self._memory():
            prompts = [prepare_inputs(self.processor, messages, decode) for messages in messages_list]
            if not prompts:
                return []
            self._reply_token_limit(max(prompts, key=lambda prompt: prompt.length), 1)
            logprobs = next_token_logits(self.network, prompts).log_softmax(dim=-1)
        return [[logsumexp(row[list(tokens)].tolist()) for tokens in variants] for row in logprobs]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: object,
    ) -> ChatResult:
        reply = self._write(messages, stop, options)
        message = AIMessage(reply.text, response_metadata=self._metadata(reply), usage_metadata=reply.usage)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: object,
    ) -> Iterator[ChatGenerationChunk]:
        """Stream the reply. Closing the iterator stops the generation, ctrl-c included."""
        from transformers import TextIteratorStreamer

        words = TextIteratorStreamer(self.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        cancelled = threading.Event()
        outcome: list[GeneratedReply | BaseException] = []

        def write() -> None:
            try:
                outcome.append(self._write(messages, stop, options, words, cancelled))
            except BaseException as error:  # raised again in the consumer
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
            case reply:
                metadata = self._metadata(reply)
                end = AIMessageChunk(
                    content="",
                    response_metadata=metadata,
                    usage_metadata=reply.usage,
                    chunk_position="last",
                )
                yield ChatGenerationChunk(message=end, generation_info=metadata)

    def _write(
        self,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        options: Mapping[str, Any],
        words: Any = None,  # noqa: ANN401
        cancelled: threading.Event | None = None,
    ) -> GeneratedReply:
        """Generate a reply; ``words`` is a streamer, ``cancelled`` stops generation."""
        if unknown := [*(["stop"] if stop else []), *(options.keys() - CALL_OPTIONS)]:
            raise ModelError(f"A local model knows no option {', '.join(sorted(unknown))}.")
        schema = response_schema(options.get("response_format"))
        with self._lock, self._memory(), stop_on_timeout(self.network, options.get("timeout"), cancelled):
            prompt = prepare_inputs(self.processor, messages)
            room = self._reply_token_limit(prompt, options.get("max_tokens") or self.max_tokens)
            tokens = self.network.generate(
                **move_to_device(self.network, prompt.inputs),
                max_new_tokens=room,
                logits_processor=[JsonSchemaLogitsProcessor(self._vocabulary, schema, prompt.length)]
                if schema
                else [],
                streamer=words,
            )[0, prompt.length :].tolist()
        ended = bool(tokens) and tokens[-1] in eos_token_ids(self.network)
        text = self.processor.tokenizer.decode(tokens, skip_special_tokens=True)
        return GeneratedReply(text, "stop" if ended else "length", prompt.length, len(tokens))

    def _reply_token_limit(self, prompt: PromptInputs, wanted: int) -> int:
        """Return the token limit of the reply, by request and context window."""
        window = getattr(self.network.config.get_text_config(), "max_position_embeddings", None) or math.inf
        if prompt.length >= window:
            raise ModelError(
                f"The conversation takes {prompt.length} tokens, and {self.model_name} holds {window}.",
                "Lower max_pixels, or show fewer pictures."
                if prompt.pictures
                else "Ask about less at once, or take a model that holds more.",
            )
        return int(min(wanted, window - prompt.length))

    @functools.cached_property
    def _vocabulary(self) -> Any:  # noqa: ANN401
        return grammar_tokenizer(self.processor.tokenizer, eos_token_ids(self.network))

    def _memory(self) -> AbstractContextManager[None]:
        return catch_out_of_memory(
            f"Asking {self.model_name}", memory_remedy(self.quantisation, pictures=True)
        )

    def _metadata(self, reply: GeneratedReply) -> dict[str, Any]:
        return {"model_name": self.model_name, "finish_reason": reply.finish}

    @staticmethod
    def _chunk(word: str, run_manager: CallbackManagerForLLMRun | None) -> ChatGenerationChunk:
        chunk = ChatGenerationChunk(message=AIMessageChunk(content=word))
        if run_manager is not None:
            run_manager.on_llm_new_token(word, chunk=chunk)
        return chunk
