"""Batch inspection by Ray Data: actors measure, judge and store; the driver puts the rows in order.

The rows come as Parquet files from the actors, at any time and in any order, each batch whole or not at all.
What must see the run as a whole is done by the driver at the end, over the rows in the order of the listing:
the test of the run for drift, the records of the run folder, and their entries in the audit log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from anomalist.agent.reasoning.claims import INPUT_ID
from anomalist.agent.reasoning.evidence_reasoner import drift_claim
from anomalist.cluster.actors import ActorTask, PictureActor, turn_of
from anomalist.cluster.connection import RayOptions, connected, told_environment
from anomalist.cluster.mapping import map_on_actors
from anomalist.cluster.sources import named
from anomalist.composition import InspectionSettings, resolve_model
from anomalist.errors import DataError
from anomalist.pipeline import Inspector
from anomalist.runs import ImageRun
from anomalist.storage.files import write_error
from anomalist.storage.run_folder import is_settled
from anomalist.types.image import Record
from anomalist.vision.detectors.base import Progress, no_progress
from anomalist.vision.evidence import RunWatcher
from anomalist.vision.parallel import evidence_opener
from anomalist.vision.shift.run_test import RunTests, drift_in_run

PART_PICTURES = 64
"""Pictures of a batch, and so rows of a Parquet file, at most."""


@dataclass(frozen=True, eq=False)
class ClusterRun:
    """Inspects pictures on a cluster, into a run folder that all nodes share.

    Parameters
    ----------
    settings, inspector : what the driver opened, and that by which actors open the same.
    sources : from `list_sources`.
    options : which cluster.
    """

    settings: InspectionSettings
    inspector: Inspector
    sources: Sequence[str]
    options: RayOptions = field(default_factory=RayOptions)

    def records(self, run: ImageRun, progress: Progress = no_progress) -> Iterator[Record]:
        """Inspect the pictures; yields new records in their order, each once it is stored and in the log.

        What an earlier run has stored under the same content key is not inspected again, also where that run
        was cut off. ``run`` is open; in its ``parts`` are the Parquet files.

        Raises
        ------
        DataError : the cluster can't be reached, the folder is not shared, a disk is full, rows are missing.
        ProfileError : a node has no profile, or another version of it.
        """
        names = [named(source) for source in self.sources]
        task = actor_task(self.settings, self.inspector, run.path)
        before = stored_rows(task.parts)
        pictures = [
            (source, _key(before.get(name))) for source, name in zip(self.sources, names, strict=True)
        ]
        with connected(self.options):
            _run_actors(task, pictures, self.options, progress)
        rows = stored_rows(task.parts)
        made: Iterator[Record] = (_record(rows[name]) for name in names if name in rows)
        source = self.inspector.evidence_source
        if isinstance(source, RunWatcher):
            made = _drifting(made, source.run_tests())
        folder = run.folder
        yield from run.keep_records(
            self.inspector, (each for each in made if folder.done(each.source, each.key or "") is None)
        )
        missing = [name for name in names if name not in rows]
        if missing:
            raise DataError(
                f"{len(missing)} pictures have no row, the first is {missing[0]}.",
                "Run the same command again: what is done stays done.",
            )


def actor_task(settings: InspectionSettings, inspector: Inspector, out: Path) -> ActorTask:
    """What actors are told; makes the folder for their rows.

    Raises DataError when it can't be made, or for what can't be opened on another node.
    """
    source = inspector.evidence_source
    evidence_opener(source)
    profile = getattr(source, "profile", None)
    reference = settings.reference
    told = InspectionSettings(
        by=None if profile is None else profile.path.absolute(),
        reference=None if reference is None else Path(reference).absolute(),
        false_alarm_rate=settings.false_alarm_rate,
        policy=inspector.policy,
        model=resolve_model(settings.model),
        guidance=settings.guidance,
        memory=settings.memory if isinstance(settings.memory, bool) else False,
    )
    parts = (
        out.absolute()
        / "parts"
        / f"profile={source.digest[:16]}"
        / f"settings={inspector.settings_digest[:16]}"
    )
    try:
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(parts, error) from error
    turn = 1 + max(map(turn_of, parts.glob("*.parquet")), default=0)
    return ActorTask(
        told, source.digest, inspector.settings_digest, out.absolute(), parts, turn, told_environment()
    )


def _run_actors(
    task: ActorTask,
    pictures: Sequence[tuple[str, str]],
    options: RayOptions,
    progress: Progress,
) -> None:
    """Have actors inspect the pictures; returns when the rows of all are stored."""
    columns = {"source": [source for source, _ in pictures], "key": [key for _, key in pictures]}
    done = 0
    progress("inspecting", 0, len(pictures))
    for row in map_on_actors(PictureActor, (task,), columns, PART_PICTURES, options):
        done += row["new"] + row["old"]
        progress("inspecting", done, len(pictures))


def stored_rows(parts: Path) -> dict[str, str]:
    """The rows of the Parquet files, as JSON by source; of several of one source that of the latest turn.

    Raises DataError when a file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: dict[str, str] = {}
    for file in sorted(parts.glob("*.parquet"), key=lambda each: (turn_of(each), each.stat().st_mtime_ns)):
        try:
            table = pq.read_table(file, columns=["source", "row"], partitioning=None)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f'"{file}" is damaged.', "Remove it and run the same command again.") from error
        rows.update(zip(table["source"].to_pylist(), table["row"].to_pylist(), strict=True))
    return rows


def _key(row: str | None) -> str:
    """The key under which a row was stored, or nothing where it is to be tried again."""
    if row is None:
        return ""
    record = _record(row)
    return record.key or "" if is_settled(record) else ""


def _record(row: str) -> Record:
    return Record.model_validate_json(row)


def _drifting(records: Iterator[Record], tests: RunTests) -> Iterator[Record]:
    """Test a run for drift over its records, and say in them what was found, as if measured in order."""
    for record in records:
        found = drift_in_run(tests, record.evidence) if record.evidence.input_shift is not None else None
        if found is None:
            yield record
            continue
        shift, note = found
        verdict = record.verdict
        if verdict is not None and shift.drift is not None:
            first = sum(INPUT_ID in claim.evidence for claim in verdict.claims)
            claims = [*verdict.claims[:first], drift_claim(shift.drift), *verdict.claims[first:]]
            verdict = verdict.replace(claims=tuple(claims))
        yield record.replace(
            evidence=record.evidence.replace(input_shift=shift),
            verdict=verdict,
            notes=(*record.notes, note),
        )
