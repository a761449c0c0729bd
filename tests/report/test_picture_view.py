from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from anomalist.errors import DataError
from anomalist.report import picture_view
from anomalist.report.builder import write_report
from anomalist.report.picture_view import PictureReportView
from anomalist.types.common import Claim, Opinion, PromptUsed
from anomalist.types.image import Record
from tests.report.pages import Element, parse

if TYPE_CHECKING:
    from conftest import Run


def render(run: Run, records: list[Record] | None = None) -> Element:
    chosen = run.records if records is None else records
    view = PictureReportView(run.calibrations)
    target = run.folder / "page.html"
    target.write_text(view.page(view.document(chosen), run.folder), "utf-8")
    return parse(target)


def test_a_lost_mask_fails_the_exports_but_not_the_page_that_says_so(run: Run) -> None:
    lost = run.named("mild").replace(mask="masks/none.png")
    with pytest.raises(DataError, match="missing or damaged"):
        write_report([lost], run.folder, PictureReportView())
    assert "The mask masks/none.png is missing or damaged." in parse(run.folder / "report.html").words()


def test_every_link_leads_to_an_element_of_the_page_and_every_id_is_used_once(run: Run) -> None:
    page = render(run)
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    links = [element.attributes["href"] or "" for element in page.all("a")]
    assert len(ids) == len(set(ids))
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)


def test_nothing_is_loaded_from_elsewhere(run: Run) -> None:
    page = render(run)
    sources = [element.attributes["src"] or "" for element in page.all() if "src" in element.attributes]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    style = page.all("style")[0].text
    assert all(url.startswith("data:") for url in re.findall(r"url\(([^)]*)\)", style))
    assert "@import" not in style
    assert not page.all("link")


def test_names_and_texts_stay_text(run: Run) -> None:
    page = render(run)
    assert len(page.all("script")) == 1
    assert not [e for e in page.all() if any(name.startswith("on") for name in e.attributes)]
    words = page.words()
    assert "<img src=x onerror=alert(1)> & 'quoted' | `code` 検査.png" in words
    assert "<script>alert(1)</script>.png" in words
    assert "This is <not> a picture." in words
    assert "a scratch <i>like</i> this" in words


def test_only_its_own_script_may_run(run: Run) -> None:
    page = render(run)
    script = page.all("script")[0].text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(m for m in page.all("meta") if m.attributes.get("http-equiv") == "Content-Security-Policy")
    assert f"script-src 'sha256-{digest}'" in (policy.attributes["content"] or "")


def test_a_name_that_turns_the_text_around_is_shown_as_codes(run: Run) -> None:
    record = run.named("calm").replace(source="good\u202egnp.exe")
    page = render(run, [record])
    assert "good\\u202egnp.exe" in page.words()
    assert "\u202e" not in page.words()


def test_findings_are_sorted_by_severity_then_p_value(run: Run) -> None:
    base = run.named("mild")
    records = [
        base.replace(source=f"{severity}-{p}.png", severity=severity, p_value=p)
        for severity, p in ((1, 0.01), (3, 0.04), (3, 0.02), (2, None))
    ]
    rows = render(run, records).all("table", class_="list")[0].all("td", class_="name")
    assert [row.words() for row in rows] == ["3-0.02.png", "3-0.04.png", "2-None.png", "1-0.01.png"]


def test_the_head_counts_every_outcome(run: Run) -> None:
    page = render(run)
    counts = {e.attributes["class"]: e.words() for e in page.all("ul", class_="counts")[0].all("li")}
    assert counts == {
        "anomalous": "anomalous 2",
        "undecided": "undecided 1",
        "normal": "normal 2",
        "error": "not inspected 1",
    }
    assert page.all("h1")[0].words() == "2 of 5 pictures look anomalous"


def test_each_finding_shows_regions_claims_plot_and_who_reasoned(run: Run) -> None:
    article = render(run).all("article")[0]
    words = article.words()
    assert next(row.words() for row in article.all("tr") if row.attributes.get("id")).startswith("R1")
    assert len(article.all("a", class_="box")) == 2
    assert "a thin dark line <b>here</b>." in words
    assert "Reasoned by evidence (measurement only, no language model)." in words
    assert "if this picture were normal, a score this high would come up at most about once in 40" in words
    assert len(article.all("circle")) == 39
    assert {a.words(): a.attributes["href"] for a in article.all("a", class_="cite")} == {
        "score": "#p1-score",
        "R1": "#p1-R1",
        "R2": "#p1-R2",
        "case:12": "#p1-m1",
    }


def test_a_region_named_in_a_sentence_is_the_link_to_its_row(run: Run) -> None:
    article = render(run).all("article")[0]
    assert [a.attributes["href"] for a in article.all("a", class_="named")] == ["#p1-R1"]


def test_disagreements_reasons_and_dropped_claims_are_said(run: Run) -> None:
    words = render(run).words()
    assert "Two opinions differ." in words
    assert "2 claims dropped for want of evidence." in words
    assert words.count("The score is too close to the threshold.") == 2  # in the table and in its section
    assert "The picture scores as normal as a whole, but R1 stands out." in words


def test_an_id_that_is_not_in_the_record_is_no_link(run: Run) -> None:
    claim = Claim(text="Something else.", evidence=("R9",))
    page = render(run, [run.named("mild").replace(claims=(claim,))])
    assert page.all("span", class_="lost")[0].words() == "R9"


def test_a_picture_that_is_gone_is_said_and_its_map_is_drawn_alone(run: Run) -> None:
    record = run.named("mild")
    Path(record.source).unlink()
    article = render(run, [record]).all("article")[0]
    assert "The picture is gone" in article.words()
    assert "on the anomaly map alone" in article.words()
    assert len(article.all("img")) == 1


def test_a_picture_that_has_changed_is_not_shown(run: Run) -> None:
    record = run.named("mild")
    other = run.named("calm")
    Path(record.source).write_bytes(Path(other.source).read_bytes())
    article = render(run, [record]).all("article")[0]
    assert "has changed since it was inspected" in article.words()
    assert len(article.all("img")) == 1


def test_pictures_beside_the_records_are_found_after_the_folder_has_moved(run: Run) -> None:
    record = run.named("mild")
    Path(record.source).rename(run.folder / "mild.png")
    moved = record.replace(source="mild.png")
    assert len(render(run, [moved]).all("article")[0].all("img")) == 2


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"map": "maps/none.npy"}, "The anomaly map maps/none.npy is missing or damaged."),
        ({"map": "../outside.npy"}, "lies outside its run folder"),
        ({"mask": "masks/none.png"}, "The mask masks/none.png is missing or damaged."),
        ({"mask": "maps/0.npy"}, "The mask maps/0.npy is missing or damaged."),
        ({"height": 7}, "is not a float32 map of the size of the picture"),
    ],
)
def test_a_lost_map_or_mask_is_said_where_it_would_be(
    run: Run, damage: dict[str, object], words: str
) -> None:
    page = render(run, [run.named("mild").replace(**damage)])
    assert words in page.all("article")[0].words()


def test_a_map_with_pickled_objects_is_not_loaded(run: Run) -> None:
    record = run.named("mild")
    np.save(run.folder / str(record.map), np.array([{}], dtype=object), allow_pickle=True)
    assert "is missing or damaged" in render(run, [record]).all("article")[0].words()


def test_layers_of_different_sizes_are_not_laid_over_each_other(run: Run) -> None:
    record = run.named("mild").replace(width=None, height=None)
    np.save(run.folder / str(record.map), np.zeros((5, 5), dtype=np.float32))
    article = render(run, [record]).all("article")[0]
    assert "not of one size" in article.words()
    assert len(article.all("img")) == 1


def test_without_calibration_it_says_that_scores_cannot_be_compared(run: Run) -> None:
    fields = {"calibration": None, "p_value": None, "threshold": None, "label": "undecided"}
    page = render(run, [run.named("mild").replace(**fields)])
    assert "nothing was calibrated" in page.words()
    assert "None: scores can't be compared" in page.words()


def test_without_the_scores_of_normals_there_is_no_plot_and_it_says_so(run: Run) -> None:
    page = parse(write_report(run.records, run.folder, PictureReportView()))
    assert not page.all("svg")
    assert page.words().count("so there is no plot") == 3


@pytest.mark.parametrize(
    ("parts", "title", "missing"),
    [
        ((), "No pictures were inspected", ("article", "script", "svg")),
        (("calm",), "The picture looks normal", ("article", "script")),
        (("script",), "No picture could be inspected", ("article", "script", "svg")),
        (("unsure",), "The picture could not be decided", ()),
    ],
)
def test_runs_of_one_outcome_make_a_whole_page(
    run: Run, parts: tuple[str, ...], title: str, missing: tuple[str, ...]
) -> None:
    page = render(run, [run.named(part) for part in parts])
    assert page.all("h1")[0].words() == title
    assert not [tag for tag in missing if page.all(tag)]


def test_the_same_records_give_the_same_bytes_in_any_order(run: Run) -> None:
    view = PictureReportView(run.calibrations)
    first = write_report(run.records, run.folder, view).read_bytes()
    assert write_report(run.records[::-1], run.folder, view).read_bytes() == first


def test_large_runs_list_everything_with_fewer_and_smaller_pictures(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_view, "MAX_NORMAL_THUMBNAILS", 1)
    monkeypatch.setattr(picture_view, "MAX_LARGE_PICTURES", 1)
    page = render(run)
    assert len(page.all("ul", class_="tiles")[0].all("li")) == 2
    assert len(page.all("ul", class_="tiles")[0].all("img")) == 1
    widths = [[int(i.attributes["width"] or 0) for i in a.all("img")] for a in page.all("article")]
    assert widths == [[560, 560], [160], [160]]


def test_a_title_of_ones_own_stands_above_the_headline(run: Run) -> None:
    page = parse(write_report(run.records, run.folder, PictureReportView(), title="Line 3 <night>"))
    assert page.all("p", class_="eyebrow")[0].words() == "Line 3 <night>"


def test_a_target_that_cannot_be_written_is_one_clear_error(run: Run) -> None:
    (run.folder / "file").write_text("")
    with pytest.raises(DataError, match="can't be written"):
        write_report([], run.folder / "file", PictureReportView())


def test_a_failed_write_leaves_the_old_report_and_no_half_one(run: Run) -> None:
    page = write_report(run.records, run.folder, PictureReportView())
    page.unlink()
    page.mkdir()
    before = sorted(run.folder.iterdir())
    with pytest.raises(DataError):
        write_report(run.records, run.folder, PictureReportView())
    assert sorted(run.folder.iterdir()) == before


JUDGED: dict[str, Any] = {
    "model": "hf:tiny <nf4>",
    "opinions": (Opinion(by="detector", label="anomalous"), Opinion(by="hf:tiny <nf4>", label="normal")),
    "prompts": tuple(PromptUsed(id=f"{name}.v1", sha256=name * 9) for name in ("system", "judge", "retry")),
    "replies": ("I think <b>not</b>.\nReally\u202e.</pre><script>alert(1)</script>", '{"label": "normal"}'),
    "dropped": ("A dent <here>. [R9]",),
    "disagreements": ("The detector calls the picture anomalous, the model takes the picture for normal.",),
    "claims": (
        Claim(text="The score is high.", evidence=("score",)),
        Claim(text="R1 is only dust.", evidence=("R1",), source="model"),
    ),
}


def test_how_a_model_reasoned_is_shown_folded_with_prompts_raw_replies_and_what_was_dropped(run: Run) -> None:
    page = render(run, [run.named("mild").replace(**JUDGED)])
    (folded,) = page.all("details", class_="reasoning")
    assert "open" not in folded.attributes
    words = folded.words()
    assert [element.words() for element in folded.all("pre")] == [
        "I think <b>not</b>. Really\\u202e.</pre><script>alert(1)</script>",
        '{"label": "normal"}',
    ]
    assert [code.words() for code in folded.all("code")][::2] == ["system.v1", "judge.v1", "retry.v1"]
    assert "A dent <here>. [R9]" in words
    assert "hf:tiny <nf4> normal" in words
    assert "Detector alone anomalous" in words
    assert JUDGED["disagreements"][0] in words
    assert not folded.all("script")


def test_what_a_model_said_is_told_from_what_was_measured(run: Run) -> None:
    article = render(run, [run.named("mild").replace(**JUDGED)]).all("article")[0]
    claims = [claim.words() for claim in article.all("ul", class_="claims")[0].all("li")]
    assert ["said by the model" in claim for claim in claims] == [False, True]


def test_a_normal_picture_shows_how_the_model_reasoned_too(run: Run) -> None:
    page = render(run, [run.named("calm").replace(**(JUDGED | {"claims": ()}))])
    (tile,) = page.all("ul", class_="tiles")[0].all("li")
    assert len(tile.all("details", class_="reasoning")) == 1
    assert "A language model (hf:tiny <nf4>) has looked" in page.all("section", id="basis")[0].words()


def test_a_very_long_reply_is_cut_in_the_report(run: Run) -> None:
    long = JUDGED | {"replies": ("x" * 100_000, "")}
    page = render(run, [run.named("mild").replace(**long)])
    first, second = (element.words() for element in page.all("pre"))
    assert first == "x" * 4000 + " … 96,000 more characters in the record"
    assert second == "(empty)"


def test_without_a_model_nothing_is_said_about_one(run: Run) -> None:
    page = render(run)
    assert not page.all("details", class_="reasoning")
    assert "model" not in page.all("section", id="basis")[0].words().replace("a model that", "")
