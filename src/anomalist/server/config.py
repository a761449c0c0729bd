"""Settings of the server, from the command line or ``ANOMALIST_SERVER_<NAME>`` in the environment."""

from __future__ import annotations

import ipaddress
import secrets
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from anomalist.settings import Settings

MEBIBYTE = 1024 * 1024


class ServerConfig(BaseSettings):
    """What the server may do, and where; read once when it starts."""

    model_config = SettingsConfigDict(env_prefix="ANOMALIST_SERVER_", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="address that is listened on")
    port: int = Field(8765, ge=0, le=65535)
    roots: tuple[Path, ...] = Field((), description="folders whose pictures and clips may be named by path")
    names: tuple[str, ...] = Field((), description="host names that the server is called by, beside its own")
    cameras: tuple[str, ...] = Field((), description="addresses of live cameras that may be followed")
    instance: str = Field(
        "", pattern=r"^[a-z0-9-]{0,20}$", description="name of this server where several share a home"
    )
    database: str = Field("", description="SQLAlchemy URL; empty: a SQLite file in the server's folder")
    store: str = Field(
        "", description="address that several servers keep artefacts at, as s3://bucket/folder; empty: files"
    )
    max_request: int = Field(256 * MEBIBYTE, ge=1024, description="bytes of one request at most")
    max_files: int = Field(500, ge=1, description="files of one request at most")
    waiting: int = Field(16, ge=1, description="requests that may wait to be inspected; more get 429")
    requests_per_minute: int = Field(1200, ge=1, description="of one caller")
    logins_per_minute: int = Field(10, ge=1, description="attempts of one address")
    session_hours: float = Field(12.0, gt=0)
    ray: str = Field("", description="address of a Ray cluster that measures, as after --ray; empty: none")
    ray_gpus: float = Field(0.0, ge=0, description="GPUs that each replica takes there")
    model: str = Field("auto", description="who reasons and answers, as after --model")

    @property
    def folder(self) -> Path:
        """Where uploads, runs and the database of this server are kept."""
        return Settings().home / "server"

    @property
    def database_url(self) -> str:
        """Of the database, as SQLAlchemy takes it."""
        return self.database or f"sqlite:///{self.folder / 'server.sqlite'}"

    @property
    def is_shared(self) -> bool:
        """Whether several servers share the work; only PostgreSQL is made for that."""
        return bool(self.instance or self.store)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def allowed_names(self) -> frozenset[str]:
        """Host names that a request may be addressed to; others are refused against DNS rebinding."""
        local = {"localhost", "127.0.0.1", "[::1]"} if self.is_local else set()
        wildcard = self.host in ("0.0.0.0", "::")
        return frozenset({*local, *self.names, *(() if wildcard else (self.host,))})

    @property
    def any_name(self) -> bool:
        """Whether every host name is accepted: bound to all addresses, and none was named."""
        return self.host in ("0.0.0.0", "::") and not self.names


def folder_id(folder: Path) -> str:
    """The id of the folder in which servers keep their files, made where there is none yet."""
    from anomalist.storage.files import write_atomically

    file = folder / "id"
    if not file.is_file():
        write_atomically(file, secrets.token_hex(6) + "\n")
    return file.read_text(encoding="utf-8").strip()
