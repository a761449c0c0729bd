"""Documents turned into tokens and batches of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from anomalist.agent.builtin.architecture import IMAGE_TOKENS, SIDE
from anomalist.agent.builtin.documents import IMAGE, Document, Piece
from anomalist.agent.builtin.showing import CELLS
from anomalist.types import UInt8Array
from anomalist.vision.drawn.facts import DEFECT_KINDS, Direction, Facts, Hue, Shape, Tone

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Ints = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]

Labels = npt.NDArray[np.int8]

ROUNDED = 64
MEANING = 3
"""Tokens of an option that its meaning is taken from."""
_UNSAID = [-1] * MEANING
LABELS: Mapping[str, tuple[object, ...]] = {
    "kind": DEFECT_KINDS,
    "tone": get_args(Tone),
    "shape": get_args(Shape),
    "direction": get_args(Direction),
    "hue": get_args(Hue),
    "count": (1, 2, 3, 4, 5),
    "faint": (False, True),
}
"""Facts that the eye learns to tell by itself, and their values."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """A document in tokens.

    Parameters
    ----------
    ids, positions, branches : int32 (length,). The beginning is branch 0.
    own : bool (length,), what the model should have written.
    means : int32 (length, MEANING), at an option's letter the first tokens of what the option says, else −1.
    pictures : uint8 (n, SIDE, SIDE, 3).
    grids : uint8 (n, rows, columns).
    labels : int8 (n, len(LABELS)), see `labelled`.
    """

    ids: Ints
    positions: Ints
    branches: Ints
    own: Flags
    means: Ints
    pictures: UInt8Array
    grids: UInt8Array
    labels: Labels


@dataclass(frozen=True, eq=False)
class Batch:
    """Documents side by side, padded behind to one length.

    Parameters
    ----------
    ids, positions, branches : int32 (rows, length); the branch of padding is −1.
    own : bool (rows, length).
    means : int32 (rows, length, MEANING).
    pictures : uint8 (n, SIDE, SIDE, 3), of all rows in their order.
    grids : uint8 (n, rows, columns).
    labels : int8 (n, len(LABELS)).
    following : number of the document to go on from after this batch.
    """

    ids: Ints
    positions: Ints
    branches: Ints
    own: Flags
    means: Ints
    pictures: UInt8Array
    grids: UInt8Array
    labels: Labels
    following: int = 0

    def sees(self) -> Flags:
        """Which token (row) sees which (column), bool (rows, length, length).

        A token sees what comes before it in its own branch and in the beginning.
        """
        of, to = self.branches[:, :, None], self.branches[:, None]
        return np.tril((to == 0) & (of >= 0) | (of == to))


_DIRECTION = list(LABELS).index("direction")
_SWAPPED = [get_args(Direction).index(name) for name in ("horizontal", "vertical", "falling", "rising")]
"""What the directions become in a mirror, in their order."""


def scaled(picture: UInt8Array) -> UInt8Array:
    """Bring a picture to the size that the model sees, exactly as its processor does."""
    from PIL import Image

    small = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(small, np.uint8)


def labelled(facts: Facts | None) -> Labels:
    """Number the facts of a picture by `LABELS`, int8 (len(LABELS),); −1 where one is not known."""
    return np.array(
        [
            values.index(value) if (value := getattr(facts, name, None)) in values else -1
            for name, values in LABELS.items()
        ],
        np.int8,
    )


def looked_at(document: Document) -> list[Tokens]:
    """Take the pictures of a document without its words: as they are, and mirrored in three ways.

    Both halves of a closer look are mirrored each by itself.
    """
    none = np.zeros(0, np.int32)
    pictures, grids, labels = _pictures(document)
    closer = np.array([facts is not None for facts in document.facts])
    taken = []
    for upside_down in (False, True):
        for sideways in (False, True):
            seen, cells = (_mirrored(each, closer, upside_down, sideways) for each in (pictures, grids))
            told = labels.copy()
            if upside_down != sideways:
                told[:, _DIRECTION] = np.append(_SWAPPED, -1)[labels[:, _DIRECTION]]
            taken.append(
                Tokens(none, none, none, none.astype(bool), none.reshape(0, MEANING), seen, cells, told)
            )
    return taken


def _mirrored(array: UInt8Array, closer: Flags, upside_down: bool, sideways: bool) -> UInt8Array:
    """Mirror pictures or grids, uint8 (n, rows, columns, …), the halves of closer looks apart."""
    array = array[:, ::-1] if upside_down else array
    if not sideways:
        return np.ascontiguousarray(array)
    half = array.shape[2] // 2
    halves = np.concatenate([array[:, :, :half][:, :, ::-1], array[:, :, half:][:, :, ::-1]], 2)
    apart = closer.reshape(-1, *(1,) * (array.ndim - 1))
    return np.where(apart, halves, array[:, :, ::-1])


def tokenised(tokenizer: PreTrainedTokenizerFast, document: Document) -> Tokens:
    """Turn a document into tokens; every picture takes IMAGE_TOKENS."""
    ids, own, means = _pieces(tokenizer, document.beginning)
    parts = [(ids, own, means, 0, 0)]
    for number, branch in enumerate(document.branches, start=1):
        parts.append((*_pieces(tokenizer, branch), number, len(ids)))
    pictures, grids, labels = _pictures(document)
    lengths = [len(part[0]) for part in parts]
    return Tokens(
        ids=np.concatenate([part[0] for part in parts]),
        positions=np.concatenate([part[4] + np.arange(len(part[0]), dtype=np.int32) for part in parts]),
        branches=np.repeat(np.array([part[3] for part in parts], np.int32), lengths),
        own=np.concatenate([part[1] for part in parts]),
        means=np.concatenate([part[2] for part in parts]),
        pictures=pictures,
        grids=grids,
        labels=labels,
    )


def _pictures(document: Document) -> tuple[UInt8Array, UInt8Array, Labels]:
    if not document.pictures:
        return (
            np.zeros((0, SIDE, SIDE, 3), np.uint8),
            np.zeros((0, CELLS, CELLS), np.uint8),
            np.zeros((0, len(LABELS)), np.int8),
        )
    return (
        np.stack([scaled(picture) for picture in document.pictures]),
        np.stack(document.grids),
        np.stack([labelled(facts) for facts in document.facts]),
    )


def side_by_side(documents: Sequence[Tokens], following: int = 0) -> Batch:
    """Pad documents to a multiple of ROUNDED tokens, so that few lengths occur, and stack them."""
    longest = max(len(document.ids) for document in documents)
    length = -(-longest // ROUNDED) * ROUNDED

    def rows(name: str, fill: int, *size: int) -> Ints:
        stacked = np.full((len(documents), length, *size), fill, np.int32)
        for row, document in zip(stacked, documents, strict=True):
            values = getattr(document, name)
            row[: len(values)] = values
        return stacked

    return Batch(
        ids=rows("ids", 0),
        positions=rows("positions", 0),
        branches=rows("branches", -1),
        own=rows("own", 0).astype(bool),
        means=rows("means", -1, MEANING),
        pictures=np.concatenate([document.pictures for document in documents]),
        grids=np.concatenate([document.grids for document in documents]),
        labels=np.concatenate([document.labels for document in documents]),
        following=following,
    )


def _pieces(tokenizer: PreTrainedTokenizerFast, pieces: tuple[Piece, ...]) -> tuple[Ints, Flags, Ints]:
    ids: list[int] = []
    own: list[bool] = []
    means: list[list[int]] = []
    for piece in pieces:
        text = piece.text.replace(IMAGE, IMAGE * IMAGE_TOKENS)
        tokens = tokenizer.encode(text, add_special_tokens=False)
        said = tokenizer.encode(f" {piece.means}", add_special_tokens=False) if piece.means else []
        ids += tokens
        own += [piece.own] * len(tokens)
        means += [(said + _UNSAID)[:MEANING], *[_UNSAID] * (len(tokens) - 1)]
    shape = (len(ids), MEANING)
    return np.asarray(ids, np.int32), np.asarray(own, bool), np.asarray(means, np.int32).reshape(shape)
