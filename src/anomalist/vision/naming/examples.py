"""Open-set naming of objects by a handful of example pictures: nearest neighbours of DINOv2's class token.

The limit below which nothing is named comes from the examples alone: it best separates how alike pictures of
one class are, each left out in turn, from how alike those of different classes are, for all classes together
(`KnownKindClassifier`) and for the class itself. Examples are first reduced to about the size in which an
object is seen.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from anomalist.errors import DataError, DetectorError, MediaError
from anomalist.storage.files import digest_of
from anomalist.types.clip import ObjectName
from anomalist.types.common import FloatArray, UInt8Array
from anomalist.types.image import KnownKind
from anomalist.vision.detectors.known_kinds import KnownKindClassifier, similarity_limit
from anomalist.vision.features.backbones import MIN_SIDE, resolve_device
from anomalist.vision.features.dinov2 import (
    CARRIER,
    PUBLISHED_NAME,
    VisionTransformer,
    find_dinov2,
    open_shared,
)
from anomalist.vision.media.images import IMAGE_SUFFIXES, load_image, one_line, visible_entries
from anomalist.vision.naming.looks import MAX_NAME_LENGTH, MIN_LOOK_SIDE, Look, agreed_name, quote_votes

MIN_COMPARED = 3
"""Pictures with another one of their class, below which no limit can be fitted."""
_INPUT_SIDE = 168  # of the transformer's input, pixels; things are small, and more shows nothing more
_SIZE_STEP = 1.5  # between the sizes that examples are reduced to
_MAX_SIDE = 256  # of an example, pixels: nothing is compared at a larger size
_NAME = re.compile(r"[^\W\d_][\w -]*")
_UNLIKE = "unlike any example"
_HOW = "Put a few pictures of each class into a folder named after it: DIR/bicycle/1.png, DIR/forklift/1.png."


@dataclass(frozen=True, eq=False)
class ExamplePicture:
    """An example picture, cut to the object.

    Parameters
    ----------
    id : class folder and file, "bicycle/3.png".
    name : of its class.
    pixels : uint8 (h, w, 3).
    digest : hex SHA-256 of its file.
    """

    id: str
    name: str
    pixels: UInt8Array
    digest: str


@dataclass(frozen=True, eq=False)
class ExampleNamer:
    """Names objects by example pictures, or says that they are unlike any; see `open_examples`.

    Parameters
    ----------
    folder : that they come from, as the user gave it.
    pictures : of all classes.
    notes : what was left out, and what a limit rests on.
    transformer : gives the class tokens.
    """

    folder: str
    pictures: tuple[ExamplePicture, ...]
    notes: tuple[str, ...]
    transformer: VisionTransformer
    _fitted: dict[int, tuple[KnownKindClassifier, dict[str, float]]] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Every name that it may give."""
        return tuple(dict.fromkeys(picture.name for picture in self.pictures))

    @cached_property
    def digest(self) -> str:
        """Hex digest of the pictures, their classes and the transformer."""
        parts = [f"{picture.name} {picture.digest}" for picture in self.pictures]
        return digest_of("examples-1", self.transformer.digest, *parts)

    def name(self, track: str, looks: Sequence[Look]) -> tuple[ObjectName, ...]:
        """Name the object of a track by what more than half of the looks at it are most like."""
        said = ObjectName(
            track=track, by="examples", source=self.folder, looks=len(looks), agreeing=0, name=None
        )
        large = [look for look in looks if look.side >= MIN_LOOK_SIDE]
        if not large:
            most = max(look.side for look in looks)
            return (said.replace(why=f"too small to be told: {most} pixels, {MIN_LOOK_SIDE} are needed"),)
        compared = [self._compare(look) for look in large]
        named = [kind.name for kind, _ in compared]
        agreed = agreed_name(named)
        said = said.replace(looks=len(large))
        if agreed is None:
            return (said.replace(why=f"the looks at it disagree: {quote_votes(named, _UNLIKE)}"),)
        name, agreeing = agreed
        best = sorted(
            (pair for pair in compared if pair[0].name == name), key=lambda pair: pair[0].similarity
        )
        kind, limit = best[len(best) // 2]
        return (
            said.replace(
                name=name,
                agreeing=agreeing,
                score=round(kind.similarity, 3),
                limit=round(limit, 3),
                nearest=self._nearest(kind),
                why="" if name else _UNLIKE,
            ),
        )

    def _nearest(self, kind: KnownKind) -> str:
        """The example that decided: the nearest of the class that was named, or the nearest of all."""
        near = [case.partition(":")[2] for case in kind.cases]
        of_class = {picture.id for picture in self.pictures if picture.name == kind.name}
        return next((each for each in near if each in of_class), near[0])

    def _compare(self, look: Look) -> tuple[KnownKind, float]:
        """What a look is most like, and the limit that its similarity had to reach."""
        classifier, limits = self._fit(_size_step(look.side))
        kind = classifier.classify(self._tokens([look.crop()])[0])
        limit = limits.get(kind.name or "", classifier.limit)
        return (kind if kind.similarity >= limit else kind.replace(name=None)), limit

    def _fit(self, side: int) -> tuple[KnownKindClassifier, dict[str, float]]:
        """Classifier of the examples with their longer side reduced to ``side`` pixels, and each limit."""
        if side not in self._fitted:
            tokens = self._tokens([_reduced(picture.pixels, side) for picture in self.pictures])
            names = [each.name for each in self.pictures]
            classifier = KnownKindClassifier.of(tokens, [each.id for each in self.pictures], names)
            limits = {name: max(classifier.limit, _class_limit(tokens, names, name)) for name in self.classes}
            self._fitted[side] = classifier, limits
        return self._fitted[side]

    def _tokens(self, pictures: Sequence[UInt8Array]) -> FloatArray:
        """Class tokens, float32 (n, d), unit vectors."""
        layers = [self.transformer.depth]
        found = [self.transformer.tokens([each], layers, _INPUT_SIDE).class_token for each in pictures]
        return np.concatenate(found)


def open_examples(folder: str | Path) -> ExampleNamer:
    """Read a folder of example pictures: a folder for each class, named after it.

    What can't be read is left out and named in the notes.

    Raises
    ------
    DataError : no folder, no class, a class name that is none, or too few pictures to say what is unlike.
    DetectorError : DINOv2 is not on this machine, or can't be loaded.
    """
    top = Path(folder)
    if not top.is_dir():
        raise DataError(f'The examples "{one_line(top)}" are no folder.', _HOW)
    notes: list[str] = []
    pictures: list[ExamplePicture] = []
    for entry in sorted(visible_entries(top)):
        if entry.is_dir():
            pictures += _read_class(entry, notes)
        elif entry.suffix.lower() in IMAGE_SUFFIXES:
            notes.append(f"{one_line(entry.name)} lies in no class folder and was left out.")
    if not pictures:
        raise DataError(" ".join([f'There are no examples in "{one_line(top)}".', *notes[:3]]), _HOW)
    _check_ambiguous(pictures)
    counts = Counter(picture.name for picture in pictures)
    if sum(count for count in counts.values() if count > 1) < MIN_COMPARED:
        raise DataError(
            f'The examples in "{one_line(top)}" are too few to tell what is unlike them.',
            f"Take {MIN_COMPARED} pictures or more, each of another thing; five of each class are better.",
        )
    notes += [
        f"There is a single example of {name}: how much its pictures differ is taken from the other classes."
        for name, count in counts.items()
        if count == 1
    ]
    return ExampleNamer(str(folder), tuple(pictures), tuple(notes), _open_transformer())


def _read_class(folder: Path, notes: list[str]) -> list[ExamplePicture]:
    name = " ".join(folder.name.replace("_", " ").split())
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise DataError(
            f'The folder "{one_line(folder.name)}" is no name of a class.',
            f"Use letters, digits, spaces and hyphens, at most {MAX_NAME_LENGTH}: it stands in sentences.",
        )
    found: dict[str, ExamplePicture] = {}
    for file in sorted(visible_entries(folder)):
        if file.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        label = f"{one_line(folder.name)}/{one_line(file.name)}"
        try:
            media = load_image(file)
        except MediaError as error:
            notes.append(f"Left out: {error}")
            continue
        if min(media.pixels.shape[:2]) < MIN_SIDE:
            notes.append(f"{label} has a side of less than {MIN_SIDE} pixels and was left out.")
        elif (digest := media.sha256 or "") in found:
            notes.append(f"{label} is the same picture as {found[digest].id} and was left out.")
        else:
            found[digest] = ExamplePicture(label, name, _reduced(media.pixels, _MAX_SIDE), digest)
    if not found:
        notes.append(f"There is no usable picture in {one_line(folder.name)}: that class is left out.")
    return list(found.values())


def _check_ambiguous(pictures: Sequence[ExamplePicture]) -> None:
    owners: dict[str, ExamplePicture] = {}
    for picture in pictures:
        other = owners.setdefault(picture.digest, picture)
        if other.name != picture.name:
            raise DataError(
                f"{other.id} and {picture.id} are the same picture in two classes.", "Take one of them away."
            )


def _open_transformer() -> VisionTransformer:
    location = find_dinov2()
    if location is None:
        carrier = CARRIER.replace(" ", "==")
        raise DetectorError(
            "Naming objects by examples needs DINOv2, which is not on this machine.",
            f"Run pip install {carrier}, or hf download {PUBLISHED_NAME}",
        )
    return open_shared(location, str(resolve_device()))


def _class_limit(tokens: FloatArray, names: Sequence[str], name: str) -> float:
    """The limit of one class: of its own pictures, each left out in turn, against those of other classes."""
    similar = tokens @ tokens.T
    np.fill_diagonal(similar, -np.inf)
    mine = np.array([each == name for each in names])
    nearest = similar[:, mine].max(1)
    return similarity_limit(nearest[mine & np.isfinite(nearest)], nearest[~mine])


def _size_step(side: int) -> int:
    """The size at which examples are compared with an object of a size: one of few."""
    steps = math.floor(math.log(max(side, MIN_LOOK_SIDE) / MIN_LOOK_SIDE, _SIZE_STEP) + 0.5)
    return min(round(MIN_LOOK_SIDE * _SIZE_STEP**steps), _MAX_SIDE)


def _reduced(pixels: UInt8Array, side: int) -> UInt8Array:
    """A picture, uint8 (h, w, 3), with its longer side at most ``side`` pixels."""
    import cv2

    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    target = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, target, interpolation=cv2.INTER_AREA), np.uint8)
