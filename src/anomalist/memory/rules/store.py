"""Rules by scene in SQLite, each with every version that it ever had: in the file of the cases.

Nothing is ever deleted: a rule is changed by a new version, and one that no longer counts is disabled.
Several processes may read and write the same file; a change that was based on an older version is refused.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anomalist.errors import DataError
from anomalist.memory.database import Store, explained, now, transaction
from anomalist.memory.feedback import current_user
from anomalist.memory.rules.rule import Rule, RuleVersion
from anomalist.settings import Settings

_TABLES = (
    "CREATE TABLE IF NOT EXISTS rules (id INTEGER PRIMARY KEY AUTOINCREMENT, profile TEXT NOT NULL) STRICT",
    "CREATE INDEX IF NOT EXISTS rules_of_profile ON rules (profile)",
    'CREATE TABLE IF NOT EXISTS rule_versions ("rule" INTEGER NOT NULL REFERENCES rules (id),'
    " version INTEGER NOT NULL, time TEXT NOT NULL, who TEXT NOT NULL, body TEXT NOT NULL,"
    ' PRIMARY KEY ("rule", version)) STRICT',
)
_LATEST = (
    'SELECT "rule", version, time, who, body, profile FROM rule_versions JOIN rules ON id = "rule"'
    ' WHERE version = (SELECT max(version) FROM rule_versions AS newer WHERE newer."rule" = id)'
)


class RuleStore(Store):
    """The rules in one SQLite file, made where there is none; a context manager. Not for several threads.

    Every method raises DataError, which names the file, when it is damaged, locked for too long or can't be
    written, and when there is no rule of the asked id.

    Parameters
    ----------
    path : the file; by default ``cases.sqlite`` in the home of the settings, shared with the cases.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__(Path(path) if path is not None else Settings().home / "cases.sqlite")
        try:
            with explained(self.path), transaction(self._connection):
                for statement in _TABLES:
                    self._connection.execute(statement)
        except BaseException:
            self.close()
            raise

    def list(self, profile: str, *, disabled: bool = True) -> tuple[Rule, ...]:
        """The rules of a profile as they are now, in the order of their ids."""
        with explained(self.path):
            rows = self._connection.execute(
                f'{_LATEST} AND profile = ? ORDER BY "rule"', [profile]
            ).fetchall()
            rules = (self._version(row).rule for row in rows)
            return tuple(rule for rule in rules if disabled or rule.enabled)

    def get(self, id: str | int) -> Rule:
        """The rule of an id, "rule:7" or 7, as it is now."""
        return self.history(id)[-1].rule

    def profile_of(self, id: str | int) -> str:
        """The profile that a rule belongs to."""
        with explained(self.path):
            return str(self._row(id)["profile"])

    def history(self, id: str | int) -> tuple[RuleVersion, ...]:
        """Every version of a rule, the first one first."""
        with explained(self.path):
            self._row(id)
            rows = self._connection.execute(
                'SELECT * FROM rule_versions WHERE "rule" = ? ORDER BY version', [rule_number(id)]
            ).fetchall()
            return tuple(map(self._version, rows))

    def add(self, profile: str, rules: Sequence[Rule], who: str | None = None) -> tuple[Rule, ...]:
        """Store new rules, all or none; each gets an id of its own, whatever it had, and version 1."""
        return self.replace(profile, rules, {}, who)

    def begin(self, profile: str, rules: Sequence[Rule], who: str | None = None) -> tuple[Rule, ...]:
        """Store the first rules of a profile, unless another process was faster; returns what is there."""
        with explained(self.path), transaction(self._connection):
            known = self._connection.execute("SELECT 1 FROM rules WHERE profile = ? LIMIT 1", [profile])
            if known.fetchone() is None:
                self._insert(profile, rules, who)
        return self.list(profile)

    def replace(
        self, profile: str, new: Sequence[Rule], changes: Mapping[str, Rule], who: str | None = None
    ) -> tuple[Rule, ...]:
        """Store new rules and new versions of others in one step: all of it or nothing.

        Parameters
        ----------
        profile : that the new rules belong to.
        new : each gets an id of its own and version 1.
        changes : by id, the rule as it shall be; its ``version`` is the one that the change is based on.
        who : the user's name by default.

        Returns
        -------
        The new rules, then the changed ones, as they were stored.

        Raises
        ------
        DataError : no name for the profile, or somebody changed one of the rules in the meantime.
        """
        with explained(self.path), transaction(self._connection):
            stored = self._insert(profile, new, who)
            return (*stored, *(self._changed(id, rule, who) for id, rule in changes.items()))

    def change(self, rule: Rule, who: str | None = None) -> Rule:
        """Store a rule as its next version; ``rule.version`` is the one that the change is based on.

        Raises DataError if somebody changed it in the meantime.
        """
        with explained(self.path), transaction(self._connection):
            return self._changed(rule.id, rule, who)

    def _insert(self, profile: str, rules: Sequence[Rule], who: str | None) -> tuple[Rule, ...]:
        if not profile.strip():
            raise DataError("Rules belong to a profile, which has a name.", "Say --profile NAME.")
        stored = []
        for rule in rules:
            row = self._connection.execute(
                "INSERT INTO rules (profile) VALUES (?) RETURNING id", [profile]
            ).fetchone()
            numbered = rule.model_copy(update={"id": f"rule:{row['id']}", "version": 1})
            stored.append(self._write(numbered, who))
        return tuple(stored)

    def _changed(self, id: str, rule: Rule, who: str | None) -> Rule:
        latest = int(self._row(id)["version"])
        if latest != rule.version:
            raise DataError(
                f"{id} was changed meanwhile: it has version {latest}, this is based on {rule.version}.",
                f"Look at it again: anomalist rules show {id}",
            )
        return self._write(rule.model_copy(update={"id": id, "version": latest + 1}), who)

    def _write(self, rule: Rule, who: str | None) -> Rule:
        body = rule.model_dump(mode="json", exclude={"id", "version"})
        self._connection.execute(
            "INSERT INTO rule_versions VALUES (?, ?, ?, ?, ?)",
            [rule_number(rule.id), rule.version, now(), who or current_user(), json.dumps(body)],
        )
        return rule

    def _row(self, id: str | int) -> sqlite3.Row:
        row: sqlite3.Row | None = self._connection.execute(
            f'{_LATEST} AND "rule" = ?', [rule_number(id)]
        ).fetchone()
        if row is None:
            raise DataError(f'There is no rule:{rule_number(id)} in "{self.path}".')
        return row

    def _version(self, row: sqlite3.Row) -> RuleVersion:
        try:
            body: dict[str, Any] = json.loads(row["body"])
            rule = Rule(**{**body, "id": f"rule:{row['rule']}", "version": row["version"]})
        except (ValidationError, ValueError, TypeError) as error:
            what = f"version {row['version']} of rule:{row['rule']}"
            raise DataError(
                f'The file "{self.path}" is damaged: {what} can\'t be read.',
                "Nothing in it was changed. Restore a copy, or move it away to begin a new one.",
            ) from error
        return RuleVersion(rule=rule, time=row["time"], who=row["who"])


def rule_number(id: str | int) -> int:
    """The number of a stored rule's id, "rule:7" or "7"; raises DataError for anything else."""
    match = re.fullmatch(r"(?:rule:)?([1-9]\d{0,17})", str(id))
    if not match:
        shown = str(id)[:40]
        raise DataError(f'"{shown}" is not the id of a stored rule.', "Ids look like rule:7.")
    return int(match[1])
