"""Rule store: versioned rules by profile, in the row store of the cases.

Nothing is ever deleted: a change adds a new version, and a rule that no longer counts is disabled. Several
processes may read and write the same file; a change that is based on an older version is refused (optimistic
locking). A profile without rules of its own has the general ones that ship. Induced rules can be stored again
without overwriting what a person decided.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anomalist.errors import DataError
from anomalist.memory.cases import current_user
from anomalist.memory.rules.induction import Induction
from anomalist.memory.rules.rule import Rule, RuleVersion, shipped_anomalies
from anomalist.memory.rules.statements import plain_form
from anomalist.settings import Settings
from anomalist.storage.files import utc_now
from anomalist.storage.row_store import Row, RowStore, is_stored

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


class RuleStore(RowStore):
    """The rules in one row store, made where there is none; a context manager. Not for several threads.

    Every method raises DataError, which names the file, when it is damaged, locked for too long or can't be
    written, and when there is no rule with the given id.

    Parameters
    ----------
    path : the file; by default ``cases.sqlite`` in the home of the settings, shared with the cases.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__(Path(path) if path is not None else Settings().cases)
        try:
            with self._rows.errors(), self._rows.transaction():
                for statement in _TABLES:
                    self._rows.execute(statement)
        except BaseException:
            self.close()
            raise

    def list(self, profile: str, *, disabled: bool = True) -> tuple[Rule, ...]:
        """The latest versions of a profile's rules, by id."""
        with self._rows.errors():
            rows = self._rows.execute(f'{_LATEST} AND profile = ? ORDER BY "rule"', [profile]).fetchall()
            rules = (self._version_from_row(row).rule for row in rows)
            return tuple(rule for rule in rules if disabled or rule.enabled)

    def get(self, id: str | int) -> Rule:
        """The latest version of the rule with an id, "rule:7" or 7."""
        return self.history(id)[-1].rule

    def profile_of(self, id: str | int) -> str:
        """The profile that a rule belongs to."""
        with self._rows.errors():
            return str(self._row(id)["profile"])

    def history(self, id: str | int) -> tuple[RuleVersion, ...]:
        """Every version of a rule, the first one first."""
        with self._rows.errors():
            self._row(id)
            rows = self._rows.execute(
                'SELECT * FROM rule_versions WHERE "rule" = ? ORDER BY version', [rule_number(id)]
            ).fetchall()
            return tuple(map(self._version_from_row, rows))

    def add(self, profile: str, rules: Sequence[Rule], who: str | None = None) -> tuple[Rule, ...]:
        """Store new rules in one transaction; each gets a new id and version 1."""
        return self.replace(profile, rules, {}, who)

    def add_first(self, profile: str, rules: Sequence[Rule], who: str | None = None) -> tuple[Rule, ...]:
        """Store rules for a profile unless it has any already; returns its rules then."""
        with self._rows.errors(), self._rows.transaction():
            known = self._rows.execute("SELECT 1 FROM rules WHERE profile = ? LIMIT 1", [profile])
            if known.fetchone() is None:
                self._insert(profile, rules, who)
        return self.list(profile)

    def replace(
        self, profile: str, new: Sequence[Rule], changes: Mapping[str, Rule], who: str | None = None
    ) -> tuple[Rule, ...]:
        """Store new rules and new versions of existing ones in one transaction.

        Parameters
        ----------
        profile : of the new rules.
        new : each gets a new id and version 1.
        changes : the changed rule by id; its ``version`` is the one that the change is based on.
        who : author of the change; the user's name by default.

        Returns
        -------
        The new rules, then the changed ones, as they were stored.

        Raises
        ------
        DataError : the profile has no name, or one of the rules was changed in the meantime.
        """
        with self.transaction():
            return self._replace(profile, new, changes, who)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Nobody else writes inside; all that is written inside is stored, or nothing of it."""
        with self._rows.errors(), self._rows.transaction():
            yield

    def _replace(
        self, profile: str, new: Sequence[Rule], changes: Mapping[str, Rule], who: str | None
    ) -> tuple[Rule, ...]:
        """`replace` inside a transaction."""
        stored = self._insert(profile, new, who)
        return (*stored, *(self._write_next_version(id, rule, who) for id, rule in changes.items()))

    def change(self, rule: Rule, who: str | None = None) -> Rule:
        """Store a rule as its next version; ``rule.version`` is the one that the change is based on.

        Raises DataError if the rule was changed in the meantime.
        """
        with self._rows.errors(), self._rows.transaction():
            return self._write_next_version(rule.id, rule, who)

    def _insert(self, profile: str, rules: Sequence[Rule], who: str | None) -> tuple[Rule, ...]:
        if not profile.strip():
            raise DataError("Rules belong to a profile, which has a name.", "Say --profile NAME.")
        stored = []
        for rule in rules:
            row = self._rows.execute(
                "INSERT INTO rules (profile) VALUES (?) RETURNING id", [profile]
            ).fetchone()
            numbered = rule.replace(id=f"rule:{row['id']}", version=1)
            stored.append(self._write(numbered, who))
        return tuple(stored)

    def _write_next_version(self, id: str, rule: Rule, who: str | None) -> Rule:
        latest = int(self._row(id)["version"])
        if latest != rule.version:
            raise DataError(
                f"{id} was changed meanwhile: it has version {latest}, this is based on {rule.version}.",
                f"Look at it again: anomalist rules show {id}",
            )
        return self._write(rule.replace(id=id, version=latest + 1), who)

    def _write(self, rule: Rule, who: str | None) -> Rule:
        body = rule.model_dump(mode="json", exclude={"id", "version"})
        self._rows.execute(
            "INSERT INTO rule_versions VALUES (?, ?, ?, ?, ?)",
            [rule_number(rule.id), rule.version, utc_now(), who or current_user(), json.dumps(body)],
        )
        return rule

    def _row(self, id: str | int) -> Row:
        row: Row | None = self._rows.execute(f'{_LATEST} AND "rule" = ?', [rule_number(id)]).fetchone()
        if row is None:
            raise DataError(f'There is no rule:{rule_number(id)} in "{self.place}".')
        return row

    def _version_from_row(self, row: Row) -> RuleVersion:
        try:
            body: dict[str, Any] = json.loads(row["body"])
            rule = Rule(**{**body, "id": f"rule:{row['rule']}", "version": row["version"]})
        except (ValidationError, ValueError, TypeError) as error:
            what = f"version {row['version']} of rule:{row['rule']}"
            raise DataError(
                f'"{self.place}" is damaged: {what} can\'t be read.',
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


def rules_for(profile: str, path: Path | None = None) -> tuple[Rule, ...]:
    """The enabled rules of a profile: its stored rules, or the shipped ones where it has none.

    Match captions with them by ``RuleMatcher(rules).read(captions)``.

    Parameters
    ----------
    profile : name of the profile or scene, without a folder.
    path : file of the rules; by default that of this user. It is not created where it is missing.

    Raises DataError when the file is damaged.
    """
    return tuple(rule for rule in current_rules(profile, path) if rule.enabled)


def current_rules(profile: str, path: Path | None = None) -> tuple[Rule, ...]:
    """`rules_for` with the disabled rules included."""
    place = path or Settings().cases
    if not is_stored(place):
        return shipped_anomalies()
    with RuleStore(place) as store:
        return store.list(profile) or shipped_anomalies()


def adopt_shipped_rules(store: RuleStore, profile: str) -> tuple[Rule, ...]:
    """The stored rules of a profile; a profile without any first gets a copy of the shipped ones.

    A person can then change each of these, and new rules are added to them.
    """
    return store.list(profile) or store.add_first(profile, shipped_anomalies(), who="anomalist")


def find_profile_rule(store: RuleStore, profile: str, id: str) -> Rule:
    """The stored rule for an id as typed by a user: "rule:7", "7", or "rule:shipped-7" of a profile.

    Raises DataError if there is none, or if it belongs to another profile.
    """
    if id.removeprefix("rule:").startswith("shipped-"):
        name = f"rule:{id.removeprefix('rule:')}"
        wanted = next((rule for rule in shipped_anomalies() if rule.id == name), None)
        found = [
            rule
            for rule in adopt_shipped_rules(store, profile)
            if wanted and rule.origin == "shipped" and store.history(rule.id)[0].rule.text == wanted.text
        ]
        if not found:
            raise DataError(f"There is no {id[:40]}.", f"See: anomalist rules list --profile {profile} --all")
        return found[0]
    rule = store.get(id)
    if (belongs := store.profile_of(id)) != profile:
        raise DataError(f"{rule.id} belongs to the profile {belongs}, not to {profile}.")
    return rule


_BY_INDUCTION = "induction, run by "
_NO_LONGER_SUPPORTED = "The captions of the last induction don't say it often enough."


@dataclass(frozen=True)
class StoredInduction:
    """What storing an induction did.

    Parameters
    ----------
    added, changed : new rules, and new versions of existing ones, as stored.
    unchanged : number of rules that were stored before with the same content.
    untouched : rules that a person wrote or changed, which an induction never overwrites.
    """

    added: tuple[Rule, ...]
    changed: tuple[Rule, ...]
    unchanged: int
    untouched: tuple[Rule, ...]


def store_induction(store: RuleStore, profile: str, induction: Induction) -> StoredInduction:
    """Store the rules of an induction as those of a profile, in one transaction.

    An existing rule with the same polarity and text gets a new version where anything else differs. A rule
    that an earlier induction found and this one doesn't is disabled. Rules that a person wrote, edited,
    enabled or disabled stay as they are, and what they said before an edit is not added again.
    """
    known: dict[tuple[str, str], Rule] = {}
    untouched: list[Rule] = []
    decided: set[tuple[str, str]] = set()
    with store.transaction():  # what is read stays so until it is stored
        for rule in store.list(profile):
            history = store.history(rule.id)
            if _by_induction(history):
                known[_rule_key(rule)] = rule
            else:
                untouched.append(rule)
                decided.update(_rule_key(version.rule) for version in history)
        found = {_rule_key(rule): rule for rule in (*induction.dropped, *induction.rules)}
        changes: dict[str, Rule] = {}
        for name, rule in known.items():
            new = found.get(name) or rule.replace(enabled=False, note=_NO_LONGER_SUPPORTED)
            new = new.replace(id=rule.id, version=rule.version)
            if new != rule:
                changes[rule.id] = new
        fresh = [rule for name, rule in found.items() if name not in known.keys() | decided]
        stored = store._replace(profile, fresh, changes, f"{_BY_INDUCTION}{current_user()}")
    return StoredInduction(
        added=stored[: len(fresh)],
        changed=stored[len(fresh) :],
        unchanged=len(known) - len(changes),
        untouched=tuple(untouched),
    )


def _rule_key(rule: Rule) -> tuple[str, str]:
    return rule.polarity, plain_form(rule.text)


def _by_induction(history: Sequence[RuleVersion]) -> bool:
    """Whether all versions of a rule come from inductions or from the rules that ship."""
    return all(version.who.startswith(_BY_INDUCTION) or version.who == "anomalist" for version in history)
