"""Layouts of data sets: what must be there, in lines; a folder is recognised by having all of them.

A folder in no known layout is told the nearest one and the line that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from anomalist.errors import DataError
from anomalist.eval.image_datasets import GOOD, ImageDataset, LabelledImage, Split, split_dataset
from anomalist.vision.media.images import IMAGE_SUFFIXES


@dataclass(frozen=True)
class LabelledSet:
    """The labelled pictures of one product.

    Parameters
    ----------
    name : of the product.
    test : labelled pictures to test on; of a set without an official split, all of its pictures.
    train : normal pictures to learn from, by the official split; None where there is no such split.
    grouped : whether ``group`` says which pictures show one object.
    notes : what should be known about the set, one sentence each.
    unmatched : masks that belong to no picture.
    """

    name: str
    test: tuple[LabelledImage, ...]
    train: tuple[LabelledImage, ...] | None = None
    grouped: bool = False
    notes: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    def split(self, train_normals: int | None, seed: int) -> Split:
        """What is learned from, and what is tested on.

        Parameters
        ----------
        train_normals : normals to learn from: of the official ones at most, drawn by the seed; or, without an
            official split, at least. None takes all official ones.
        seed : of the drawing.

        Raises
        ------
        DataError : no official split and no number, or no good picture is left to test on.
        """
        if self.train is None:
            if train_normals is None:
                raise DataError(
                    f"{self.name} has no official split.", "Say how many good pictures to learn from."
                )
            return split_dataset(ImageDataset(self.test, self.grouped, self.unmatched), train_normals, seed)
        train = self.train
        if train_normals is not None and train_normals < len(train):
            drawn = np.random.default_rng(seed).permutation(len(train))[:train_normals]
            train = tuple(train[at] for at in sorted(drawn))
        return Split(train, self.test, self.grouped, self.unmatched)


@dataclass(frozen=True)
class BrokenSet:
    """A product that can't be used, and why; the others of its data set can."""

    name: str
    error: DataError


def attempt(name: str, read: Callable[[], LabelledSet]) -> LabelledSet | BrokenSet:
    """The labelled pictures of one product of several, or why they can't be used."""
    try:
        return read()
    except DataError as error:
        return BrokenSet(name, error)


Line = tuple[str, str]
"""A glob pattern below the folder, or several separated by "|", and how it is told to people."""


ReadT = TypeVar("ReadT", covariant=True)


@dataclass(frozen=True)
class Layout(Generic[ReadT]):
    """One layout.

    Parameters
    ----------
    name : of the data sets that are distributed so.
    lines : what must be there.
    read : reads a folder that has all of it.
    """

    name: str
    lines: tuple[Line, ...]
    read: Callable[[Path], ReadT]

    def missing(self, folder: Path) -> list[str]:
        """The lines that a folder doesn't have."""
        return [said for patterns, said in self.lines if not _has_any(folder, patterns)]


def _has_any(folder: Path, patterns: str) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns.split("|"))


def recognise(folder: Path, layouts: Sequence[Layout[ReadT]]) -> Layout[ReadT]:
    """The first layout of which a folder has all lines.

    Raises
    ------
    DataError : it is no folder, or in none of the layouts; the nearest one and what it lacks are named.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", "Name the folder of a data set.")
    lacking = [(layout, layout.missing(folder)) for layout in layouts]
    found = next((layout for layout, missing in lacking if not missing), None)
    if found is not None:
        return found
    nearest, missing = min(lacking, key=lambda each: len(each[1]) / len(each[0].lines))
    if len(missing) == len(nearest.lines):
        known = ", ".join(layout.name for layout in layouts)
        raise DataError(f"{folder} is in no known layout.", f"Known are {known}.")
    raise DataError(
        f"{folder} looks like {nearest.name}, but it has no {missing[0]}.",
        f"Expected are {', '.join(said for _, said in nearest.lines)}.",
    )


def pictures_in(folder: Path) -> list[Path]:
    """The pictures directly in a folder, by name; hidden files and other suffixes are left out."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def labelled(
    root: Path,
    paths: Iterable[Path],
    defect: str = GOOD,
    masks: Callable[[Path], Path | None] = lambda _: None,
) -> Iterator[LabelledImage]:
    """Pictures of one kind, named relative to ``root``; each is a group of its own."""
    for path in paths:
        name = path.relative_to(root).as_posix()
        yield LabelledImage(path, name, defect, None if defect == GOOD else masks(path), name)


def with_group(image: LabelledImage, group: str) -> LabelledImage:
    """The same picture as one of several that show one object."""
    return replace(image, group=group)


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in a folder, by name, without hidden ones; none where it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def products(folder: Path, *markers: str) -> list[Path]:
    """The folder itself, if it has one of the markers, or its folders that have one, by name."""

    def marked(place: Path) -> bool:
        return any((place / marker).exists() for marker in markers)

    return [folder] if marked(folder) else [place for place in folders_in(folder) if marked(place)]
