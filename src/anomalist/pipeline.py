"""The pipeline for pictures: path → Media → Evidence → Recall → Verdict → Record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np

from anomalist.agent.reasoning.evidence_reasoner import Reasoner
from anomalist.agent.reasoning.policy import Policy
from anomalist.agent.reasoning.verdict import verdict_without_model
from anomalist.agent.tools.subject import Subject
from anomalist.composition import InspectionSettings, compose_inspection, override
from anomalist.errors import AnomalistError, DataError, ModelError
from anomalist.memory.recall import Memory
from anomalist.records import build_record, error_record
from anomalist.storage.artifacts import profile_path
from anomalist.storage.files import digest_of, utc_now
from anomalist.types.common import Answer, BoolArray, Recall, Verdict
from anomalist.types.image import Evidence, Inspection, Media
from anomalist.vision import normals_check
from anomalist.vision.calibration import CalibrationSet
from anomalist.vision.detectors.base import (
    Detector,
    LearningData,
    LearningSettings,
    Progress,
    default_detector,
    detector_class,
    no_progress,
    partition_for,
)
from anomalist.vision.detectors.ensemble import open_backbone_by
from anomalist.vision.detectors.labelled_defects import read_defects
from anomalist.vision.evidence import EvidenceSource, MeasuredPicture
from anomalist.vision.learning import (
    NormalSet,
    calibrate,
    list_products,
    measure_corrections,
    normal_entries,
    read_normals,
    refuse_defects_among,
    sample_paths,
)
from anomalist.vision.media.images import (
    learn_scale,
    list_images,
    load_image,
    load_roi,
    read_groups,
    source_of,
)
from anomalist.vision.media.values import ValueScale
from anomalist.vision.normals_check import FolderCheck, OutlierHandling, decide, without_outliers
from anomalist.vision.profile import (
    MIXED_KIND,
    PROFILE_KIND,
    MixedProfile,
    ProductRouter,
    Profile,
    ProfileParts,
    class_tokens,
    load_mixed,
    product_path,
    save_mixed,
    save_profile,
)
from anomalist.vision.shift.fitting import fit_input_model
from anomalist.vision.shift.model import InputModel


class Inspector:
    """Inspects pictures: measures them, recalls what is known, and judges.

    Parameters
    ----------
    by : what pictures are compared with: name or folder of a profile (of one product or several), a loaded
        one, another evidence source; or all settings at once, of which the arguments below replace those
        that are given.
    false_alarm_rate : that is decided at, between 0 and 1. By default 0.05, or as few as the normals support.
    policy : a policy or its TOML file, in place of the shipped one.
    model : who reasons, as after ``--model``: "evidence" for measurement alone, "hf:…", "openai:…". By
        default "auto": the model of ``ANOMALIST_MODEL`` where it is there, else measurement.
    reasoner : in place of the one by ``model``.
    memory : False recalls no past cases and rules of the profile; or another memory.
    workers : processes in which `inspect_many` measures; by default this one alone. A script that asks for
        more needs ``if __name__ == "__main__":`` around what it does.

    Raises
    ------
    AnomalistError : see `compose_inspection`.

    Examples
    --------
    >>> inspector = Inspector("housing", false_alarm_rate=0.01)  # doctest: +SKIP
    >>> inspector.inspect("new/042.png").record.label  # doctest: +SKIP
    'anomalous'
    """

    def __init__(
        self,
        by: str | Path | Profile | MixedProfile | EvidenceSource | InspectionSettings,
        *,
        false_alarm_rate: float | None = None,
        policy: Policy | str | Path | None = None,
        model: str | None = None,
        reasoner: Reasoner | None = None,
        memory: Memory | bool | None = None,
        workers: int | None = None,
    ) -> None:
        settings = override(
            by if isinstance(by, InspectionSettings) else InspectionSettings(by),
            false_alarm_rate=false_alarm_rate,
            policy=policy,
            model=model,
            reasoner=reasoner,
            memory=memory,
            workers=workers,
        )
        parts = compose_inspection(settings)
        self.evidence_source = parts.evidence_source
        self._measure = parts.measure
        self.memory = parts.memory
        self.reasoner = parts.reasoner
        self.policy = parts.policy
        judged_by = (self.policy.digest, self.reasoner.name, self.reasoner.digest, self.memory.digest)
        self.settings_digest = digest_of(self.evidence_source.rate, *judged_by)

    def inspect(self, path: str | Path) -> Inspection:
        """Inspect one picture.

        Parameters
        ----------
        path : of a picture file.

        Returns
        -------
        The record; the picture, uint8 (H, W, 3); and the evidence, with ``score_map`` float32 (H, W) and
        ``mask`` bool (H, W). Boxes are (x0, y0, x1, y1) in pixels of the picture, half-open.

        Raises
        ------
        MediaError : the picture can't be read or judged. A model that fails is no error: the record says so.
        """
        began = time.perf_counter()
        ((_, media, evidence),) = self.evidence_source.measure([path])
        return self._judge(media, evidence, began)

    def inspect_many(self, paths: Iterable[str | Path]) -> Iterator[Inspection]:
        """Inspect pictures in order, in batches; one that can't be judged becomes a record with its error.

        With several workers the processes are started here and end with the pictures.
        """
        return self.judge_measured(self._measure(paths))

    def judge_measured(self, measured: Iterable[MeasuredPicture]) -> Iterator[Inspection]:
        """Judge pictures that were measured, wherever that was."""
        began = time.perf_counter()
        for path, media, evidence in measured:
            try:
                yield self._judge(media, evidence, began)
            except AnomalistError as error:
                yield Inspection(error_record(source_of(path), media, error, self.evidence_source))
            began = time.perf_counter()

    def _judge(self, media: Media | None, evidence: Evidence | AnomalistError, began: float) -> Inspection:
        if isinstance(evidence, AnomalistError):
            raise evidence
        assert media is not None  # what was measured was read
        recall = self.memory.recall(media, evidence)
        verdict, failure = self._reason(media, evidence, recall)
        milliseconds = 1000 * (time.perf_counter() - began)
        record = build_record(media, evidence, recall, verdict, self.evidence_source, milliseconds, failure)
        return Inspection(record, media, evidence, self._answer)

    def _reason(self, media: Media, evidence: Evidence, recall: Recall) -> tuple[Verdict, str | None]:
        """The verdict, and why a model had no part in it: what was measured is kept all the same."""
        try:
            return self.reasoner.judge(media, evidence, recall, self.policy), None
        except ModelError as error:
            name = self.reasoner.name
            return verdict_without_model(error, name, media, evidence, recall, self.policy), str(error)

    def _answer(self, inspection: Inspection, question: str, options: Sequence[str]) -> Answer:
        from anomalist.agent.asking.answering import answer

        return answer(self.subject([inspection]), question, options)

    def subject(self, inspections: Iterable[Inspection], **fields: Any) -> Subject:  # noqa: ANN401
        """What can be asked about inspected pictures; ``fields`` are those of `Subject`."""
        seen = {inspection.record.source: inspection for inspection in inspections}
        by = self.evidence_source
        comparison = {
            "counterpart": by.normal_crop,
            "normal": by.compared_with,
            "calibrations": by.calibrations,
        }
        return Subject(
            records=tuple(inspection.record for inspection in seen.values()),
            inspections=seen,
            inspect=self.inspect,
            policy=self.policy,
            **(comparison | fields),
        )


class LearnOptions(TypedDict, total=False):
    """What `learn` can be told beside effort and seed.

    Attributes
    ----------
    groups : which pictures show the same object, tile or take: path to group, or a CSV ``image,group``.
    limit : learn from a random sample of at most this many.
    roi : picture whose white part is what counts.
    detector : "ensemble" (default where DINOv2 is at hand), "surface", "anomalib", or a plug-in by name or
        ``module:Class``.
    backbone : in place of DINOv2 ("ensemble"), or of SurfaceNet for the memory bank ("surface", the default
        where a backbone is named): a transformers vision backbone by name or folder, or a plug-in. Of
        "anomalib": the folder that it exported a model to.
    defects : folder of labelled defects, ``<kind>/*`` with masks in ``ground_truth/<kind>/`` if any.
    outliers : what becomes of normals that don't belong to the rest: "drop" leaves them out, "keep" learns
        from them, a function decides when it gets the `NormalsCheck`. By default a few are kept and many are
        an error that names them; the profile's manifest has them all (``check``).
    """

    groups: Mapping[str, str] | str | Path | None
    limit: int | None
    roi: str | Path | None
    detector: str | None
    backbone: str | None
    defects: str | Path | None
    outliers: OutlierHandling


def learn(
    normals: str | Path | Sequence[str | Path],
    *,
    profile: str | Path,
    effort: str = "normal",
    seed: int = 0,
    force: bool = False,
    progress: Progress = no_progress,
    **options: Unpack[LearnOptions],
) -> Profile:
    """Learn what is normal from pictures without defects and write a profile.

    Parameters
    ----------
    normals : a folder, or pictures and folders.
    profile : a name (kept under ``ANOMALIST_HOME``) or a folder.
    effort : "fast", "normal" or "thorough"; see the detectors for what that means.
    seed : of every random choice; kept in the profile.
    force : replace a profile that is already there.
    progress : called with what is done, how far, and of how much.
    options : ``groups``, ``limit``, ``roi``, ``detector``, ``backbone``, ``defects``, ``outliers``; see
        `LearnOptions`.

    Raises
    ------
    AnomalistError : nothing usable to learn from, many outliers, a profile in the way, a full disk, …
    """
    path = profile_path(profile)
    PROFILE_KIND.refuse_overwriting(path, force=force)
    return _learn(_listed(normals), effort, seed, progress, options).save(path, force=force)


def check_normals(
    normals: str | Path | Sequence[str | Path],
    *,
    groups: Mapping[str, str] | str | Path | None = None,
    limit: int | None = None,
    roi: str | Path | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> FolderCheck:
    """Look for defects and pictures of a second product among normal pictures; learn nothing.

    The parameters are those of `learn`, which does the same first.

    Raises
    ------
    AnomalistError : nothing usable to check.
    """
    table = read_groups(Path(groups)) if isinstance(groups, str | Path) else groups
    paths = sample_paths(_listed(normals), limit, seed)
    scale = learn_scale(paths, lambda done: progress("looking", done, len(paths)))
    read = read_normals(paths, table, detector_class("ensemble"), progress, scale)
    found, _ = normals_check.check_normals(read, load_roi(roi) if roi else None, seed, progress)
    return FolderCheck(**dict(found), skipped=read.skipped)


def _listed(normals: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    listing = list_images([normals] if isinstance(normals, str | Path) else normals)
    if not listing.images:
        raise DataError(
            f"No pictures to learn from in {normals}.", "Give a folder of pictures without defects."
        )
    return listing.images


@dataclass(frozen=True, eq=False)
class _Learned:
    """What was learned of one product, before it is written; ``fields`` are those of the manifest."""

    detector: Detector
    calibration: CalibrationSet
    roi: BoolArray | None
    inputs: InputModel
    normals: NormalSet
    fields: Mapping[str, Any]

    def save(self, path: Path, *, force: bool = False) -> Profile:
        fields = {"name": path.name, "created": utc_now(), **self.fields}
        parts = ProfileParts(self.detector, self.calibration, self.roi, self.inputs)
        return save_profile(path, parts, force=force, **fields)


def _learn(
    images: Sequence[Path],
    effort: str,
    seed: int,
    progress: Progress,
    options: LearnOptions,
    scale: ValueScale | None = None,
) -> _Learned:
    backbone = options.get("backbone")
    name = options.get("detector") or default_detector(backbone)
    kind = detector_class(name)
    paths = sample_paths(images, options.get("limit"), seed)
    groups, roi, defects = options.get("groups"), options.get("roi"), options.get("defects")
    table = read_groups(Path(groups)) if isinstance(groups, str | Path) else groups
    mask = load_roi(roi) if roi else None
    if scale is None:
        scale = learn_scale(paths, lambda done: progress("looking", done, len(paths)))
    labelled = read_defects(Path(defects), table or {}, scale) if defects else None
    known = labelled.defects if labelled else ()
    everything = read_normals(paths, table, kind, progress, scale, mask)
    refuse_defects_among(everything, known)
    described_by = backbone if name == "ensemble" else None
    found, everything = normals_check.check_normals(everything, mask, seed, progress, described_by)
    if name != "ensemble":
        everything = replace(everything, tokens=None)  # nobody else takes them
    found = decide(found, options.get("outliers"))
    read = without_outliers(everything, found)
    parts = partition_for(kind, read.groups, seed)
    data = LearningData(read.pictures, read.groups, parts, mask, known, read.tokens)
    learned = kind.learn(data, LearningSettings(effort, seed, backbone), progress)
    whole = fit_input_model(read.samples, lambda i: load_image(read.paths[i], scale=scale).pixels, mask, seed)
    whole = measure_corrections(learned, read, parts, whole, mask, progress)
    calibration, levels = calibrate(learned, read, parts, mask, seed, progress)
    fields = {
        "detector": name,
        "effort": effort,
        "seed": seed,
        "backbone": backbone,
        "grouped": table is not None,
        "low": levels.low,
        "place": levels.place,
        "normals": normal_entries(read, parts),
        "defects": tuple(defect.id for defect in known),
        "skipped": (*read.skipped, *(labelled.skipped if labelled else ())),
        "masks": labelled.masks if labelled else None,
        "scale": scale,
        "check": found,
    }
    whole = replace(whole, typical=levels.typical)
    return _Learned(learned, calibration, mask, whole, read, fields)


def learn_products(
    folder: str | Path,
    *,
    profile: str | Path,
    effort: str = "normal",
    seed: int = 0,
    force: bool = False,
    progress: Progress = no_progress,
    **options: Unpack[LearnOptions],
) -> MixedProfile:
    """Learn what is normal of several products and write one profile that tells them apart.

    Parameters
    ----------
    folder : with a folder of pictures without defects for each product, named after it.
    profile, effort, seed, force : as for `learn`.
    progress : as for `learn`; what is done begins with the product.
    options : as for `learn`, for each product; but ``roi`` and ``defects`` are folders, with the mask
        ``<product>.png`` and the folder ``<product>/`` of the products that have any.

    Raises
    ------
    AnomalistError : as for `learn`; DINOv2 is not here; a product has nothing usable to learn from.
    """
    path = profile_path(profile)
    MIXED_KIND.refuse_overwriting(path, force=force)
    for old in product_path(path, "").glob("*"):
        PROFILE_KIND.refuse_overwriting(old, force=force)
    products = list_products(Path(folder))
    own = {name: _options_of(name, products, options) for name in products}
    backbone = open_backbone_by(None)()
    scale = learn_scale([path for images in products.values() for path in images])

    def learn_into(place: Path) -> tuple[list[Profile], ProductRouter]:
        saved, tokens, groups = [], [], []
        for name, images in products.items():

            def report(what: str, done: int, total: int, name: str = name) -> None:
                progress(f"{name}: {what}", done, total)

            try:
                learned = _learn(images, effort, seed, report, own[name], scale)
            except DataError as error:
                raise DataError(f"The product {name}: {error.message}", error.remedy) from error
            saved.append(learned.save(product_path(place, name)))
            for done, source in enumerate(learned.normals.paths, 1):
                tokens.append(class_tokens(backbone, [load_image(source, scale=scale).pixels]))
                report("recognising", done, len(learned.normals.paths))
            groups.append(learned.normals.groups)
        numbers = np.repeat(np.arange(len(groups)), [len(each) for each in groups])
        return saved, ProductRouter(tuple(products), np.concatenate(tokens), numbers, np.concatenate(groups))

    save_mixed(path, learn_into, backbone, force=force, created=utc_now())
    return load_mixed(path)


def _options_of(name: str, products: Mapping[str, object], options: LearnOptions) -> LearnOptions:
    """The options for one product: its own region of interest and defects, where it has any."""
    own = LearnOptions(**options)
    keys: tuple[Literal["roi", "defects"], ...] = ("roi", "defects")
    for key in keys:
        given = options.get(key)
        if not given:
            continue
        place = Path(given)
        entries = (
            [entry.stem if key == "roi" else entry.name for entry in place.iterdir()]
            if place.is_dir()
            else []
        )
        if not products.keys() & set(entries):
            raise DataError(
                f"{source_of(place)} has nothing for any of the products.",
                f"With several products --{key} is a folder: "
                + ("<product>.png in it." if key == "roi" else "<product>/<kind>/* in it."),
            )
        mine = place / (f"{name}.png" if key == "roi" else name)
        own[key] = mine if mine.exists() else None
    return own
