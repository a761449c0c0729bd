"""Accounts, API keys, sessions, and what each role may do. Passwords are hashed with argon2id."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from anomalist.errors import DataError
from anomalist.server.database import AccountRow, Database, KeyRow, SessionRow
from anomalist.server.problems import ConflictError, NotFoundError, NotLoggedInError
from anomalist.storage.artifacts import composed_name, without_marks

Role = Literal["viewer", "operator", "auditor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
Permission = Literal["see", "work", "audit", "manage"]
"""See and ask; inspect, learn, triage, give feedback and change rules; use the audit log; manage accounts."""

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    "viewer": frozenset({"see"}),
    "operator": frozenset({"see", "work"}),
    "auditor": frozenset({"see", "audit"}),
    "admin": frozenset({"see", "work", "audit", "manage"}),
}

ROLE_WORDS: dict[Role, str] = {
    "viewer": "sees and asks",
    "operator": "also inspects, learns, watches and corrects",
    "auditor": "sees, asks, and uses the audit log",
    "admin": "does everything, and manages accounts",
}

MIN_PASSWORD = 10
MAX_PASSWORD = 256
_NAME = re.compile(r"[\w.@+-]{1,80}")


@dataclass(frozen=True)
class Caller:
    """Who makes a request.

    Parameters
    ----------
    via : how they are known: a session, an API key, or as whoever uses this machine.
    csrf : token that a page must send back with what changes something; "" without a session.
    """

    name: str
    role: Role
    via: Literal["session", "key", "machine"]
    csrf: str = ""

    def may(self, permission: Permission) -> bool:
        """Whether the role allows it."""
        return permission in PERMISSIONS[self.role]


@dataclass(frozen=True)
class Account:
    """A person who may log in, unless it is disabled; ``created`` in seconds since 1970, UTC."""

    name: str
    role: Role
    disabled: bool
    created: float


@dataclass(frozen=True)
class NewSession:
    """A login: the token for the cookie, and the one against cross-site requests."""

    token: str
    caller: Caller


class Accounts:
    """Who may use the server; several threads may use one.

    Parameters
    ----------
    database : where accounts are kept.
    session_seconds : that a login holds.
    """

    def __init__(self, database: Database, session_seconds: float = 12 * 3600.0) -> None:
        self._database = database
        self._session_seconds = session_seconds

    def any(self) -> bool:
        """Whether there is an account or a key at all."""
        with self._database.session() as session:
            counts = (
                session.scalar(select(func.count()).select_from(table)) for table in (AccountRow, KeyRow)
            )
            return any(counts)

    def people(self) -> list[Account]:
        """All accounts, by name."""
        with self._database.session() as session:
            return [_account(row) for row in session.scalars(select(AccountRow).order_by(AccountRow.name))]

    def add(self, name: str, role: Role, password: str) -> None:
        """Make an account.

        Raises DataError for a name or password that can't be used, ConflictError for a twin.
        """
        name = _checked_name(name)
        hashed = hash_password(password)
        with self._database.session() as session:
            if session.get(AccountRow, name) is not None:
                raise ConflictError(f"There is an account {name} already.", "Choose another name.")
            session.add(AccountRow(name=name, role=role, password=hashed, created=time.time()))
            session.commit()

    def remove(self, name: str) -> None:
        """Remove an account, with its sessions. Raises NotFoundError, or ConflictError for the last admin."""
        with self._database.session() as session:
            row = session.get(AccountRow, composed_name(name))
            if row is None:
                raise NotFoundError(f"There is no account {name}.")
            _keep_an_admin(session, row)
            session.delete(row)
            session.execute(delete(SessionRow).where(SessionRow.account == row.name))
            session.commit()

    def change(
        self,
        name: str,
        *,
        role: Role | None = None,
        password: str | None = None,
        disabled: bool | None = None,
    ) -> Account:
        """Change an account; a new password and disabling end its sessions.

        Raises NotFoundError, DataError for a password that can't be used, ConflictError for the last admin.
        """
        hashed = None if password is None else hash_password(password)
        with self._database.session() as session:
            row = session.get(AccountRow, composed_name(name))
            if row is None:
                raise NotFoundError(f"There is no account {name}.")
            if disabled or role not in (None, "admin"):
                _keep_an_admin(session, row)
            row.role = row.role if role is None else role
            row.password = row.password if hashed is None else hashed
            row.disabled = row.disabled if disabled is None else disabled
            if disabled or hashed is not None:
                session.execute(delete(SessionRow).where(SessionRow.account == row.name))
            session.commit()
            return _account(row)

    def login(self, name: str, password: str) -> NewSession:
        """Begin a session.

        Raises NotLoggedInError, which does not say whether the name or the password is wrong; that an account
        is disabled is told only to who knows its password.
        """
        with self._database.session() as session:
            row = session.get(AccountRow, composed_name(name)) if _is_name(name) else None
            hashed = _nobody() if row is None else row.password
            right = verify_password(hashed, password)
            if row is None or not right:
                raise NotLoggedInError("Name or password is wrong.")
            if row.disabled:
                raise NotLoggedInError("This account is disabled.", "Ask an admin.")
            token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
            now = time.time()
            session.execute(delete(SessionRow).where(SessionRow.expires < now))
            session.add(
                SessionRow(
                    digest=_digest(token), account=row.name, csrf=csrf, expires=now + self._session_seconds
                )
            )
            session.commit()
            return NewSession(token, Caller(row.name, _role(row.role), "session", csrf))

    def logout(self, token: str) -> None:
        """End a session."""
        with self._database.session() as session:
            session.execute(delete(SessionRow).where(SessionRow.digest == _digest(token)))
            session.commit()

    def of_session(self, token: str) -> Caller | None:
        """Who a session token belongs to; None for one that has expired or is none."""
        with self._database.session() as session:
            row = session.get(SessionRow, _digest(token))
            if row is None or row.expires < time.time():
                return None
            account = session.get(AccountRow, row.account)
            if account is None or account.disabled:
                return None
            return Caller(account.name, _role(account.role), "session", row.csrf)

    def add_key(self, name: str, role: Role) -> str:
        """Make an API key; returns it, and nobody can see it again."""
        name = _checked_name(name)
        key = f"ano_{secrets.token_urlsafe(32)}"
        with self._database.session() as session:
            session.add(KeyRow(digest=_digest(key), shown=key[:8], name=name, role=role, created=time.time()))
            session.commit()
        return key

    def api_keys(self) -> list[tuple[str, str, str]]:
        """(beginning, name, role) of all API keys."""
        with self._database.session() as session:
            rows = session.scalars(select(KeyRow).order_by(KeyRow.created))
            return [(row.shown, row.name, row.role) for row in rows]

    def remove_keys(self, name: str) -> int:
        """Remove the keys of a name; returns how many. Raises NotFoundError where there is none."""
        with self._database.session() as session:
            removed = list(session.scalars(select(KeyRow).where(KeyRow.name == composed_name(name))))
            for row in removed:
                session.delete(row)
            session.commit()
        if not removed:
            raise NotFoundError(f"There is no key of {name}.")
        return len(removed)

    def of_key(self, key: str) -> Caller | None:
        """Who an API key belongs to; None for none."""
        with self._database.session() as session:
            row = session.get(KeyRow, _digest(key))
            return None if row is None else Caller(row.name, _role(row.role), "key")


def _keep_an_admin(session: Session, row: AccountRow) -> None:
    """Raise ConflictError where nobody else could manage accounts."""
    others = (AccountRow.role == "admin", AccountRow.disabled.is_(False), AccountRow.name != row.name)
    if row.role == "admin" and not session.scalar(select(func.count()).where(*others)):
        raise ConflictError(f"{row.name} is the last admin.", "Make another one first.")


def _account(row: AccountRow) -> Account:
    return Account(row.name, _role(row.role), row.disabled, row.created)


def hash_password(password: str) -> str:
    """The argon2id hash of a password. Raises DataError for one that is too short or too long."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise DataError(f"A password has {MIN_PASSWORD} to {MAX_PASSWORD} characters.")
    return PasswordHasher().hash(password)


def verify_password(hashed: str, password: str) -> bool:
    """Whether a password is the one of a hash; takes equally long for each."""
    try:
        return PasswordHasher().verify(hashed, password[: MAX_PASSWORD + 1])
    except (VerificationError, InvalidHashError):
        return False


def same_token(one: str, other: str) -> bool:
    """Whether two tokens are equal, in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "backslashreplace")).hexdigest()


@cache
def _nobody() -> str:
    """A hash that no password has: an unknown name takes as long as a wrong password."""
    return PasswordHasher().hash(secrets.token_hex(16))


def _is_name(name: str) -> bool:
    """Whether somebody may have that name."""
    plain = composed_name(name)
    return len(plain) <= 80 and _NAME.fullmatch(without_marks(plain)) is not None


def _checked_name(name: str) -> str:
    """The name as it is kept. Raises DataError for what can't be one."""
    if not _is_name(name):
        raise DataError(f"{name[:80]!r} can't be a name.", "Use letters, digits, and . _ @ + -, 80 at most.")
    return composed_name(name)


def _role(text: str) -> Role:
    return next((role for role in ROLES if role == text), "viewer")
