"""Running the application with uvicorn."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from anomalist.errors import DataError
from anomalist.server.accounts import Accounts
from anomalist.server.app import create_app
from anomalist.server.config import ServerConfig
from anomalist.server.database import Database
from anomalist.server.services import refuse_lonely_database, refuse_open_server
from anomalist.storage.object_store import ObjectStore


def run_server(config: ServerConfig, started: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Parameters
    ----------
    started : called with the address once it is listened on.

    Raises
    ------
    DataError : the address can't be used, or see `Services`.
    """
    refuse_lonely_database(config)
    database = Database(config.database_url)
    refuse_open_server(config, Accounts(database))  # before others can connect
    database.close()
    if config.store:
        ObjectStore(config.store).check()
    listener = _listen(config)
    port = listener.getsockname()[1]
    with listener:
        app = create_app(config)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=10,
            )
        )
        host = f"[{config.host}]" if ":" in config.host else config.host
        started(f"http://{host}:{port}/")
        server.run(sockets=[listener])


def _listen(config: ServerConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise DataError(
            f"{config.host}:{config.port} can't be listened on: {error.strerror}.",
            "Choose another --port or --host.",
        ) from error
    return listener
