from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from anomalist.cli.app import app
from anomalist.errors import DataError
from anomalist.eval import multiple_choice_sources
from anomalist.eval.detection import Contender
from anomalist.eval.image_datasets import LabelledImage
from anomalist.eval.multiple_choice import (
    QuestionsResult,
    evaluate_questions,
    longest_option_credits,
    text_prior_credits,
)
from anomalist.eval.multiple_choice_questions import BenchmarkQuestion
from anomalist.eval.multiple_choice_sources import QuestionSetup, sample_labelled_cases
from tests.boards import board, noisy, spot
from tests.eval.sources import DarknessSource
from tests.pictures import SIDE, tile, write, write_tiles

SETUP = QuestionSetup(cases=2, train_normals=4, effort="fast", seed=0)


def item(kind: str, number: int, group: str) -> LabelledImage:
    name = f"{kind}/{number}.png"
    return LabelledImage(Path(name), name, kind, None, group)


def write_defects(root: Path) -> None:
    """Good tiles, and holes at the upper left and bars at the lower right, two pictures a group."""
    rows = [f"good/{path.name},g{i // 2}" for i, path in enumerate(write_tiles(root / "good", 12))]
    for number in range(8):
        for kind, box in (("hole", (4, 4, 14, 14)), ("bar", (46, 40, 50, 63))):
            picture, mask = tile(50 + number), np.zeros((SIDE, SIDE), np.uint8)
            x0, y0, x1, y1 = box
            picture[y0:y1, x0:x1], mask[y0:y1, x0:x1] = 5, 255
            write(root / kind / f"{number}.png", picture)
            write(root / "ground_truth" / kind / f"{number}.png", mask)
            rows.append(f"{kind}/{number}.png,{kind}{number // 2}")
    (root / "groups.csv").write_text("\n".join(["image,group", *rows]))


def write_boards(root: Path) -> None:
    """Pairs with one defect each: a hole in the plate or a spot on the ground."""
    rows = ["pair,x1,y1,x2,y2,type"]
    for group in ("00041", "44000"):
        for number in range(2):
            for kind, place, grey in (("hole", (245, 165), 220), ("spot", (70, 60), 40)):
                name = f"{group}{kind}{number}"
                x, y = place
                rows.append(f"{name},{x - 12},{y - 12},{x + 12},{y + 12},{kind}")
                for part, picture in (("temp", board()), ("test", spot(board(), place, 7 + number, grey))):
                    write(root / f"{name}_{part}.png", noisy(picture, 2, number)).rename(
                        root / f"{name}_{part}.jpg"
                    )
    (root / "boxes.csv").write_text("\n".join(rows))


def write_steel(root: Path) -> None:
    """Six pictures each of stripes one way and the other."""
    for number in range(6):
        rng = np.random.default_rng(number)
        for kind, axis in (("across", 0), ("down-the_side", 1)):
            wave = 60 * np.sin(np.arange(SIDE) / 2 + rng.uniform(0, 6))
            grey = 120 + np.repeat(np.expand_dims(wave, axis), SIDE, axis) + rng.normal(0, 5, (SIDE, SIDE))
            write(root / "images" / f"{kind}_{number}.png", np.repeat(grey[..., None], 3, 2).astype(np.uint8))


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> QuestionsResult:
    """Of all three sets; tiles are looked at by their darkness, without any calibration."""
    root = tmp_path_factory.mktemp("data")
    write_defects(root / "mtd")
    write_boards(root / "deeppcb")
    write_steel(root / "neu")
    with pytest.MonkeyPatch.context() as patched:
        making = Contender("darkness", lambda *_: DarknessSource(), "fast")
        patched.setattr(multiple_choice_sources, "contenders", lambda *_: [making])
        return evaluate_questions(root, SETUP)


def test_every_subtask_of_every_set_has_its_figures(result: QuestionsResult) -> None:
    asked = {(row.data, row.subtask): row for row in result.results}
    assert set(asked) == {
        ("mtd", "detection"),
        ("mtd", "place"),
        ("mtd", "kind"),
        ("deeppcb", "detection"),
        ("deeppcb", "place"),
        ("deeppcb", "kind"),
        ("neu", "kind"),
    }
    assert result.skipped == ()
    for row in result.results:
        assert 0 <= row.value <= 1
        assert sum(row.letters.values()) == row.n
        assert max(row.letters.values()) - min(row.letters.values()) <= 1
    assert asked["deeppcb", "detection"].n == 8
    assert asked["deeppcb", "detection"].value == 1
    assert asked["deeppcb", "place"].value == 1
    assert asked["deeppcb", "kind"].value == 1
    assert asked["deeppcb", "kind"].by_truth == {"hole": 1.0, "spot": 1.0}
    assert asked["mtd", "place"].value == 1
    assert asked["neu", "kind"].value == 1
    assert asked["neu", "kind"].chance == 0.5


def test_what_cannot_be_told_counts_as_a_guess(result: QuestionsResult) -> None:
    (row,) = (row for row in result.results if (row.data, row.subtask) == ("mtd", "detection"))
    assert (row.value, row.not_told) == (0.5, 1.0)
    assert row.measure == "balanced accuracy"


def test_cases_are_of_other_tiles_than_those_asked_about(tmp_path: Path) -> None:
    write_defects(tmp_path / "mtd")
    prepared = multiple_choice_sources.tile_questions(tmp_path / "mtd", SETUP)
    kinds = Counter(q.truth for q in prepared.questions if q.subtask == "kind")
    assert 0 < kinds["hole"] <= 6 and 0 < kinds["bar"] <= 6
    assert Counter(q.subtask for q in prepared.questions)["place"] > sum(kinds.values())


def test_what_is_learned_from_is_not_asked_about(tmp_path: Path) -> None:
    write_boards(tmp_path / "deeppcb")
    prepared = multiple_choice_sources.board_questions(tmp_path / "deeppcb", SETUP)
    assert {question.group[:5] for question in prepared.questions} == {"44000"}


def test_cases_come_from_as_many_objects_as_possible_and_some_first() -> None:
    items = [item("crack", n, f"g{n // 4}") for n in range(12)] + [item("fray", n, "f") for n in range(2)]
    spread = sample_labelled_cases(items, 3, 0, lambda _: True)
    assert len({each.group for each in spread if each.defect == "crack"}) == 3
    assert len([each for each in spread if each.defect == "fray"]) == 2
    first = sample_labelled_cases(items, 6, 0, lambda each: each.group == "g2")
    assert [each.group for each in first if each.defect == "crack"][:4] == ["g2"] * 4
    assert len({each.group for each in first if each.defect == "crack"}) == 2


def test_a_folder_without_any_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of mtd"):
        evaluate_questions(tmp_path, SETUP)


@pytest.mark.parametrize("asked", [["--json"], []])
def test_the_command_prints_json_or_a_table(tmp_path: Path, asked: list[str]) -> None:
    write_steel(tmp_path / "neu")
    done = CliRunner().invoke(app, ["eval", "questions", "--data", str(tmp_path), "--cases", "2", *asked])
    assert done.exit_code == 0, done.output
    if asked:
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["results"][0]["n"] == 8
        assert found["skipped"] == ["mtd", "deeppcb"]
    else:
        assert "neu" in done.stdout and "kind" in done.stdout


def question(
    group: str, right: int, *meanings: str, options: tuple[str, ...] | None = None
) -> BenchmarkQuestion:
    return BenchmarkQuestion("d", "kind", group, group, "Which?", options or meanings, right, meanings)


def test_what_is_common_elsewhere_is_taken() -> None:
    questions = [question(f"g{i}", 0, "crack", "fray") for i in range(9)]
    questions.append(question("g9", 1, "crack", "fray"))
    assert text_prior_credits(questions) == [1.0] * 9 + [0.0]


def test_nothing_is_learned_from_questions_about_the_same_object() -> None:
    questions = [question("a", 0, "crack", "fray")] * 5 + [question("b", 1, "crack", "fray")] * 5
    assert text_prior_credits(questions) == [0.0] * 10


def test_ties_share_the_credit() -> None:
    assert text_prior_credits([question("a", 0, "crack", "fray")]) == [0.5]
    same = question("a", 0, "crack", "fray", options=("abcd", "efgh"))
    assert longest_option_credits([same]) == [0.5]


@pytest.mark.parametrize(("options", "credit"), [(("long one", "one"), 1.0), (("one", "long one"), 0.0)])
def test_the_longest_option_is_taken(options: tuple[str, ...], credit: float) -> None:
    assert longest_option_credits([question("a", 0, "x", "y", options=options)]) == [credit]
