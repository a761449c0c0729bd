"""A small stand-in for the Hugging Face Hub, run as a process of its own: ``python hub_server.py FOLDER``.

Serves each ``FOLDER/OWNER/NAME`` as a model and prints its URL on the first line. The licence of every model
is "apache-2.0"; a model whose name holds "gated" is refused.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response

ROOT = Path(sys.argv[1])
COMMIT = "0123456789abcdef0123456789abcdef01234567"

app = FastAPI()
asked: list[str] = []


@app.middleware("http")
async def remember(request: Request, go_on: Any) -> Response:
    asked.append(f"{request.method} {request.url.path}")
    answer: Response = await go_on(request)
    return answer


@app.get("/asked")
def list_asked() -> list[str]:
    return asked


@app.get("/api/models/{owner}/{name}")
@app.get("/api/models/{owner}/{name}/revision/{revision}")
def info(owner: str, name: str, revision: str = "main") -> Response:
    folder = ROOT / owner / name
    if "gated" in name:
        return JSONResponse({"error": "terms"}, 403, headers={"X-Error-Code": "GatedRepo"})
    if not folder.is_dir():
        return JSONResponse({"error": "Repository not found"}, 404, headers={"X-Error-Code": "RepoNotFound"})
    config = folder / "config.json"
    content = {
        "id": f"{owner}/{name}",
        "sha": COMMIT,
        "siblings": [{"rfilename": f, "size": path.stat().st_size} for f, path in _files(folder).items()],
        "config": json.loads(config.read_text()) if config.exists() else {},
        "cardData": {"license": "apache-2.0"},
    }
    return JSONResponse(content)


@app.get("/api/models/{owner}/{name}/tree/{revision}")
def tree(owner: str, name: str) -> Response:
    folder = ROOT / owner / name
    entries = [
        {"type": "file", "path": file, "size": path.stat().st_size, "oid": _etag(path)}
        for file, path in _files(folder).items()
    ]
    return JSONResponse(entries)


@app.api_route("/{owner}/{name}/resolve/{revision}/{file:path}", methods=["GET", "HEAD"])
def resolve(owner: str, name: str, file: str) -> Response:
    path = ROOT / owner / name / file
    if not path.is_file():
        return JSONResponse({"error": "Entry not found"}, 404, headers={"X-Error-Code": "EntryNotFound"})
    return FileResponse(path, headers={"ETag": f'"{_etag(path)}"', "X-Repo-Commit": COMMIT})


def _files(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
