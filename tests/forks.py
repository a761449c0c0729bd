"""The command line in processes of its own that start at once: forked from one that has loaded torch already.

They are as real as others: they can be killed, and they share nothing with the test but pipes and files.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Self

_LOADED = [
    "torch",
    "cv2",
    "faiss",
    "scipy.ndimage",
    "transformers.models.dinov2.modeling_dinov2",
    "anomalist.pipeline",
    "rich.console",
    "typer",
    "anomalist.server.app",
    "anomalist.server.running",
]


class Forked:
    """``anomalist WORDS``, running; what of `subprocess.Popen` tests need.

    Parameters
    ----------
    environment : variables beside those of this process.
    stdout, stderr : file descriptors; a pipe each by default, see the attributes of these names.
    """

    def __init__(
        self,
        *words: str | Path,
        stdout: int | None = None,
        stderr: int | None = None,
        **environment: str,
    ) -> None:
        self.words = [str(word) for word in words]
        self.stdout, output = _reader(stdout)
        self.stderr, messages = _reader(stderr)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_LOADED)
        variables = {**os.environ, **environment}
        self._process: Any = context.Process(target=_Command(self.words, variables, output, messages))
        self._process.start()
        self._ended_with: int | None = None
        for own, given in ((output, stdout), (messages, stderr)):
            if given is None:
                os.close(own)

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    @property
    def returncode(self) -> int | None:
        if self._ended_with is None:
            self._ended_with = self._process.exitcode
        return self._ended_with

    def poll(self) -> int | None:
        """Its exit code, minus the signal that ended it; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        assert self.returncode is not None, "it still runs"
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it has written, once it has ended."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor() as pool:
            read = [
                pool.submit(file.read) if file and not file.closed else None
                for file in (self.stdout, self.stderr)
            ]
            output, messages = ("" if one is None else one.result(timeout) for one in read)
        self.wait(timeout)
        return output, messages

    def kill(self) -> None:
        self._process.kill()

    def terminate(self) -> None:
        self._process.terminate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()
        self.close()

    def close(self) -> None:
        """Let go of a process that has ended."""
        for file in (self.stdout, self.stderr):
            if file is not None:
                file.close()
        self._process.close()


def run_forked(*words: str | Path, **environment: str) -> CompletedProcess[str]:
    """Run ``anomalist WORDS`` to its end."""
    with Forked(*words, **environment) as process:
        output, messages = process.communicate(300)
        return CompletedProcess(process.words, process.wait(300), output, messages)


class _Command:
    """What a forked process does; sends the descriptors along."""

    def __init__(self, words: list[str], variables: dict[str, str], output: int, messages: int) -> None:
        self.words, self.variables, self.descriptors = words, variables, (output, messages)

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _received, (self.words, self.variables, *map(DupFd, self.descriptors))

    def __call__(self) -> None:
        for at, descriptor in enumerate(self.descriptors, 1):
            os.dup2(descriptor, at)
            os.close(descriptor)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), "utf-8", line_buffering=False, write_through=False)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), "utf-8", write_through=True)
        os.environ.clear()
        os.environ.update(self.variables)
        sys.argv = ["anomalist", *self.words]
        from anomalist.cli.app import main

        main()


def _received(words: list[str], variables: dict[str, str], output: Any, messages: Any) -> _Command:
    return _Command(words, variables, output.detach(), messages.detach())


def _reader(given: int | None) -> tuple[io.TextIOWrapper | None, int]:
    """The file to read from, and the descriptor to write to; none where a descriptor is given."""
    if given is not None:
        return None, given
    read, write = os.pipe()
    return os.fdopen(read, encoding="utf-8"), write
