"""The command line in this process, as a user would see it: loading torch anew takes seconds a test."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from rich.console import Console

from anomalist.cli import terminal
from anomalist.cli.app import main


def run(*words: str | Path, **environment: str) -> CompletedProcess[str]:
    """Run ``anomalist WORDS`` with these settings of the environment."""
    command = ["anomalist", *map(str, words)]
    output, messages = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(messages):
        patch.setattr(sys, "argv", command)
        for name, value in {"COLUMNS": "120", **environment}.items():
            patch.setenv(name, value)
        patch.setattr(terminal, "out", Console())  # a console reads its width when it is made
        patch.setattr(terminal, "err", Console(stderr=True))
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
    return CompletedProcess(command, code, output.getvalue(), messages.getvalue())


def rows(output: str) -> list[dict[str, object]]:
    """The JSON Lines of an output."""
    return [json.loads(line) for line in output.splitlines()]
