from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.messages import AIMessageChunk, BaseMessage
from pydantic import Field
from rich.console import Console
from typer.testing import CliRunner

from anomalist.agent.models.scripted import StreamedReplyModel
from anomalist.cli.app import app
from anomalist.errors import DataError, ModelError
from anomalist.eval.mmad import answering
from anomalist.eval.mmad.answering import MmadSetup
from anomalist.eval.mmad.benchmark import evaluate_mmad
from anomalist.eval.mmad.questions import DETECTION
from anomalist.eval.mmad.tables import render
from tests.eval.mmad.miniature import save, write_mmad
from tests.pictures import write


class Lettered(StreamedReplyModel):
    """Takes the option whose text it is told to like, with option probabilities; counts its calls."""

    likes: tuple[str, ...] = ("Yes", "Upper left", "A tile")
    asked: list[str] = Field(default_factory=list)
    fails_after: int = 10_000

    @property
    def _llm_type(self) -> str:
        return "lettered"

    def _letter(self, messages: Sequence[BaseMessage]) -> str:
        text = "".join(block.get("text", "") for block in messages[-1].content_blocks)
        self.asked.append(text)
        if len(self.asked) > self.fails_after:
            raise ModelError("The server is gone.")
        lines = [line for line in text.splitlines() if line[1:3] == ". "]
        return next((line[0] for line in lines if line[3:] in self.likes), "A")

    def _pieces(self, messages: list[BaseMessage]) -> list[AIMessageChunk]:
        return [AIMessageChunk(content=f"Answer: {self._letter(messages)}.")]

    def option_logprobs(
        self, messages_list: Sequence[Sequence[BaseMessage]], letters: Sequence[str]
    ) -> list[list[float]]:
        rows = [self._letter(messages) for messages in messages_list]
        return [[0.0 if letter == liked else -5.0 for letter in letters] for liked in rows]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_mmad(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Lettered:
    opened = Lettered()
    monkeypatch.setattr(answering, "open_model", lambda _: opened)
    return opened


def test_with_a_template_measurement_finds_and_places_the_holes(data: Path) -> None:
    result = evaluate_mmad(data, MmadSetup(shots=1))
    assert result.ours.by_subtask[DETECTION].value == 1
    assert result.ours.by_subtask["Defect Localization"].value == 1
    assert result.ours.by_subtask["Object Analysis"].unanswered == 1  # no measurement tells what it is
    assert result.ours.by_subtask["Object Analysis"].value == 0
    assert result.ours.average is not None
    assert result.ours.average.value == pytest.approx(2 / 3)
    assert result.reference is not None
    assert result.reference.table["Average"][DETECTION] == 100
    assert result.reference.dropped == 0
    assert (result.missing, result.problems, result.failures) == ((), (), ())


def test_a_model_is_asked_for_each_rotation_and_once_for_the_reference(data: Path, model: Lettered) -> None:
    result = evaluate_mmad(data, MmadSetup(model="openai:x#y", evidence=False))
    # It always says "Yes": every defect is found, no good picture passes.
    detection = result.ours.by_subtask[DETECTION]
    assert (detection.value, detection.chance, detection.unanswered) == (0.5, 0.5, 0)
    assert result.ours.by_subtask["Defect Localization"].value == 1
    assert result.reference is not None
    assert result.reference.table["Average"][DETECTION] == 50
    assert len(model.asked) == 8 * (2 + 1) * 2 + 4 * (4 + 1)
    assert result.answered_by == "openai:x#y"


def test_template_knowledge_and_evidence_are_shown_where_asked(data: Path, model: Lettered) -> None:
    evaluate_mmad(data, MmadSetup(model="m", shots=1, knowledge=True), pictures=1)
    assert all("normal sample" in text and "Brushed grey." in text for text in model.asked[:6])
    assert all("Against the reference" in text for text in model.asked)
    model.asked.clear()
    evaluate_mmad(data, MmadSetup(model="m", evidence=False), pictures=1)
    assert not any("sample" in text or "detector" in text or "Brushed" in text for text in model.asked)


def test_measurement_cannot_read_knowledge_and_has_nothing_but_evidence(data: Path) -> None:
    for setup in (MmadSetup(knowledge=True), MmadSetup(evidence=False)):
        with pytest.raises(DataError, match="Measurement alone"):
            evaluate_mmad(data, setup)


def test_knowledge_that_is_not_there_is_said(data: Path) -> None:
    (data / "domain_knowledge.json").unlink()
    with pytest.raises(DataError, match=r"domain_knowledge\.json is missing"):
        evaluate_mmad(data, MmadSetup(model="m", knowledge=True))


def test_listed_faults_are_scored_with_and_without(data: Path, model: Lettered, tmp_path: Path) -> None:
    faults = tmp_path / "faults.txt"
    faults.write_text("DS-MVTec/tile/image/good/\n")
    result = evaluate_mmad(data, MmadSetup(model="m", evidence=False), leave_out=faults)
    assert len(result.left_out) == 2
    assert result.ours.pictures == 8
    assert result.ours_without_faults is not None
    assert result.ours_without_faults.pictures == 6
    # Without a good picture there is no balanced accuracy, and no made-up one.
    assert DETECTION not in result.ours_without_faults.by_dataset["DS-MVTec"]


def test_what_is_left_out_are_the_listed_pictures_that_were_asked_about(
    data: Path, model: Lettered, tmp_path: Path
) -> None:
    content = write_mmad(data)
    gone = "DS-MVTec/tile/image/good/000.png"
    (data / gone).unlink()
    faults, setup = tmp_path / "faults.txt", MmadSetup(model="m", evidence=False)
    faults.write_text("DS-MVTec/\nVisA/pcb1/test/hole/000.png\n")
    result = evaluate_mmad(data, setup, leave_out=faults)
    assert set(result.left_out) == {
        name for name in content if name.startswith("DS-MVTec/") or "pcb1/test/hole/000" in name
    } - {gone}
    assert result.ours_without_faults is not None
    assert result.ours_without_faults.pictures == result.ours.pictures - len(result.left_out)
    faults.write_text(f"{gone}\n")
    result = evaluate_mmad(data, setup, leave_out=faults)
    assert (result.left_out, result.ours_without_faults, result.reference_without_faults) == ((), None, None)


def test_masks_that_contradict_the_folder_are_named(data: Path) -> None:
    write(data / "VisA/pcb1/masks/001.png", np.zeros((64, 64), np.uint8))
    result = evaluate_mmad(data, MmadSetup(shots=1))
    assert result.problems == ("VisA/pcb1/test/hole/001.png: a defective picture has an empty mask",)


def test_a_picture_that_cannot_be_read_counts_as_wrong_and_is_named(data: Path) -> None:
    (data / "VisA/pcb1/test/good/000.png").write_bytes(b"not a picture")
    result = evaluate_mmad(data, MmadSetup(shots=1))
    assert result.ours.questions == 20
    assert result.ours.by_dataset["VisA"][DETECTION].value == 0.75
    assert len(result.failures) == 1
    assert result.reference is not None
    assert result.reference.dropped == 2


def test_what_was_answered_is_not_asked_again(data: Path, model: Lettered, tmp_path: Path) -> None:
    setup, cache = MmadSetup(model="m", evidence=False), tmp_path / "cache"
    first = evaluate_mmad(data, setup, cache=cache)
    model.asked.clear()
    assert evaluate_mmad(data, setup, cache=cache) == first
    assert model.asked == []
    write(data / "VisA/pcb1/test/good/000.png", np.full((64, 64, 3), 9, np.uint8))
    evaluate_mmad(data, setup, cache=cache)
    assert len(model.asked) == 6  # both questions about the picture that changed
    evaluate_mmad(data, setup.replace(seed=1), cache=cache)
    assert len(model.asked) > 6


@pytest.mark.parametrize("after", [0, 11])
def test_a_run_whose_model_failed_asks_only_what_is_missing_the_next_time(
    data: Path, model: Lettered, tmp_path: Path, after: int
) -> None:
    setup, cache = MmadSetup(model="m", evidence=False), tmp_path / "cache"
    whole, calls = evaluate_mmad(data, setup), len(model.asked)
    model.asked.clear()
    model.fails_after = after
    stopped = evaluate_mmad(data, setup, cache=cache)
    assert stopped.failures
    model.asked.clear()
    model.fails_after = 10_000
    assert evaluate_mmad(data, setup, cache=cache) == whole
    assert len(model.asked) == calls - (6 if after else 0)


def test_a_run_killed_at_any_of_twenty_moments_ends_with_the_same_result(
    data: Path, model: Lettered, tmp_path: Path
) -> None:
    setup, cache = MmadSetup(model="m", evidence=False), tmp_path / "cache"
    whole = evaluate_mmad(data, setup, cache=cache)
    rows = (cache / "mmad.jsonl").read_bytes()
    calls = len(model.asked)
    for size in np.random.default_rng(0).integers(0, len(rows), 20):
        (cache / "mmad.jsonl").write_bytes(rows[:size])  # what a kill leaves: whole rows and a part of one
        model.asked.clear()
        assert evaluate_mmad(data, setup, cache=cache) == whole
        assert 0 < len(model.asked) <= calls
        assert (cache / "mmad.jsonl").read_bytes().count(b"\n") == rows.count(b"\n")


def test_the_command_prints_published_rows_beside_measured_ones(data: Path, tmp_path: Path) -> None:
    words = ["eval", "mmad", "--data", str(data), "--shots", "1", "--cache", str(tmp_path / "cache")]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "160"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    for words_shown in ("human experts", "86.7", "AD-Copilot", "82.3", "78.6", "1-shot", "ICLR 2025"):
        assert words_shown in done.stdout
    done = CliRunner().invoke(app, [*words, "--shots", "0", "--json"], catch_exceptions=False)
    one, two = map(json.loads, done.stdout.splitlines())
    assert (one["setup"]["shots"], two["setup"]["shots"]) == (1, 0)
    assert one["ours"]["questions"] == 20


def test_a_table_says_what_is_missing(data: Path, model: Lettered) -> None:
    content = write_mmad(data)
    (data / next(iter(content))).unlink()
    save(data, content)
    result = evaluate_mmad(data, MmadSetup(model="m", evidence=False), pictures=2)
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render([result]))
    assert "1 pictures are missing and in no figure" in console.export_text()
