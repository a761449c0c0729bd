"""The chat-completions protocol of OpenAI as llama.cpp, Ollama, vLLM and others speak it.

LangChain's `ChatOpenAI` does the talking. Here is what inspecting needs on top: every failure is a
`ModelError` of one line that can't hold the key, options are read off log-probabilities, and what only some
servers can do (JSON by schema, log-probabilities) is done without where it is refused.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import openai
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from anomalist.agent.endpoint import NO_KEY, OWN_KEY, Address
from anomalist.errors import ModelError

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 300.0
"""Longest wait for the next byte: a 7B model on a CPU takes minutes to read a picture."""

MOST_TOKENS = 4096
MOST_SAID = 200
"""Characters of a server's own words that go into an error."""

TOP = 20
"""Log-probabilities asked for: the most that OpenAI and vLLM give."""


class HttpError(ModelError):
    """What a server answered instead of a reply."""

    def __init__(self, message: str, remedy: str, status: int, said: str) -> None:
        super().__init__(message, remedy)
        self.status, self.said = status, said

    @property
    def refused(self) -> bool:
        """Whether the server understood the request and would not have it."""
        return self.status in (400, 422)


class ChatCompletions(ChatOpenAI):
    """A model behind a chat-completions server; failures are `ModelError`."""

    address: Address
    _schema_refused: bool = PrivateAttr(default=False)
    _logprobs_missing: bool = PrivateAttr(default=False)

    def option_logprobs(
        self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]
    ) -> list[list[float]] | None:
        """Return the log-probability of each letter as first token of the reply, for each conversation.

        A letter that is not among the ``TOP`` most probable tokens gets the log-probability of the last of
        them, which bounds its own from above. None when the server gives no log-probabilities, or none of
        the letters is among them: then the letter has to be read from a reply.

        Raises
        ------
        ModelError : the server can't be reached or fails.
        """
        rows = []
        for messages in messages_list:
            listed = [] if self._logprobs_missing else self._first_token(list(messages))
            row = _by_letter(listed, letters)
            if row is None:
                return None
            rows.append(row)
        return rows

    def _first_token(self, messages: list[BaseMessage]) -> list[dict[str, Any]]:
        """The most probable first tokens of a reply as ``{"token", "logprob"}``; empty where not given."""
        try:
            reply = self.invoke(messages, max_tokens=1, logprobs=True, top_logprobs=TOP, stream=False)
        except HttpError as error:
            if not error.refused:
                raise
            self._logprobs_missing = True
            return []
        content = (reply.response_metadata.get("logprobs") or {}).get("content")
        self._logprobs_missing = content is None
        return content[0].get("top_logprobs") or [] if content else []

    def check(self) -> None:
        """Raise ModelError unless a server answers at the address, whatever it answers."""
        with suppress(HttpError), self._one_line():
            self.root_client.with_options(timeout=CONNECT_SECONDS, max_retries=0).models.list()

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: object
    ) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        schema = payload.pop("response_format", None)
        if schema is not None and not self._schema_refused:
            # As a plain field: the client's own handling raises where a reply was cut off.
            payload["extra_body"] = {**(payload.get("extra_body") or {}), "response_format": schema}
        if "max_completion_tokens" in payload and self.address.host != "api.openai.com":
            # The name that every server knows; OpenAI's newer models insist on the new one.
            payload["max_tokens"] = payload.pop("max_completion_tokens")
        return payload

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> ChatResult:
        try:
            with self._one_line():
                result: ChatResult = super()._generate(messages, stop, run_manager, **kwargs)
        except HttpError as error:
            self._give_up_schema(error, kwargs)
            return self._generate(messages, stop, run_manager, **kwargs)
        return result

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> Iterator[ChatGenerationChunk]:
        began = finished = False
        try:
            with self._one_line():
                for chunk in super()._stream(messages, stop, run_manager, **kwargs):
                    began, finished = True, finished or "finish_reason" in (chunk.generation_info or {})
                    yield chunk
        except HttpError as error:
            self._give_up_schema(error, kwargs)
            yield from self._stream(messages, stop, run_manager, **kwargs)
            return
        if not finished:  # a lost connection, or a page of another kind, can look like the end of a reply
            raise _broke_off(self.address) if began else _other_protocol(self.address, "")

    # What runs asynchronously goes the same way, in a thread.
    _agenerate = BaseChatModel._agenerate
    _astream = BaseChatModel._astream

    def _give_up_schema(self, error: HttpError, kwargs: Mapping[str, object]) -> None:
        """Go on without a schema if that is what the server refused, else raise."""
        names_it = any(word in error.said for word in ("response_format", "schema", "grammar"))
        if self._schema_refused or "response_format" not in kwargs or not (error.refused and names_it):
            raise error
        self._schema_refused = True

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        """Turn whatever the client raises into a `ModelError`."""
        try:
            yield
        except ModelError:
            raise
        except (openai.OpenAIError, ValueError, KeyError, TypeError, AttributeError) as error:
            key = self.openai_api_key
            secret = key.get_secret_value() if isinstance(key, SecretStr) else ""
            raise explained(error, self.address, secret) from None  # which may quote the key


def connect(address: Address, key: str) -> ChatCompletions:
    """Return the model at this address; a failed request to a remote server is repeated once, at most."""
    # Pictures go where the user said: no redirects, and no proxy on the way to this machine itself.
    timeout = openai.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    client = openai.DefaultHttpxClient(timeout=timeout, follow_redirects=False, trust_env=not address.local)
    model = ChatCompletions(
        address=address,
        model=address.model,
        base_url=address.url,
        api_key=SecretStr(key),
        timeout=timeout,
        max_retries=0 if address.local else 1,
        max_tokens=MOST_TOKENS,
        temperature=0.0,
        use_responses_api=False,
        output_version="v0",
        http_client=client,
    )
    weakref.finalize(model, client.close)
    return model


def explained(error: Exception, address: Address, key: str) -> ModelError:
    """Say in one line, without the key, what went wrong at a server and what to do."""
    server, said = f"The model server at {address.host}", _said(error, key)
    match error:
        case openai.APIStatusError():
            return HttpError(*_status(error, address, said), error.status_code, said)
        case openai.APIConnectionError() if cause := _not_connected(error):
            return ModelError(f"No model server answers at {address.host} ({cause}).", "Is it running?")
        case openai.APITimeoutError():
            return ModelError(f"{server} did not answer in time.", "Is the model too large for it?")
        case openai.APIConnectionError():
            return _broke_off(address)
        case openai.APIError():
            return ModelError(f"{server} broke off{said}.")
        case _:
            return _other_protocol(address, said)


def _status(error: openai.APIStatusError, address: Address, said: str) -> tuple[str, str]:
    """Message and remedy of an answer that is an HTTP error."""
    server = f"The model server at {address.host}"
    match error.status_code:
        case 401 | 403:
            return f"{server} does not accept the key{said}.", f"Set {OWN_KEY} to another."
        case 404:
            listed = f"Its models are listed at {address.url}/models."
            return f"{server} has no model {address.model} (HTTP 404{said}).", listed
        case status:
            return f"{server} answered with HTTP {status}{said}.", ""


def _broke_off(address: Address) -> ModelError:
    return ModelError(f"The model server at {address.host} broke off in mid-reply.", "Its log may say why.")


def _other_protocol(address: Address, said: str) -> ModelError:
    return ModelError(
        f"What answers at {address.host} does not speak the chat-completions protocol{said}.",
        "Does the address end with the right path, as in …/v1?",
    )


def _not_connected(error: BaseException) -> str | None:
    """Why no connection was made; None if there was one."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "ProxyError"):
            return " ".join(str(cause).split()) or "no connection in time"
        cause = cause.__cause__ or cause.__context__
    return None


def _said(error: Exception, key: str) -> str:
    """What the server said as ``: text``: a line, shortened, without the key and a full stop."""
    body = getattr(error, "body", None)
    text = body.get("message") or body.get("detail") if isinstance(body, dict) else None
    line = " ".join(str(text or getattr(error, "message", None) or error).split()).rstrip(".")
    line = line.replace(key, "***") if key not in ("", NO_KEY) else line
    return f": {line if len(line) <= MOST_SAID else line[: MOST_SAID - 1] + '…'}" if line else ""


def _by_letter(listed: Sequence[dict[str, Any]], letters: Sequence[str]) -> list[float] | None:
    """Sum the probabilities of the tokens that are a letter, with or without a space before it."""
    found: dict[str, list[float]] = {letter: [] for letter in letters}
    for entry in listed:
        letter = str(entry["token"]).strip(" \t\n▁Ġ")
        if letter in found:
            found[letter].append(float(entry["logprob"]))
    if not any(found.values()):
        return None
    bound = min(float(entry["logprob"]) for entry in listed)
    return [_log_sum(values) if values else bound for values in found.values()]


def _log_sum(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
