"""Server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any

from fastapi.responses import StreamingResponse

from anomalist.errors import AnomalistError

Emit = Callable[[str, Any], None]


def event_text(name: str, data: Any) -> str:  # noqa: ANN401
    """One event as it is sent."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def event_response(stream: AsyncIterator[str]) -> StreamingResponse:
    """A reply that sends events as they come."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def stream_work(begin: Callable[[Emit], Future[Any]], last: str) -> StreamingResponse:
    """Send what a thread tells while it works, then its result as the event ``last``, or an ``error``.

    Parameters
    ----------
    begin : begins the work and gets what sends an event, which any thread may call; its BusyError is raised
        here, before anything is sent.
    last : name of the event with the result, a pydantic model.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()

    def emit(name: str, data: Any) -> None:  # noqa: ANN401
        loop.call_soon_threadsafe(queue.put_nowait, (name, data))

    future = begin(emit)

    def finish(done: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            emit(last, done.result().model_dump(mode="json"))
        elif isinstance(error, AnomalistError):
            emit("error", {"error": error.message, "remedy": error.remedy})
        else:
            emit("error", {"error": "It failed for a reason that is a fault of anomalist.", "remedy": ""})
        loop.call_soon_threadsafe(queue.put_nowait, None)

    future.add_done_callback(finish)

    async def events() -> AsyncIterator[str]:
        while (item := await queue.get()) is not None:
            yield event_text(*item)

    return event_response(events())
