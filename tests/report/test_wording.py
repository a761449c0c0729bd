from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from anomalist.report import picture_view, wording
from anomalist.report.picture_view import Summary
from anomalist.types.image import Attributes, Calibration, Record

if TYPE_CHECKING:
    from conftest import Run


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0.0, "0"), (0.01923, "0.0192"), (-1.5, "−1.5"), (1234567.0, "1.23e+06"),
        (12345.0, "12345"), (1e-9, "1e−09"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_have_a_real_minus(value: float | None, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize(("share", "text"), [(0.05, "5 %"), (0.001, "0.1 %"), (1.0, "100 %")])
def test_percent_does_not_break_before_its_sign(share: float, text: str) -> None:
    assert wording.percent(share) == text.replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 検査 é", "plain 検査 é"),
        ("a\nb\tc\x00", "a\\u000ab\\u0009c\\u0000"),
        ("good\u202egnp.exe", "good\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_invisible_characters_become_visible(text: str, shown: str) -> None:
    assert wording.printable(text) == shown


def counts(anomalous: int, undecided: int, normal: int, errors: int) -> Summary:
    pictures = anomalous + undecided + normal + errors
    return Summary(
        pictures=pictures, anomalous=anomalous, undecided=undecided, normal=normal, errors=errors,
        by_severity={}, by_kind={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (counts(0, 0, 0, 0), "No pictures were inspected"),
        (counts(0, 0, 0, 2), "No picture could be inspected"),
        (counts(1, 0, 0, 0), "1 of 1 picture looks anomalous"),
        (counts(2, 1, 7, 3), "2 of 10 pictures look anomalous"),
        (counts(0, 0, 1, 0), "The picture looks normal"),
        (counts(0, 1, 0, 0), "The picture could not be decided"),
        (counts(0, 0, 1200, 1), "All 1,200 pictures look normal"),
        (counts(0, 1, 3, 0), "None of 4 pictures is called anomalous"),
        (counts(0, 4, 0, 0), "None of 4 pictures could be decided"),
    ],
)
def test_the_headline_claims_no_more_than_the_counts(summary: Summary, text: str) -> None:
    assert picture_view.headline(summary) == text


def test_the_lead_names_the_worst_and_what_is_open(run: Run) -> None:
    text = picture_view.lead(run.records, picture_view.summarise(run.records))
    assert "The most severe is <img src=x" in text
    assert "major line (upper left)." in text
    assert text.endswith("1 picture could not be decided and needs a person. 1 file could not be inspected.")


@pytest.mark.parametrize(
    ("p", "text"), [(0.001, "once in 1,000"), (1 / 51, "once in 51"), (0.5, "50 times in 100")]
)
def test_p_is_put_as_a_frequency(p: float, text: str) -> None:
    assert wording.format_frequency(p) == text


BASIS: dict[str, Any] = {
    "method": "split", "normals": 39, "groups": 39, "false_alarm_rate": 0.05, "reachable": True,
    "normals_needed": 19, "instability": 0.0, "approximate": False, "seed": 0,
}  # fmt: skip
CROSS = {"method": "cv+", "approximate": True}


@pytest.mark.parametrize(
    ("p", "label", "changes", "expected"),
    [
        (0.025, "anomalous", {}, ["p = 0.025", "at most about once in 40", "None of the 39", "an alarm"]),
        (0.05, "anomalous", {}, ["1 of the 39 normal pictures kept for calibration scores", "an alarm"]),
        (0.05 + 1e-17, "anomalous", {}, ["an alarm"]),
        (0.2, "normal", {}, ["7 of the 39", "calibration score this high", "raises no alarm"]),
        (0.05, "undecided", {"instability": 0.4}, ["undecided for another reason", "40\u00a0%"]),
        (0.025, "anomalous", CROSS, ["p ≈ 0.025", "come up about once in 40"]),
        (0.25, "undecided", {"reachable": False, "normals": 3, "groups": 3},
         ["needs 19 normal pictures; there are 3"]),
        (0.25, "undecided", {"reachable": False, "normals": 30, "groups": 3},
         ["needs 19 groups; there are 3"]),
    ],
)  # fmt: skip
def test_the_meaning_of_a_score_is_said_in_plain_words(
    p: float, label: Any, changes: dict[str, Any], expected: list[str]
) -> None:
    record = Record(
        source="a", status="ok", label=label, p_value=p, calibration=Calibration(**(BASIS | changes))
    )
    text = " ".join(wording.explain_score(record))
    assert [part for part in expected if part not in text] == []


@pytest.mark.parametrize("changes", [CROSS, {"groups": 7}])
def test_counts_of_normals_are_only_given_where_p_is_such_a_count(changes: dict[str, Any]) -> None:
    record = Record(source="a", status="ok", p_value=0.2, calibration=Calibration(**(BASIS | changes)))
    assert "kept for calibration" not in " ".join(wording.explain_score(record))


def test_cross_fitted_calibration_is_called_approximate() -> None:
    text = wording.explain_calibration(Calibration(**(BASIS | CROSS)))
    assert "Approximate" in text
    assert "twice" in text


@pytest.mark.parametrize(
    ("sources", "folder", "names"),
    [
        (["in/a.png", "in/b.png"], "in", ["a.png", "b.png"]),
        (["in/1/a.png", "in/2/a.png"], "in", ["1/a.png", "2/a.png"]),
        (["a.png", "b.png"], "", ["a.png", "b.png"]),
        (["/x/a.png", "y/b.png"], "", ["/x/a.png", "y/b.png"]),
        ([], "", []),
    ],
)
def test_names_are_as_short_as_they_can_be_and_still_differ(
    sources: list[str], folder: str, names: list[str]
) -> None:
    records = [Record(source=source, status="error") for source in sources]
    assert wording.short_names(records) == (folder, names)


@pytest.mark.parametrize(
    ("times", "text"),
    [
        ([], ""),
        (["2026-03-02T09:10:59+00:00"], "2026-03-02 09:10 UTC"),
        (["2026-03-02T09:10:00+00:00", "2026-03-02T11:00:00Z"], "2026-03-02 09:10–11:00 UTC"),
        (["2026-03-02T23:59:00Z", "2026-03-03T00:01:00Z"], "2026-03-02 23:59 UTC – 2026-03-03 00:01 UTC"),
        (["2026-03-02T09:10:00+02:00"], "2026-03-02 09:10 +0200"),
        (["yesterday"], "yesterday"),
    ],
)
def test_times_are_written_to_the_minute(times: list[str], text: str) -> None:
    assert wording.format_period(times) == text


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"status": "ok", "label": "undecided", "why_undecided": "A tie."}, "A tie."),
        ({"status": "ok", "label": "anomalous"}, "The score is high."),
        (
            {"status": "ok", "label": "undecided", "why_undecided": "No calibration.", "basis": "itself"},
            "No single place stands out.",
        ),
        ({"status": "error", "error": "Not a picture.", "claims": ()}, "Not a picture."),
    ],
)
def test_the_main_reason_fits_the_outcome(record: dict[str, Any], text: str) -> None:
    claims = ({"text": "The score is high.", "evidence": ("score",)},)
    assert wording.main_reason(Record(**({"source": "a", "claims": claims} | record))) == text


def test_the_main_reason_is_rather_about_a_region_than_about_the_score(run: Run) -> None:
    assert wording.main_reason(run.named("onerror")) == "R1: a thin dark line <b>here</b>."


def test_measured_attributes_are_put_into_words() -> None:
    attributes = Attributes(
        position="top", relative_size=0.1, elongation=6.23, orientation=44.6, contrast=-23.4,
        contrast_sigma=-2.13, tone="darker", colour_shift=6.14, colour="redder", texture_ratio=2.1,
        texture="rougher",
    )  # fmt: skip
    calm = attributes.model_copy(
        update={"elongation": 1.2, "orientation": None, "tone": "same", "colour": None, "texture": "same"}
    )
    assert wording.describe_shape(attributes) == "elongated 6.2 : 1, 45°"
    assert wording.describe_tone(attributes) == "darker by 23 (2.1 σ)"
    assert wording.describe_colour(attributes) == "redder (ΔE 6.1)"
    assert wording.describe_texture(attributes) == "rougher (× 2.1)"
    assert wording.describe_shape(calm) == "compact 1.2 : 1"
    assert wording.describe_tone(calm) == "as around (−23)"
    assert wording.describe_colour(calm) == "as around (ΔE 6.1)"
    assert wording.describe_texture(calm) == "as around (× 2.1)"


def test_against_a_reference_there_is_no_calibration_to_miss() -> None:
    record = Record(source="a", status="ok", label="anomalous", score=4.2, basis="reference")
    text = " ".join(wording.explain_score(record))
    assert "4.2 times" in text and "No p-value" in text
    assert "reference" in wording.explain_no_calibration(record)
    assert "normal pictures" in wording.explain_no_calibration(Record(source="a", status="ok"))
