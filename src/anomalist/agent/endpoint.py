"""Where an OpenAI-compatible server is, and the key that it may be shown."""

from __future__ import annotations

import ipaddress
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from anomalist.errors import ModelError

if TYPE_CHECKING:
    from anomalist.agent.chat_completions import ChatCompletions

OWN_KEY, COMMON_KEY = "ANOMALIST_API_KEY", "OPENAI_API_KEY"
NO_KEY = "none"
"""Sent where there is no key: the protocol wants one, local servers ignore it."""

EXAMPLE = "For example: openai:http://localhost:11434/v1#qwen3-vl:2b"


@dataclass(frozen=True)
class Address:
    """One model on one server.

    Parameters
    ----------
    url : base of the protocol's paths, as in ``http://localhost:11434/v1``.
    model : name by which the server knows the model.
    """

    url: str
    model: str

    @property
    def host(self) -> str:
        """Name or number of the host, and its port where one is given."""
        return urlsplit(self.url).netloc

    @property
    def local(self) -> bool:
        """Whether what is sent stays on this machine."""
        name = urlsplit(self.url).hostname or ""
        if name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def parse_address(rest: str) -> Address:
    """Read ``<url>#<model>``; an URL without a path gets the usual ``/v1``.

    Raises
    ------
    ModelError : no http(s) URL, no model, or a password in the URL (it would end up in every record). The
        message never repeats a password.
    """
    url, _, model = rest.partition("#")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ModelError("The address of the model server is not a URL.", EXAMPLE) from error
    if parts.username is not None or parts.query:
        raise ModelError(
            "The address of a model server may hold no password and no query: addresses are recorded.",
            f"Put the key into the environment as {OWN_KEY}.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ModelError(f"{url or 'Nothing'} is not the http address of a model server.", EXAMPLE)
    if not model:
        raise ModelError(f"Which model at {parts.netloc}? Name it after a #.", EXAMPLE)
    path = parts.path.rstrip("/") or "/v1"
    return Address(urlunsplit((parts.scheme, parts.netloc, path, "", "")), model)


def find_key(address: Address) -> tuple[str, str | None]:
    """Return the key to show to a server and the name of the variable that it is from.

    ``ANOMALIST_API_KEY`` goes to any server that the user names. ``OPENAI_API_KEY``, which many have set for
    other programs, goes to remote ones only, and never unencrypted.

    Raises
    ------
    ModelError : a key with characters that no key has, a line break for instance.
    """
    names = (OWN_KEY, COMMON_KEY) if address.url.startswith("https:") and not address.local else (OWN_KEY,)
    for name in names:
        if key := os.environ.get(name, "").strip():
            if not key.isascii() or not key.isprintable():
                # Sent as it is, it would come back in the error of some library.
                raise ModelError(f"The key in {name} holds characters that no key has.", "Set it again.")
            return key, name
    return NO_KEY, None


def open_endpoint(rest: str) -> ChatCompletions:
    """Return the chat model at ``<url>#<model>``; nothing is sent yet.

    Says in one line, as a warning in the log (so on stderr), when pictures will leave this machine.

    Raises
    ------
    ModelError : the address can't be used, see `parse_address`.
    """
    address = parse_address(rest)
    key, variable = find_key(address)
    if not address.local:
        logging.getLogger(__name__).warning("%s", _notice(address, variable))
    from anomalist.agent.chat_completions import connect

    return connect(address, key)


def _notice(address: Address, variable: str | None) -> str:
    how = "" if address.url.startswith("https:") else " unencrypted"
    shown = f"with the key in {variable}" if variable else "without a key"
    return f"Pictures leave this machine: they are sent{how} to {address.host}, {shown}."
