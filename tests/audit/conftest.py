"""A log with real decisions: ten tiles, four of them with a hole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from anomalist.audit.reading import LogEntry, read_entries
from anomalist.audit.recording import AuditTrail, RunTrail
from anomalist.memory.rules.rule import Rule
from anomalist.memory.rules.store import RuleStore, adopt_shipped_rules
from anomalist.pipeline import Inspector
from anomalist.records import inspect_to_folder
from anomalist.storage.run_folder import ImageRunFolder
from anomalist.types.image import Record
from anomalist.vision.profile import Profile
from tests.pictures import holed, tile, write


@dataclass(frozen=True)
class Logged:
    """A log, the run that it is about, and the pictures."""

    folder: Path
    run: Path
    pictures: list[Path]
    records: list[Record]

    def entries(self, label: str = "") -> list[LogEntry]:
        found = [each for each in read_entries(self.folder, kinds=["inspection"]) if each.body is not None]
        return [entry for entry in found if label in ("", entry.content["record"]["label"])]


def add_rule(profile: str, text: str, keyword: str, severity: int) -> None:
    """Have a person add a rule to those that ship."""
    rule = Rule(
        id="rule:new-1",
        text=text,
        polarity="anomalous",
        kind="object",
        keywords=(keyword,),
        severity=severity,
        origin="person",
    )
    with RuleStore() as store:
        adopt_shipped_rules(store, profile)
        store.add(profile, [rule])


def inspect_logged(profile: Profile, root: Path, *, keep: str = "all") -> Logged:
    """Inspect ten tiles into a run folder and a log of their own."""
    pictures = [write(root / "new" / f"good{n}.png", tile(300 + n)) for n in range(6)]
    pictures += [write(root / "new" / f"hole{n}.png", holed(400 + n)) for n in range(4)]
    inspector = Inspector(profile, model="evidence")
    trail = AuditTrail(root / "audit", keep)
    trail.begin_inspection(inspector, "inspect")
    with ImageRunFolder.open(root / "run") as run, RunTrail(trail, root / "run") as kept:
        records = list(kept.keep(inspect_to_folder(inspector, run, pictures)))
    return Logged(root / "audit", root / "run", pictures, records)


@pytest.fixture
def logged(tiles_profile: Profile, tmp_path: Path) -> Logged:
    return inspect_logged(tiles_profile, tmp_path)


@pytest.fixture(scope="session")
def kept_log(tiles_profile: Profile, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """The same, for tests that only read."""
    return inspect_logged(tiles_profile, tmp_path_factory.mktemp("logged"))
