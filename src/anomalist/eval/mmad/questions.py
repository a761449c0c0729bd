"""MMAD as it is distributed: ``mmad.json``, the pictures of four data sets, and ``domain_knowledge.json``.

Keys of ``mmad.json`` are pictures, relative to its folder; each has templates (normal pictures of the same
product) and a conversation of questions with lettered options. Jiang et al., "MMAD: A Comprehensive Benchmark
for Multimodal Large Language Models in Industrial Anomaly Detection", ICLR 2025.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from anomalist.errors import DataError

DATASETS = ("DS-MVTec", "MVTec-LOCO", "VisA", "GoodsAD")
"""Folders of the pictures that are asked about; templates of DS-MVTec lie in MVTec-AD."""

DETECTION = "Anomaly Detection"
SUBTASKS = (
    DETECTION,
    "Defect Classification",
    "Defect Localization",
    "Defect Description",
    "Defect Analysis",
    "Object Classification",
    "Object Analysis",
)
_MERGED = {"Object Structure": "Object Analysis", "Object Details": "Object Analysis"}
"""Types of questions that the benchmark counts as one subtask."""

GOOD = "good"
KNOWLEDGE = "domain_knowledge.json"
_KNOWLEDGE_NAMES = {"DS-MVTec": "MVTec"}
_LAYOUT = (
    "DATA holds mmad.json, the folders "
    + ", ".join(DATASETS)
    + " (as far as they are measured), MVTec-AD for the templates of DS-MVTec, and domain_knowledge.json."
)


@dataclass(frozen=True)
class MmadQuestion:
    """One question about a picture.

    Parameters
    ----------
    subtask : one of `SUBTASKS`.
    text : the question.
    options : the texts of the options, in the order of the file.
    right : index of the right one.
    """

    subtask: str
    text: str
    options: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class MmadPicture:
    """One picture with its questions.

    Parameters
    ----------
    name : its key in ``mmad.json``, with slashes: data set, product, folders, file.
    path : of the file.
    templates : normal pictures to compare with, as the benchmark drew them.
    mask : ground truth, where the benchmark names one that is there.
    questions : in order.
    """

    name: str
    path: Path
    templates: tuple[Path, ...]
    mask: Path | None
    questions: tuple[MmadQuestion, ...]

    @property
    def dataset(self) -> str:
        """The first folder of its name."""
        return self.name.split("/")[0]

    @property
    def product(self) -> str:
        """The second folder of its name."""
        return self.name.split("/")[1]

    @property
    def normal(self) -> bool:
        """Whether it lies in a folder ``good``."""
        return GOOD in self.name.split("/")[2:-1]


@dataclass(frozen=True)
class MmadData:
    """The benchmark as it was found.

    Parameters
    ----------
    pictures : with their questions, in the order of the file.
    folder : of ``mmad.json``.
    missing : pictures that are asked about and not there.
    problems : what is wrong with the file, one sentence each.
    """

    pictures: tuple[MmadPicture, ...]
    folder: Path
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def knowledge(self) -> Path:
        """The file of the domain knowledge."""
        return self.folder / KNOWLEDGE

    def sample(self, count: int, seed: int) -> MmadData:
        """``count`` pictures of each data set at most, drawn with ``numpy.random.default_rng(seed)``."""
        rng = np.random.default_rng(seed)
        kept: set[str] = set()
        for dataset in sorted({picture.dataset for picture in self.pictures}):
            names = sorted(picture.name for picture in self.pictures if picture.dataset == dataset)
            kept.update(names[at] for at in rng.permutation(len(names))[:count])
        return replace(self, pictures=tuple(each for each in self.pictures if each.name in kept))


def knowledge_name(picture: MmadPicture) -> str:
    """Data set and product as the domain knowledge names them: "MVTec/bottle"."""
    return f"{_KNOWLEDGE_NAMES.get(picture.dataset, picture.dataset)}/{picture.product}"


def read_mmad(data: Path) -> MmadData:
    """Read the questions of a folder in the layout of MMAD.

    Pictures that are missing, ids that occur twice and answers that are no option are listed and left out of
    every figure; the rest is measured.

    Parameters
    ----------
    data : folder with ``mmad.json``; paths in it may be written with backslashes.

    Raises
    ------
    DataError : ``mmad.json`` is missing, cut off or of another form, or none of its pictures is there.
    """
    content, twice = _read_json(data / "mmad.json")
    found = _Found(data)
    found.problems += [f"{name} is in mmad.json more than once: its last entry counts" for name in twice]
    for name, entry in content.items():
        found.add(_slashes(name), entry)
    if not found.pictures:
        what = f"None of the {len(content)} pictures in {data / 'mmad.json'} is there"
        first = f", the first is {found.missing[0]}." if found.missing else "."
        raise DataError(what + first, _LAYOUT)
    return MmadData(tuple(found.pictures), data, tuple(found.missing), tuple(found.problems))


def read_list(path: Path, data: MmadData) -> frozenset[str]:
    """Names of the pictures in a list of faults, one a line; a line that ends in "/" is a whole folder.

    Empty lines and lines that start with "#" don't count.

    Raises
    ------
    DataError : the file can't be read, or a line fits no picture of the benchmark.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The list {path} can't be read: {error}.") from error
    wanted = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    names = [picture.name for picture in data.pictures]
    known = {*names, *data.missing}
    chosen: set[str] = set()
    for line in map(_slashes, wanted):
        fitting = [name for name in known if name == line or (line.endswith("/") and name.startswith(line))]
        if not fitting:
            raise DataError(f"{path} names {line}, which is no picture of mmad.json.")
        chosen.update(fitting)
    return frozenset(chosen)


@dataclass
class _Found:
    """What the entries of ``mmad.json`` give."""

    data: Path
    pictures: list[MmadPicture] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, name: str, entry: object) -> None:
        if not isinstance(entry, Mapping) or len(name.split("/")) < 3:
            self.problems.append(f"{name} is no entry of a picture")
            return
        path = self.data / name
        if not path.is_file():
            self.missing.append(name)
            return
        questions = tuple(self._questions(name, entry))
        templates = tuple(
            place
            for template in _texts(entry.get("random_templates")) + _texts(entry.get("similar_templates"))
            if (place := self.data / _slashes(template)).is_file()
        )
        if questions:
            self.pictures.append(MmadPicture(name, path, templates, self._mask(name, entry), questions))

    def _mask(self, name: str, entry: Mapping[str, Any]) -> Path | None:
        mask = entry.get("mask_path")
        if not isinstance(mask, str) or not mask:
            return None
        parts = name.split("/")
        places = (self.data.joinpath(*parts[:depth], _slashes(mask)) for depth in (3, 2))
        return next((place for place in places if place.is_file()), None)

    def _questions(self, name: str, entry: Mapping[str, Any]) -> Iterable[MmadQuestion]:
        conversation = next((entry[key] for key in entry if key.startswith("conversation")), None)
        if not isinstance(conversation, Sequence) or isinstance(conversation, str):
            self.problems.append(f"{name} has no conversation")
            return
        for number, each in enumerate(conversation, start=1):
            question = _question(each)
            if isinstance(question, str):
                self.problems.append(f"question {number} about {name} {question}")
            else:
                yield question


def _question(entry: object) -> MmadQuestion | str:
    """A question, or what is wrong with it."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("Options"), Mapping):
        return "has no options"
    options = {str(letter): str(text) for letter, text in entry["Options"].items()}
    answer, kind = entry.get("Answer"), str(entry.get("type"))
    subtask = _MERGED.get(kind, kind)
    if subtask not in SUBTASKS:
        return f"is of the unknown type {kind}"
    if answer not in options or not 2 <= len(options) <= len(string.ascii_uppercase):
        return f"has the answer {answer!r}, which is none of its options {', '.join(options)}"
    return MmadQuestion(
        subtask, str(entry.get("Question")), tuple(options.values()), list(options).index(answer)
    )


def _read_json(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The content of ``mmad.json``, and the pictures that are in it twice."""
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice.extend(dict.fromkeys(_slashes(name) for name in names if names.count(name) > 1))
        return found

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}.", _LAYOUT) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no whole JSON: {error}.", "Fetch it again: it may be cut off.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} has another form.", "It maps pictures to templates and a conversation.")
    return content, twice


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _slashes(path: str) -> str:
    return path.strip().replace("\\", "/").removeprefix("./")
