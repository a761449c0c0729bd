"""What every request passes first: its host name, its origin, its size and rate; and headers of replies.

A plain ASGI middleware, so that nothing is read of a request that is refused.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from anomalist.server.config import ServerConfig
from anomalist.server.metrics import Metrics
from anomalist.server.problems import BusyError, ForbiddenError, RequestError, TooLargeError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self'; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

_MAX_CALLERS = 10_000


class RateLimit:
    """How often each caller may ask: a bucket of tokens each, filled at a steady rate.

    Parameters
    ----------
    per_minute : requests; as many may come at once.
    """

    def __init__(self, per_minute: int) -> None:
        self._size = float(per_minute)
        self._per_second = per_minute / 60
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, caller: str) -> None:
        """Take a token. Raises BusyError, which says when there is another."""
        now = time.monotonic()
        with self._lock:
            tokens, since = self._buckets.pop(caller, (self._size, now))
            tokens = min(self._size, tokens + (now - since) * self._per_second)
            enough = tokens >= 1
            self._buckets[caller] = (tokens - 1 if enough else tokens, now)
            if len(self._buckets) > _MAX_CALLERS:
                self._buckets.popitem(last=False)
        if not enough:
            after = max(1, round((1 - tokens) / self._per_second))
            raise BusyError("Too many requests.", f"Try again in {after} s.", after=after)


class Guard:
    """Refuses what must not reach the application, and counts and marks what leaves it.

    Parameters
    ----------
    app : the application.
    config : names, sizes and rates.
    metrics : counts requests.
    """

    def __init__(self, app: App, config: ServerConfig, metrics: Metrics) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics
        self._rate = RateLimit(config.requests_per_minute)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = _with_headers(message, str(scope["path"]))
            await send(message)

        try:
            self._check(scope, headers)
            await self._app(scope, self._limited(receive, headers), marked)
        except RequestError as error:
            await _refuse(error, marked)
        finally:
            self._metrics.request(str(scope["method"]), _route(scope), status, time.perf_counter() - began)

    def _check(self, scope: Message, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if not self._config.any_name and _host_name(host) not in self._config.allowed_names:
            raise ForbiddenError(
                "The server is not called by that name.",
                "Start it with --name for each name it is called by.",
            )
        client = (scope.get("client") or ("unknown", 0))[0]
        self._rate.take(str(client))
        if scope["method"] not in SAFE_METHODS:
            _check_origin(headers, host)
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise RequestError("The length of the request is no number.")
        if int(length) > self._config.max_request:
            raise self._too_large()

    def _limited(self, receive: Receive, headers: dict[str, str]) -> Receive:
        """Count what really comes: a length need not be named, and need not be true."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._config.max_request:
                    raise self._too_large()
            return message

        return counted

    def _too_large(self) -> TooLargeError:
        return TooLargeError(
            f"A request holds {self._config.max_request:,} bytes at most.", "Send fewer or smaller files."
        )


def _route(scope: Message) -> str:
    """The pattern of the path, whole; "none" for a path that nothing answers."""
    route = getattr(scope.get("route"), "path", None)
    if route is None:
        return "none"
    api = str(scope["path"]).startswith("/v1/") and not str(route).startswith("/v1/")
    return f"/v1{route}" if api else str(route)


def _host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _check_origin(headers: dict[str, str], host: str) -> None:
    """Raise ForbiddenError where a browser says that another site makes this request."""
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "same-origin")
    foreign = site not in ("same-origin", "none")
    if origin is not None:
        try:
            foreign |= urlsplit(origin).netloc.lower() != host.lower()
        except ValueError:
            foreign = True
    if foreign:
        raise ForbiddenError("Another site may not change anything here.")


def _with_headers(message: Message, path: str) -> Message:
    own = {name.lower() for name, _ in message["headers"]}
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in own]
    if b"cache-control" not in own:
        static = path.startswith("/static/")
        added.append((b"cache-control", b"public, max-age=3600" if static else b"no-store"))
    return {**message, "headers": [*message["headers"], *added]}


async def _refuse(error: RequestError, send: Send) -> None:
    body = json.dumps({"error": error.message, "remedy": error.remedy}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if isinstance(error, BusyError):
        headers.append((b"retry-after", str(error.after).encode()))
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
