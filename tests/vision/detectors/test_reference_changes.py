from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from anomalist.types.common import BoolArray, Box, FloatArray, UInt8Array
from anomalist.vision.detectors.reference import LabelledChanges, change_direction, describe_change
from anomalist.vision.difference import AlignedPair, split_figure
from tests.boards import board, spot, textured


def pair_of(reference: UInt8Array, picture: UInt8Array) -> AlignedPair:
    first, second = (p[..., 0].astype(np.float32) for p in (reference, picture))
    return split_figure(first, second, np.ones(first.shape, dtype=np.bool_))


def change_in(reference: UInt8Array, picture: UInt8Array) -> tuple[AlignedPair, BoolArray, Box]:
    """Everything that differs, as one change."""
    rows, columns = np.nonzero(reference[..., 0] != picture[..., 0])
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    inside = (reference != picture)[box[1] : box[3], box[0] : box[2], 0]
    return pair_of(reference, picture), inside, box


def painted(draw: Callable[[UInt8Array, int], None], structure: bool, dark: bool = True) -> UInt8Array:
    """A board on which something was drawn in the tone of structure or of the ground."""
    picture = board(dark)
    draw(picture, (40 if structure else 220) if dark else (215 if structure else 35))
    return picture


def disc(x: int, y: int, radius: int) -> Callable[[UInt8Array, int], None]:
    def draw(picture: UInt8Array, grey: int) -> None:
        picture[:] = spot(picture, (x, y), radius, grey)

    return draw


def bar(x0: int, y0: int, x1: int, y1: int) -> Callable[[UInt8Array, int], None]:
    def draw(picture: UInt8Array, grey: int) -> None:
        picture[y0:y1, x0:x1] = grey

    return draw


# Tracks of the board are 8 wide and run down x = 40, 100, 160; its plate is (210, 130) to (290, 200).
KINDS: dict[str, list[tuple[Callable[[UInt8Array, int], None], bool]]] = {
    "cut": [(bar(30, 70, 50, 78), False), (bar(90, 100, 110, 112), False), (bar(230, 30, 237, 50), False)],
    "bridge": [(bar(40, 60, 100, 64), True), (bar(100, 90, 160, 97), True), (bar(160, 38, 195, 42), True)],
    "bite": [(disc(36, 90, 4), False), (disc(164, 110, 4), False), (disc(250, 129, 7), False)],
    "spur": [(bar(44, 100, 56, 105), True), (bar(90, 50, 97, 55), True), (disc(250, 205, 8), True)],
    "hole": [(disc(250, 165, 6), False), (disc(230, 150, 9), False), (disc(40, 170, 4), False)],
    "island": [(disc(70, 40, 5), True), (disc(130, 210, 8), True), (bar(60, 200, 72, 206), True)],
}
GONE = ("cut", "bite", "hole")


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize(("kind", "number"), [(kind, i) for kind in KINDS for i in range(3)])
def test_on_boards_of_either_polarity_what_is_missing_and_what_is_extra_is_told(
    kind: str, number: int, dark: bool
) -> None:
    draw, structure = KINDS[kind][number]
    change = change_in(board(dark), painted(draw, structure, dark))
    assert change_direction(*change) == ("missing" if kind in GONE else "extra")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(3))
def test_a_change_is_like_those_of_its_kind_and_unlike_others(kind: str, number: int) -> None:
    vectors = {
        (name, i): describe_change(*change_in(board(), painted(*case)))
        for name, cases in KINDS.items()
        for i, case in enumerate(cases)
    }
    probe = vectors.pop((kind, number))
    known = labelled(vectors)
    found = known.classify(probe)
    assert found.name == kind
    assert found.similarity > 0.9
    assert len(found.cases) == 3 and found.cases[0].startswith(kind)
    strangers = labelled({key: vector for key, vector in vectors.items() if key[0] != kind})
    assert strangers.classify(probe).name is None


def labelled(vectors: dict[tuple[str, int], FloatArray]) -> LabelledChanges:
    return LabelledChanges(
        np.stack(list(vectors.values())),
        tuple(name for name, _ in vectors),
        tuple(f"{name}-{i}" for name, i in vectors),
    )


def test_a_descriptor_does_not_depend_on_polarity_or_on_turning() -> None:
    draw, structure = KINDS["bridge"][0]
    plain = describe_change(*change_in(board(), painted(draw, structure)))
    inverted = describe_change(*change_in(board(False), painted(draw, structure, dark=False)))
    turned = [np.ascontiguousarray(np.rot90(p)) for p in (board(), painted(draw, structure))]
    assert inverted == pytest.approx(plain, abs=0.05)
    assert describe_change(*change_in(turned[0], turned[1])) == pytest.approx(plain, abs=1e-5)
    assert plain.dtype == np.float32 and np.linalg.norm(plain) == pytest.approx(1)


@pytest.mark.parametrize("grey", [10, 240])
def test_without_two_tones_what_stands_out_from_its_surroundings_is_structure(grey: int) -> None:
    plain = textured()
    marked = spot(plain, (80, 60), 8, grey)
    assert change_direction(*change_in(plain, marked)) == "extra"
    assert change_direction(*change_in(marked, plain)) == "missing"


def test_what_is_not_clear_is_changed() -> None:
    plain = textured()
    assert (
        change_direction(*change_in(spot(plain, (80, 60), 8, 10), spot(plain, (80, 60), 8, 240))) == "changed"
    )


def test_the_digest_of_labelled_changes_covers_all_of_them() -> None:
    vectors = np.eye(3, dtype=np.float32)
    known = LabelledChanges(vectors, ("a", "b", "c"), ("1", "2", "3"))
    others = [
        LabelledChanges(vectors * 2, ("a", "b", "c"), ("1", "2", "3")),
        LabelledChanges(vectors, ("a", "b", "d"), ("1", "2", "3")),
        LabelledChanges(vectors, ("a", "b", "c"), ("1", "2", "4")),
        LabelledChanges(vectors, ("a", "b", "c"), ("1", "2", "3"), "dark"),
    ]
    assert len({known.digest, *(other.digest for other in others)}) == 5
