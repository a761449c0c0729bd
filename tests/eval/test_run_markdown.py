from __future__ import annotations

from pathlib import Path

from anomalist.eval.mmad.answering import MmadSetup
from anomalist.eval.mmad.benchmark import run_mmad
from anomalist.eval.run_markdown import write_markdown
from anomalist.eval.saved_runs import SavedRun
from tests.eval.mmad.miniature import write_mmad


def test_every_figure_comes_from_a_run_with_its_interval(tmp_path: Path) -> None:
    write_mmad(tmp_path / "data")
    share = {
        "name": "numbers | right",
        "right": 9,
        "of": 10,
        "share": 0.9,
        "interval": [0.6, 1.0],
        "chance": None,
    }
    runs = [
        SavedRun(
            benchmark="detection",
            name="tiles surface seed 0",
            result={"image_auroc": 0.75, "image_auroc_interval": [0.6, 0.9], "notes": ["a <b>note</b>"]},
        ),
        SavedRun(benchmark="reasons", name="tiles", result={"shares": [share], "notes": []}),
        SavedRun(
            benchmark="checks",
            name="lab",
            result={
                "means": {"auroc": 0.5, "kind": None},
                "intervals": {"auroc": [0.4, 0.6]},
                "references": 4,
                "checks": [{"auroc": 0.1}],
            },
        ),
        SavedRun(
            benchmark="questions",
            name="steel",
            result={
                "results": [
                    {"subtask": "kind", "measure": "accuracy", "value": 0.8, "interval": [0.7, 0.9], "n": 30}
                ]
            },
        ),
        run_mmad(tmp_path / "data", MmadSetup()).saved(),
    ]
    text = write_markdown(runs, tmp_path / "page.md", [("papers", "is in no known\nlayout")]).read_text()
    for line in (
        "| image AUROC | 0.750 (0.600 to 0.900) |",
        "| numbers \\| right | 0.900 (0.600 to 1.000) of 10 |",
        "| means: AUROC | 0.500 (0.400 to 0.600) |",
        "| references | 4 |",
        "| kind: accuracy | 0.800 (0.700 to 0.900) of 30 |",
        "- a \\<b\\>note\\</b\\>",
        "- papers: is in no known layout",
        "## Pictures: tiles surface seed 0",
    ):
        assert line in text.splitlines(), line
    assert "Defect Localization" in text
    assert "0.100" not in text  # of a list: too long for the page


def test_the_same_runs_give_the_same_page_in_any_order(tmp_path: Path) -> None:
    runs = [SavedRun(benchmark="video", name=name, result={"frame_auroc": 0.5}) for name in "ba"]
    first = write_markdown(runs, tmp_path / "1.md").read_text()
    assert write_markdown(runs[::-1], tmp_path / "2.md").read_text() == first
