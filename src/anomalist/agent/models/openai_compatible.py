"""OpenAI-compatible chat completions: llama.cpp, Ollama, vLLM and others as a LangChain chat model.

An address is ``<url>#<model>``; the API key comes from the environment and is sent to remote servers only
over https. Built on LangChain's `ChatOpenAI`, with these additions: every failure is a `ModelError` of one
line that can't contain the key, option letters are scored by log-probabilities, and features that only some
servers have (JSON schema, log-probabilities) are dropped where a server refuses them.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import openai
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import PrivateAttr, SecretStr

from anomalist.errors import ModelError
from anomalist.vision.media.sources import address_parts

OWN_KEY, COMMON_KEY = "ANOMALIST_API_KEY", "OPENAI_API_KEY"
"""Environment variables of API keys."""

NO_KEY = "none"
"""Sent where there is no key: the client requires one, local servers ignore it."""

ADDRESS_EXAMPLE = "For example: openai:http://localhost:11434/v1#qwen3-vl:2b"


@dataclass(frozen=True)
class Address:
    """One model on one server.

    Parameters
    ----------
    url : base URL, as in ``http://localhost:11434/v1``.
    model : name of the model on the server.
    """

    url: str
    model: str

    @property
    def host(self) -> str:
        """Host name or address, with the port where one is given."""
        return urlsplit(self.url).netloc

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        name = urlsplit(self.url).hostname or ""
        if name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def parse_address(rest: str) -> Address:
    """Parse ``<url>#<model>``; a URL without a path gets the usual ``/v1``.

    Raises
    ------
    ModelError : no http(s) URL, no model, or a password in the URL, which would be recorded. The message
        never repeats a password.
    """
    url, _, model = rest.partition("#")
    parts = address_parts(url)
    if parts is None:
        raise ModelError("The address of the model server is not a URL.", ADDRESS_EXAMPLE)
    if parts.username is not None or parts.query:
        raise ModelError(
            "The address of a model server may hold no password and no query: addresses are recorded.",
            f"Put the key into the environment as {OWN_KEY}.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ModelError(f"{url or 'Nothing'} is not the http address of a model server.", ADDRESS_EXAMPLE)
    if not model:
        raise ModelError(f"Which model at {parts.netloc}? Name it after a #.", ADDRESS_EXAMPLE)
    path = parts.path.rstrip("/") or "/v1"
    return Address(urlunsplit((parts.scheme, parts.netloc, path, "", "")), model)


def find_key(address: Address) -> tuple[str, str | None]:
    """Return the API key for a server and the environment variable that it is from.

    ``ANOMALIST_API_KEY`` is sent to any server that the user names, ``OPENAI_API_KEY``, which many have set
    for other programs, only to remote servers over https.

    Raises
    ------
    ModelError : the key has characters that no key has, a line break for instance.
    """
    names = (OWN_KEY, COMMON_KEY) if address.url.startswith("https:") and not address.local else (OWN_KEY,)
    for name in names:
        if key := os.environ.get(name, "").strip():
            if not key.isascii() or not key.isprintable():
                # An HTTP library would quote such a key in its error.
                raise ModelError(f"The key in {name} holds characters that no key has.", "Set it again.")
            return key, name
    return NO_KEY, None


def open_endpoint(rest: str) -> ChatCompletionsModel:
    """Return the chat model at ``<url>#<model>``; nothing is sent yet.

    Logs a warning of one line (on stderr) when pictures will leave this machine.

    Raises
    ------
    ModelError : the address is invalid, see `parse_address`.
    """
    address = parse_address(rest)
    key, variable = find_key(address)
    if not address.local:
        logging.getLogger(__name__).warning("%s", _privacy_notice(address, variable))

    return connect_model(address, key)


def _privacy_notice(address: Address, variable: str | None) -> str:
    how = "" if address.url.startswith("https:") else " unencrypted"
    shown = f"with the key in {variable}" if variable else "without a key"
    return f"Pictures leave this machine: they are sent{how} to {address.host}, {shown}."


CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 300.0
"""Longest wait for the next byte: a 7B model on a CPU takes minutes to prefill a picture."""

MAX_TOKENS = 4096
"""Longest reply, tokens."""

MAX_MESSAGE_CHARS = 200
"""Characters of a server's message that go into an error."""

TOP_LOGPROBS = 20
"""Log-probabilities that are requested: the maximum of OpenAI and vLLM."""


class HttpError(ModelError):
    """An HTTP error status of a model server."""

    def __init__(self, message: str, remedy: str, status: int, server_message: str) -> None:
        super().__init__(message, remedy)
        self.status, self.server_message = status, server_message

    @property
    def refused(self) -> bool:
        """Whether the server rejected the request as invalid (400 or 422)."""
        return self.status in (400, 422)


class ChatCompletionsModel(ChatOpenAI):
    """A model on a chat-completions server; every failure is a `ModelError`."""

    address: Address
    _schema_unsupported: bool = PrivateAttr(default=False)
    _logprobs_unsupported: bool = PrivateAttr(default=False)

    def option_logprobs(
        self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]
    ) -> list[list[float]] | None:
        """Return the log-probability of each letter as first token of the reply, for each conversation.

        A letter that is not among the ``TOP_LOGPROBS`` most probable tokens gets the log-probability of the
        last of these, an upper bound. None where the server gives no log-probabilities, or none for any of
        the letters: then the letter has to be parsed from a reply.

        Raises
        ------
        ModelError : the server can't be reached or fails.
        """
        rows = []
        for messages in messages_list:
            listed = [] if self._logprobs_unsupported else self._first_token(list(messages))
            row = _letter_logprobs(listed, letters)
            if row is None:
                return None
            rows.append(row)
        return rows

    def _first_token(self, messages: list[BaseMessage]) -> list[dict[str, Any]]:
        """The most probable first tokens of a reply, ``{"token", "logprob"}``; empty if unsupported."""
        try:
            reply = self.invoke(
                messages, max_tokens=1, logprobs=True, top_logprobs=TOP_LOGPROBS, stream=False
            )
        except HttpError as error:
            if not error.refused:
                raise
            self._logprobs_unsupported = True
            return []
        content = (reply.response_metadata.get("logprobs") or {}).get("content")
        self._logprobs_unsupported = content is None
        return content[0].get("top_logprobs") or [] if content else []

    def check(self) -> None:
        """Raise ModelError unless a server responds at the address, with whatever status."""
        with suppress(HttpError), self._as_model_error():
            self.root_client.with_options(timeout=CONNECT_TIMEOUT_SECONDS, max_retries=0).models.list()

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: object
    ) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        schema = payload.pop("response_format", None)
        if schema is not None and not self._schema_unsupported:
            # As a plain field: the client's own handling raises for truncated replies.
            payload["extra_body"] = {**(payload.get("extra_body") or {}), "response_format": schema}
        if "max_completion_tokens" in payload and self.address.host != "api.openai.com":
            # The name that every server accepts; OpenAI's newer models require the new one.
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
            with self._as_model_error():
                result: ChatResult = super()._generate(messages, stop, run_manager, **kwargs)
        except HttpError as error:
            self._drop_schema(error, kwargs)
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
            with self._as_model_error():
                for chunk in super()._stream(messages, stop, run_manager, **kwargs):
                    began, finished = True, finished or "finish_reason" in (chunk.generation_info or {})
                    yield chunk
        except HttpError as error:
            self._drop_schema(error, kwargs)
            yield from self._stream(messages, stop, run_manager, **kwargs)
            return
        if not finished:  # a lost connection, or another kind of page, looks like an end
            raise _interrupted_error(self.address) if began else _protocol_error(self.address, "")

    # Asynchronous calls run the synchronous code in a thread.
    _agenerate = BaseChatModel._agenerate
    _astream = BaseChatModel._astream

    def _drop_schema(self, error: HttpError, kwargs: Mapping[str, object]) -> None:
        """Continue without JSON schema if the server rejected that, else raise."""
        about_schema = any(word in error.server_message for word in ("response_format", "schema", "grammar"))
        if (
            self._schema_unsupported
            or "response_format" not in kwargs
            or not (error.refused and about_schema)
        ):
            raise error
        self._schema_unsupported = True

    @contextmanager
    def _as_model_error(self) -> Iterator[None]:
        """Turn any error of the client into a `ModelError`."""
        try:
            yield
        except ModelError:
            raise
        except (openai.OpenAIError, ValueError, KeyError, TypeError, AttributeError) as error:
            key = self.openai_api_key
            secret = key.get_secret_value() if isinstance(key, SecretStr) else ""
            raise server_error(error, self.address, secret) from None  # the cause may contain the key


def connect_model(address: Address, key: str) -> ChatCompletionsModel:
    """Return the model at an address; a failed request to a remote server is retried once."""
    # Pictures go only where the user said: no redirects, and no proxy for a server on this machine.
    timeout = openai.Timeout(READ_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS)
    client = openai.DefaultHttpxClient(timeout=timeout, follow_redirects=False, trust_env=not address.local)
    model = ChatCompletionsModel(
        address=address,
        model=address.model,
        base_url=address.url,
        api_key=SecretStr(key),
        timeout=timeout,
        max_retries=0 if address.local else 1,
        max_tokens=MAX_TOKENS,
        temperature=0.0,
        use_responses_api=False,
        output_version="v0",
        http_client=client,
    )
    weakref.finalize(model, client.close)
    return model


def server_error(error: Exception, address: Address, key: str) -> ModelError:
    """A `ModelError` for an error of the client: one line, without the key, with a remedy."""
    server, said = f"The model server at {address.host}", _server_message(error, key)
    match error:
        case openai.APIStatusError():
            return HttpError(*_status_message(error, address, said), error.status_code, said)
        case openai.APIConnectionError() if cause := _connection_failure(error):
            return ModelError(f"No model server answers at {address.host} ({cause}).", "Is it running?")
        case openai.APITimeoutError():
            return ModelError(f"{server} did not answer in time.", "Is the model too large for it?")
        case openai.APIConnectionError():
            return _interrupted_error(address)
        case openai.APIError():
            return ModelError(f"{server} broke off{said}.")
        case _:
            return _protocol_error(address, said)


def _status_message(error: openai.APIStatusError, address: Address, said: str) -> tuple[str, str]:
    """Message and remedy for an HTTP error status."""
    server = f"The model server at {address.host}"
    match error.status_code:
        case 401 | 403:
            return f"{server} does not accept the key{said}.", f"Set {OWN_KEY} to another."
        case 404:
            listed = f"Its models are listed at {address.url}/models."
            return f"{server} has no model {address.model} (HTTP 404{said}).", listed
        case status:
            return f"{server} answered with HTTP {status}{said}.", ""


def _interrupted_error(address: Address) -> ModelError:
    return ModelError(f"The model server at {address.host} broke off in mid-reply.", "Its log may say why.")


def _protocol_error(address: Address, said: str) -> ModelError:
    return ModelError(
        f"What answers at {address.host} does not speak the chat-completions protocol{said}.",
        "Does the address end with the right path, as in …/v1?",
    )


def _connection_failure(error: BaseException) -> str | None:
    """Why the connection failed; None if there was one."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "ProxyError"):
            return " ".join(str(cause).split()) or "no connection in time"
        cause = cause.__cause__ or cause.__context__
    return None


def _server_message(error: Exception, key: str) -> str:
    """The server's message as ``: text``: one line, shortened, without the key and the full stop."""
    body = getattr(error, "body", None)
    text = body.get("message") or body.get("detail") if isinstance(body, dict) else None
    line = " ".join(str(text or getattr(error, "message", None) or error).split()).rstrip(".")
    line = line.replace(key, "***") if key not in ("", NO_KEY) else line
    return (
        f": {line if len(line) <= MAX_MESSAGE_CHARS else line[: MAX_MESSAGE_CHARS - 1] + '…'}" if line else ""
    )


def _letter_logprobs(listed: Sequence[dict[str, Any]], letters: Sequence[str]) -> list[float] | None:
    """Log-probability of each letter, with and without a space before it; None where none is listed."""
    found: dict[str, list[float]] = {letter: [] for letter in letters}
    for entry in listed:
        letter = str(entry["token"]).strip(" \t\n▁Ġ")
        if letter in found:
            found[letter].append(float(entry["logprob"]))
    if not any(found.values()):
        return None
    bound = min(float(entry["logprob"]) for entry in listed)
    return [_logsumexp(values) if values else bound for values in found.values()]


def _logsumexp(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
