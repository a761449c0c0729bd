"""Context managers that open several others together: all of them, or none."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self


class OpensTogether:
    """Base of context managers that open others; where one can't be opened, those before it are closed."""

    _opened: ExitStack

    def _open_all(self, opening: ExitStack) -> None:
        """Open what belongs to it, by ``opening.enter_context``."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            self._open_all(opening)
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)
