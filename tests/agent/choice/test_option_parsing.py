from __future__ import annotations

import pytest

from anomalist.agent.choice.option_parsing import Term, normalised_name, parse_terms


def told(text: str, names: tuple[str, ...] = (), *, counting: bool = False) -> list[str]:
    """Terms as they are written in tables: "place upper left", "not label anomalous"."""
    return [
        f"{'not ' if term.negated else ''}{term.aspect} {'/'.join(sorted(term.values))}".strip()
        for term in parse_terms(text, names, counting=counting)
    ]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("upper left", "upper left"),
        ("Top-left corner", "upper left"),
        ("in the top right", "upper right"),
        ("right upper part", "upper right"),
        ("at the bottom", "bottom"),
        ("lower middle", "bottom"),
        ("in the middle of the top", "top"),
        ("the centre", "centre"),
        ("Center", "centre"),
        ("left of the centre", "left"),
        ("centre right", "right"),
        ("bottom left of the picture", "lower left"),
        ("Near the lower-right corner.", "lower right"),
    ],
)
def test_place_words_name_a_cell(text: str, cell: str) -> None:
    assert told(text) == [f"place {cell}"]


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("left half", {"upper left", "left", "lower left"}),
        ("on the right-hand side", {"upper right", "right", "lower right"}),
        ("in the upper third", {"upper left", "top", "upper right"}),
    ],
)
def test_words_for_a_whole_side_name_all_its_cells(text: str, cells: set[str]) -> None:
    (term,) = parse_terms(text)
    assert (term.aspect, set(term.values)) == ("place", cells)


def test_one_word_for_a_side_nearly_fits_its_corners() -> None:
    (term,) = parse_terms("on the left")
    assert term.values == {"left"}
    assert term.near_values == {"upper left", "lower left"}


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        # yes and no
        ("Yes", ["answer yes"]),
        ("No.", ["answer no"]),
        ("Yes, there is a defect", ["answer yes", "label anomalous"]),
        ("No, there is no defect", ["answer no", "not label anomalous"]),
        ("No it is fine", ["answer no", "label normal"]),
        ("No: nothing wrong", ["answer no", "not label anomalous"]),
        ("Yes, at the lower left", ["answer yes", "place lower left"]),
        ("No defect", ["not label anomalous"]),
        # denials
        ("not normal", ["not label normal"]),
        ("isn't damaged", ["not label anomalous"]),
        ("without any flaws", ["not label anomalous"]),
        ("free of defects", ["not label anomalous"]),
        ("not free of defects", ["label anomalous"]),
        ("defect-free", ["label normal"]),
        ("nothing", ["label normal"]),
        ("nothing unusual", ["not label anomalous"]),
        ("neither scratched nor damaged", ["not label anomalous"]),
        ("no scratches, dents or stains",
         ["not kind line", "not kind missing material/spot", "not kind discolouration/patch"]),
        ("not on the left, on the right", ["not place left", "place right"]),
        ("not round but elongated", ["not form compact", "form line"]),
        ("a line rather than a spot", ["form line", "not kind spot"]),
        # none of these
        ("None of these", ["others none"]),
        ("none of the above", ["others none"]),
        ("All of the above", ["others all"]),
        ("Can't tell", ["unsaid unsaid"]),
        ("not sure", ["unsaid unsaid"]),
        # form, size, tone, colour, texture, direction, change
        ("a thin dark line", ["form line", "tone darker"]),
        ("a small bright spot", ["size small", "tone lighter", "kind spot"]),
        ("large round area", ["size large", "form compact"]),
        ("it runs diagonally", ["direction falling/rising"]),
        ("reddish and rough", ["colour redder", "texture rougher"]),
        ("a missing part", ["change missing"]),
        ("scratches", ["kind line"]),
        ("a minor one", ["severity minor"]),
        # edges
        ("at the left edge", ["edge left"]),
        ("touching the upper right border", ["edge right/top"]),
        ("along the edge", ["edge"]),
        ("not at the edge", ["not edge"]),
        # counts
        ("two defects", ["count 2", "label anomalous"]),
        ("3 small holes", ["count 3", "size small", "kind missing material/spot"]),
        # nothing that could be measured
        ("aluminium", []),
        ("3", []),
        ("", []),
        ("...", []),
    ],
)  # fmt: skip
def test_what_texts_say(text: str, terms: list[str]) -> None:
    assert told(text) == terms


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("3 or more", 3, 99),
        ("three or fewer", 0, 3),
        ("4+", 4, 99),
        ("1 to 3", 1, 3),
        ("2-4", 2, 4),
        ("5 – 8 defects", 5, 8),
        ("between two and four", 2, 4),
        ("more than 5", 6, 99),
    ],
)
def test_a_range_counts_all_of_its_numbers(text: str, low: int, high: int) -> None:
    term = parse_terms(text, counting=True)[0]
    assert (term.aspect, sorted(map(int, term.values))) == ("count", list(range(low, high + 1)))


def test_bare_numbers_count_where_that_was_asked() -> None:
    assert told("three", counting=True) == ["count 3"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rolled-in scale", "rolled-in_scale"),
        ("Rolled in scales", "rolled-in_scale"),
        ("a mouse bite", "mousebite"),
        ("mousebites", "mousebite"),
        ("scratch", "scratches"),
        ("It looks like a crack.", "crack"),
    ],
)
def test_labelled_kinds_are_found_however_they_are_written(text: str, name: str) -> None:
    assert told(text, ("rolled-in_scale", "mousebite", "scratches", "crack")) == [f"named {name}"]


def test_labelled_kinds_can_be_denied() -> None:
    assert parse_terms("not a crack", ("crack",)) == (Term("named", frozenset({"crack"}), negated=True),)


@pytest.mark.parametrize("text", ["é" * 50_000, "no " * 16_000, "upper left of the " * 2_700, "裂纹在左边"])
def test_texts_of_any_kind_are_read(text: str) -> None:
    parse_terms(text, ("crack",))


def test_names_are_compared_without_spaces_and_plurals() -> None:
    assert normalised_name("Mouse-bites") == normalised_name("mousebite") == "mousebite"


def test_numbers_with_bounds() -> None:
    (more,) = (term for term in parse_terms("Is there more than one defect?") if term.aspect == "count")
    assert "1" not in more.values and {"2", "7"} <= more.values
    (most,) = (term for term in parse_terms("at most two holes") if term.aspect == "count")
    assert most.values == {"0", "1", "2"}
    assert not [term for term in parse_terms("more than 2 times as dark") if term.aspect == "count"]
