"""Errors that a person reads. Each says what is wrong and, where it can, what to do about it."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of what an error of a library says, without a full stop; its type where it is silent."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


class AnomalistError(Exception):
    """Something the user can mend. Shown as one line, without a traceback.

    Parameters
    ----------
    message : what is wrong, naming the file or value concerned.
    remedy : what to do about it, as a sentence or a command line; shown after the message.
    """

    exit_code = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class MediaError(AnomalistError):
    """A picture or video that can't be read, or is refused (too large, damaged, not a picture)."""


class ProfileError(AnomalistError):
    """A profile that is missing, damaged, of a newer format, or already there."""


class DataError(AnomalistError):
    """A folder, list or table that can't be used: empty, too few pictures, unknown groups."""


class CalibrationError(AnomalistError):
    """An asked false-alarm rate that this many normals can't support."""


class PolicyError(AnomalistError):
    """A policy file that can't be read or names something unknown."""


class DetectorError(AnomalistError):
    """A detector or backbone that is unknown, missing or can't be loaded."""


class ModelError(AnomalistError):
    """A language model that is unknown, missing, can't be reached, or broke off; never an answer."""
