"""A small chat-completions server, run as a process of its own: ``python chat_server.py [replies.json]``.

Prints the URL of its API on the first line. The name of the model that is asked for says how it behaves;
``/seen`` lists the requests, pictures as their sizes. With a file of replies it gives those in turn; one with
the word KILL kills the server there.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from PIL import Image

REPLY = "The tile has a hole."
MODELS = (
    "plain",
    "bare",
    "dies",
    "cut",
    "broken",
    "busy",
    "odd",
    "page",
    "slow",
    "moved",
    "locked",
    "cot",
    "endless",
)
TOP = ((" A", -0.5), ("A", -1.5), ("B", -2.0), ("The", -3.0), ("x", -6.0))

app = FastAPI()
seen: list[dict[str, Any]] = []
replies: list[str] = json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else []


@app.get("/seen")
def list_seen() -> list[dict[str, Any]]:
    return seen


@app.get("/v1/models")
def list_models() -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]}


@app.post("/v1/chat/completions")
async def complete(request: Request) -> Response:
    body = await request.json()
    seen.append({**body, "messages": [_sized(message) for message in body["messages"]]})
    failure = _failure(body, request.headers["authorization"].removeprefix("Bearer "))
    if failure is not None:
        return failure
    if body["model"] == "slow":
        await asyncio.sleep(30)
    text = replies.pop(0) if replies else REPLY
    if body["model"] == "endless":
        return StreamingResponse(_endless(), media_type="text/event-stream")
    if body.get("stream"):
        return StreamingResponse(_stream(body["model"], text), media_type="text/event-stream")
    if body["model"] == "dies":
        return StreamingResponse(_half(), media_type="application/json")
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if body.get("logprobs"):
        tops = (("<think>", -0.1),) if body["model"] == "cot" else TOP
        listed = [{"token": token, "logprob": value, "bytes": None} for token, value in tops]
        choice["logprobs"] = {"content": [{**listed[0], "top_logprobs": listed}]}
    return JSONResponse({"id": "1", "object": "chat.completion", "model": body["model"], "choices": [choice]})


def _failure(body: dict[str, Any], key: str) -> Response | None:
    match body["model"]:
        case "broken":
            return _error(500, f"out of cheese for {key} " + "la " * 500)
        case "busy":
            return _error(429, "too many requests")
        case "locked":
            return _error(401, f"who is {key}?")
        case "page":
            return HTMLResponse("<html><body>Welcome to the router</body></html>")
        case "odd":
            return JSONResponse({"result": "fine"})
        case "moved":
            return RedirectResponse("http://192.0.2.1/v1/chat/completions", 307)
        case "bare" if refused := {"response_format", "logprobs"} & set(body):
            return _error(400, f"unknown field {min(refused)}")
        case name if name not in MODELS:
            return _error(404, f"model {name} not found")
    return None


async def _stream(model: str, text: str) -> AsyncIterator[str]:
    words = text.split(" ")
    for number, word in enumerate(words):
        delta = {"role": "assistant", "content": word if number == 0 else f" {word}"}
        yield _event(model, {"index": 0, "delta": delta, "finish_reason": None})
        if (model == "dies" and number == 1) or word == "KILL":
            await asyncio.sleep(0.1)  # let it out first
            os.kill(os.getpid(), signal.SIGKILL)
        if model == "cut" and number == 1:
            return
    yield _event(model, {"index": 0, "delta": {}, "finish_reason": "stop"})
    yield "data: [DONE]\n\n"


async def _endless() -> AsyncIterator[str]:
    try:
        while True:
            yield _event("endless", {"index": 0, "delta": {"content": "la "}, "finish_reason": None})
            await asyncio.sleep(0.02)
    finally:
        seen.append({"stopped": "endless"})


async def _half() -> AsyncIterator[str]:
    yield '{"id": "1", "object": "chat.compl'
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGKILL)


def _event(model: str, choice: dict[str, Any]) -> str:
    chunk = {"id": "1", "object": "chat.completion.chunk", "model": model, "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "error"}}, status)


def _sized(message: dict[str, Any]) -> dict[str, Any]:
    """A message with each picture replaced by its size, as read from its bytes."""
    if isinstance(message["content"], str):
        return message
    parts = []
    for part in message["content"]:
        if part["type"] == "image_url":
            encoded = part["image_url"]["url"].partition("base64,")[2]
            part = {"type": "picture", "size": Image.open(io.BytesIO(base64.b64decode(encoded))).size}
        parts.append(part)
    return {**message, "content": parts}


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
