"""What jobs do: learn and check profiles and scenes, inspect folders, triage clips.

Doing a job again after a crash changes nothing that was done: a profile is learned beside its place and moved
there once, and runs go on behind their last row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from anomalist.audit.log import has_log
from anomalist.audit.reading import read_entries
from anomalist.audit.recording import open_trail, record_learning
from anomalist.composition import TriageSettings
from anomalist.errors import DataError
from anomalist.pipeline import Inspector, check_normals, learn, learn_products
from anomalist.publishing.publishers import Publishers
from anomalist.runs import ClipRun, ImageRun, finish_clip_run
from anomalist.server.inspecting import Basis
from anomalist.server.jobs import Job, JobKind, Report, Worker
from anomalist.server.store import InspectionStore
from anomalist.storage.artifacts import ArtifactKind, profile_path
from anomalist.storage.files import replace_folder, write_atomically
from anomalist.storage.places import bring_profile, here, send_soon, share_profiles, take_run
from anomalist.triage import Triage
from anomalist.types.clip import ClipRecord
from anomalist.types.common import Frozen
from anomalist.vision.media.images import list_images
from anomalist.vision.media.sources import list_videos
from anomalist.vision.motion.learning import learn_scene
from anomalist.vision.motion.scene import SCENE_KIND, Scene, Zone, load_scene
from anomalist.vision.normals_check import summary
from anomalist.vision.profile import (
    MIXED_KIND,
    PROFILE_KIND,
    MixedProfile,
    Profile,
    load_mixed,
    load_profile,
)


class LearnSpec(Frozen):
    """What a profile is learned from.

    Parameters
    ----------
    paths : pictures and folders of them.
    outliers : what becomes of pictures that don't belong to the rest; None: a few stay, many are an error.
    force : replace a profile that is there.
    """

    name: str
    paths: tuple[Path, ...] = Field(min_length=1)
    effort: Literal["fast", "normal", "thorough"] = "normal"
    seed: int = Field(0, ge=0, le=2**31 - 1)
    outliers: Literal["drop", "keep"] | None = None
    force: bool = False


class SceneSpec(Frozen):
    """What a scene is learned from."""

    name: str
    paths: tuple[Path, ...] = Field(min_length=1)
    seed: int = Field(0, ge=0, le=2**31 - 1)
    force: bool = False


class InspectSpec(Frozen):
    """Pictures and folders that are inspected, and what they are compared with."""

    paths: tuple[Path, ...] = Field(min_length=1)
    profile: str | None = None
    rate: float | None = None
    reference: Path | None = None


class TriageSpec(Frozen):
    """Clips that are triaged, by which scene and with which zones; None takes those of the scene."""

    scene: str
    paths: tuple[Path, ...] = Field(min_length=1)
    false_events_per_hour: float | None = Field(None, gt=0)
    causal: bool = False
    zones: tuple[Zone, ...] | None = None


class JobWork:
    """Does jobs.

    Parameters
    ----------
    folder : of the server.
    store : where inspected pictures are listed.
    model : who reasons, as after ``--model``.
    publishers : that results go to as well.
    """

    def __init__(self, folder: Path, store: InspectionStore, model: str, publishers: Publishers) -> None:
        self._jobs = folder / "jobs"
        self._runs = folder / "runs"
        self._store = store
        self._model = model
        self._publishers = publishers

    @property
    def workers(self) -> Mapping[JobKind, Worker]:
        """What does a job, by its kind."""
        return {
            "learn": self._learn,
            "learn-products": self._learn_products,
            "check": self._check,
            "learn-scene": self._learn_scene,
            "inspect": self._inspect,
            "triage": self._triage,
        }

    def _learn(self, job: Job, report: Report) -> Mapping[str, Any]:
        spec = LearnSpec.model_validate(job.spec)
        staged = self._jobs / job.id / spec.name

        def work() -> Mapping[str, Any]:
            images = list_images([here(path) for path in spec.paths]).images
            if not images:
                raise DataError("There are no pictures to learn from.")
            learned = learn(
                images,
                profile=staged,
                effort=spec.effort,
                seed=spec.seed,
                force=True,
                outliers=spec.outliers,
                progress=report,
            )
            return learning_result(learned)

        result = self._once(job, staged, PROFILE_KIND, spec.force, work)
        self._write_learning(job, load_profile(spec.name))
        return result

    def _learn_products(self, job: Job, report: Report) -> Mapping[str, Any]:
        spec = LearnSpec.model_validate(job.spec)
        staged = self._jobs / job.id / spec.name

        def work() -> Mapping[str, Any]:
            learned = learn_products(
                here(spec.paths[0]),
                profile=staged,
                effort=spec.effort,
                seed=spec.seed,
                force=True,
                outliers=spec.outliers,
                progress=report,
            )
            return products_result(learned)

        result = self._once(job, staged, MIXED_KIND, spec.force, work)
        self._write_learning(job, load_mixed(spec.name))
        return result

    def _learn_scene(self, job: Job, report: Report) -> Mapping[str, Any]:
        spec = SceneSpec.model_validate(job.spec)
        staged = self._jobs / job.id / spec.name

        def work() -> Mapping[str, Any]:
            scene = learn_scene(
                [here(path) for path in spec.paths], staged, seed=spec.seed, force=True, progress=report
            )
            blocks = scene.blocks("offline")
            return {
                "name": scene.name,
                "digest": scene.digest,
                "videos": len(scene.manifest.footage),
                "seconds": sum(each.seconds for each in scene.manifest.footage),
                "false_events_per_hour": blocks.supported,
                "skipped": list(scene.manifest.skipped),
            }

        result = self._once(job, staged, SCENE_KIND, spec.force, work)
        self._write_learning(job, load_scene(spec.name))
        return result

    def _once(
        self,
        job: Job,
        staged: Path,
        kind: ArtifactKind[Any],
        force: bool,
        work: Any,  # noqa: ANN401
    ) -> Mapping[str, Any]:
        """Learn into ``staged`` and move it to its place, each once whatever ends the server between."""
        place = profile_path(staged.name)
        note = self._jobs / job.id / "result.json"
        if note.is_file():  # it was learned; where it is not there any more, it was moved already
            result: dict[str, Any] = json.loads(note.read_bytes())
        else:
            kind.refuse_overwriting(place, force=force)
            staged.parent.mkdir(parents=True, exist_ok=True)
            result = dict(work())
            write_atomically(note, json.dumps(result))
        if staged.exists():
            kind.refuse_overwriting(place, force=force)
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_folder(place, staged)
        share_profiles(at_once=True)
        return result

    def _write_learning(self, job: Job, learned: Profile | MixedProfile | Scene) -> None:
        """Write it into the audit log, unless an earlier attempt did."""
        if job.attempts > 1 and has_log():
            entries = read_entries(kinds=["learning"])
            if any(entry.content.get("job") == job.id for entry in entries):
                return
        record_learning(learned, job=job.id)

    def _check(self, job: Job, report: Report) -> Mapping[str, Any]:
        spec = LearnSpec.model_validate(job.spec)
        found = check_normals([here(path) for path in spec.paths], seed=spec.seed, progress=report)
        return {
            "summary": summary(found),
            "pictures": found.pictures,
            "not_checked": found.not_checked,
            "outliers": [_outlier_row(each) for each in found.outliers],
            "skipped": list(found.skipped),
        }

    def _inspect(self, job: Job, report: Report) -> Mapping[str, Any]:
        spec = InspectSpec.model_validate(job.spec)
        if spec.profile is not None:
            bring_profile(spec.profile)
        _bring((*spec.paths, *((spec.reference,) if spec.reference else ())))
        images = list_images(spec.paths).images
        if not images:
            raise DataError("There are no pictures to inspect.")
        basis = Basis(spec.profile, spec.rate, spec.reference, self._model)
        inspector = Inspector(basis.settings)
        trail = open_trail()
        if trail is not None:
            trail.begin_inspection(inspector, "serve")
        name = f"job-{job.id}"
        if take_run(self._runs / name):
            self._store.restore(name, self._runs / name)
        with ImageRun(self._runs / name, trail) as run:
            done = len(images) - len(pending := run.pending(inspector, images))
            for record in self._publishers.each(run.inspect(inspector, pending)):
                self._store.add(name, [record], job.owner)
                send_soon(run.path)
                done += 1
                report("inspecting", done, len(images))
            page = run.write_report()
        self._store.adopt(name, self._runs / name, job.owner)
        return {"run": name, "pictures": len(images), "report": page.name}

    def _triage(self, job: Job, report: Report) -> Mapping[str, Any]:
        spec = TriageSpec.model_validate(job.spec)
        bring_profile(spec.scene)
        _bring(spec.paths)
        triage = Triage(
            TriageSettings(
                spec.scene,
                false_events_per_hour=spec.false_events_per_hour,
                mode="causal" if spec.causal else "offline",
                zones=spec.zones,
                model=self._model,
            )
        )
        videos = list_videos([str(path) for path in spec.paths]).videos
        if not videos:
            raise DataError("There are no videos to triage.")
        trail = open_trail()
        if trail is not None:
            trail.begin_triage(triage, "serve")
        name = f"job-{job.id}"
        records: list[ClipRecord] = []
        take_run(self._runs / name)
        with ClipRun(triage, self._runs / name, trail) as run:
            for number, video in enumerate(videos):
                what = f"clip {number + 1} of {len(videos)}"

                def seen(time: float, duration: float | None, what: str = what) -> None:
                    report(what, min(time, duration or time), max(duration or 0.0, time, 1.0))

                record = run.clip(video, seen)
                self._publishers.publish(record)
                records.append(record)
                send_soon(self._runs / name)
        page = finish_clip_run(self._runs / name)
        send_soon(self._runs / name)
        labels = [record.label or "error" for record in records]
        return {"run": name, "clips": len(records), "labels": labels, "report": page.name}


def _bring(paths: Sequence[Path]) -> None:
    """Have what other servers took in here; records keep the paths that the job names."""
    for path in paths:
        here(path)


def learning_result(profile: Profile) -> dict[str, Any]:
    """What people see of a profile that was just learned: its promise, and what did not belong there."""
    manifest, calibration = profile.manifest, profile.calibration
    check = manifest.check
    return {
        "name": manifest.name,
        "digest": profile.digest,
        "pictures": len(manifest.normals),
        "groups": calibration.n_groups,
        "lowest_rate": calibration.lowest_rate,
        "skipped": list(manifest.skipped),
        "summary": "" if check is None else summary(check),
        "decision": None if check is None else check.decision,
        "outliers": [] if check is None else [_outlier_row(each) for each in check.outliers],
    }


def products_result(profile: MixedProfile) -> dict[str, Any]:
    """What people see of a profile of several products: of each what `learning_result` says."""
    products = [learning_result(product) for product in profile.products]
    return {
        "name": profile.name,
        "digest": profile.digest,
        "products": products,
        "pictures": sum(each["pictures"] for each in products),
        "lowest_rate": max(each["lowest_rate"] for each in products),
    }


def _outlier_row(outlier: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "source": outlier.source,
        "name": Path(outlier.source).name,
        "why": outlier.why,
        "measure": outlier.measure,
    }
