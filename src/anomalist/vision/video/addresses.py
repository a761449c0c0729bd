"""Addresses of streams: what counts as one, and how it is shown without its secrets."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from anomalist.errors import MediaError
from anomalist.vision.media import shown

SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "udp"})

_SECRET = re.compile(r"([?&;][^=&;]*(?:pass|pwd|token|secret|key|auth|sig|credential)[^=&;]*=)[^&;#]*", re.I)


def is_address(source: str | Path) -> bool:
    """Tell an address ("rtsp://camera/1") from a path; a ``Path`` never is one."""
    return isinstance(source, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def scheme_of(address: str) -> str:
    """Return the scheme in lower case.

    Raises
    ------
    MediaError
        If it isn't one of ``SCHEMES``, or the address can't be parsed.
    """
    scheme = address.partition("://")[0].lower()
    name = without_secrets(address)
    if scheme not in SCHEMES:
        raise MediaError(
            f'"{shown(name)}" can\'t be opened: "{shown(scheme, 20)}" addresses are not read.',
            f"Give a path, or an address that starts with {', '.join(sorted(SCHEMES))}.",
        )
    try:
        parts = urlsplit(address)
        complete = (parts.hostname or scheme in ("udp", "rtp")) and (parts.port is None or parts.port > 0)
    except ValueError:
        complete = False
    if not complete:
        raise MediaError(f'"{shown(name)}" is not a complete address.', "Check its host and port.")
    return scheme


def without_secrets(address: str) -> str:
    """Return the address without the password, and with "…" for the values of query keys like "token"."""
    scheme, _, rest = address.partition("://")
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{scheme}://{rest.rpartition('@')[2]}"
    user, at, host = parts.netloc.rpartition("@")
    parts = parts._replace(netloc=user.partition(":")[0] + at + host)
    return _SECRET.sub(r"\1…", urlunsplit(parts))
