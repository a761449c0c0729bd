"""A PostgreSQL of the tests' own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


def postgres_programs() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def running_postgres() -> Iterator[str]:
    """Yields the URL of one that runs until the next step.

    Not below pytest's folder: each run of pytest closes that to all but its own user, also one beside this.
    """
    programs = postgres_programs()
    if programs is None or sys.platform == "win32":
        pytest.skip("there is no PostgreSQL on this machine")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with TemporaryDirectory(prefix="anomalist-", ignore_cleanup_errors=True) as temporary:
        yield from _running(programs, Path(temporary))


def _running(programs: Path, folder: Path) -> Iterator[str]:
    sudo: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        if shutil.which("setpriv") is None or subprocess.run(["id", "nobody"], check=False).returncode:
            pytest.skip("PostgreSQL can't be run as root, and as nobody else here")
        shutil.chown(folder, "nobody")
        sudo = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    home = {**os.environ, "HOME": str(folder), "LC_ALL": "C"}
    subprocess.run(
        [*sudo, programs / "initdb", "-D", data, "-U", "anomalist", "-A", "trust", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd=folder,
        env=home,
    )
    control = [*sudo, programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd=folder, env=home)
    try:
        yield f"postgresql+psycopg://anomalist@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [*control, "-m", "fast", "stop"], check=False, capture_output=True, cwd=folder, env=home
        )
