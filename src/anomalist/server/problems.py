"""Errors of requests with their HTTP status; what the user can mend is said with a remedy."""

from __future__ import annotations

from anomalist.errors import AnomalistError
from anomalist.types.common import Frozen


class RequestError(AnomalistError):
    """A request that can't be fulfilled; ``status`` is that of the reply."""

    status = 400


class NotLoggedInError(RequestError):
    """Nobody is logged in, or the key is none."""

    status = 401


class ForbiddenError(RequestError):
    """The role may not do that, or the request comes from another site."""

    status = 403


class NotFoundError(RequestError):
    """There is no such thing."""

    status = 404


class ConflictError(RequestError):
    """It is there already, or is not in a state to be changed."""

    status = 409


class TooLargeError(RequestError):
    """More bytes or files than one request may hold."""

    status = 413


class BusyError(RequestError):
    """Too much is asked at once; ``after`` seconds later it may work."""

    status = 429

    def __init__(self, message: str, remedy: str = "", *, after: int = 1) -> None:
        super().__init__(message, remedy)
        self.after = after


class UnavailableError(RequestError):
    """What is needed can't be reached at the moment; ``after`` seconds later it may work."""

    status = 503
    after = 10


class Problem(Frozen):
    """What is wrong, and what to do about it."""

    error: str
    remedy: str = ""
