from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anomalist.agent.reasoning import policy as policy_module
from anomalist.agent.reasoning.policy import (
    DEFAULT_POLICY,
    MIN_JUDGED_SHARE,
    Policy,
    decide_clip_label,
    decide_label,
    load_policy,
)
from anomalist.errors import PolicyError
from anomalist.types.clip import Trouble
from anomalist.types.image import Evidence
from tests.agent.event_cases import make_event


def write(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("case", "label"),
    [
        ({"p": 0.01}, "anomalous"),
        ({"p": 0.04}, "anomalous"),
        ({"p": 0.06}, "normal"),
        ({"p": 1.0}, "normal"),
        ({"p": 1.0000000000000002}, "normal"),
        ({"p": 0.05}, "anomalous"),
        ({"p": 5 / 100}, "anomalous"),
        ({"p": 0.30000000000000004, "false_alarm_rate": 0.3}, "anomalous"),
        ({"p": 0.05 + 1e-6}, "normal"),
        ({"p": 0.01, "instability": 0.3}, "anomalous"),
        ({"p": 0.01, "instability": 0.301}, "undecided"),
        ({"p": 0.99, "instability": 0.301}, "undecided"),
        ({"p": 0.5, "reachable": False}, "undecided"),
        ({"p": None}, "undecided"),
        ({"p": float("nan")}, "undecided"),
        ({"p": 0.0}, "undecided"),
        ({"p": 0.01, "score": float("nan")}, "undecided"),
        ({"p": 0.01, "score": float("inf")}, "undecided"),
    ],
)
def test_label_follows_from_the_evidence(
    case: dict[str, object], label: str, evidence: Callable[..., Evidence]
) -> None:
    decided, why = decide_label(evidence(**case), Policy())
    assert decided == label
    assert (why is not None) == (label == "undecided")


def test_without_calibration_nothing_is_decided(evidence: Callable[..., Evidence]) -> None:
    label, why = decide_label(replace(evidence(), calibration=None), Policy())
    assert label == "undecided"
    assert why == "There is no calibration on normal pictures to judge the score by."


def test_an_exact_tie_with_the_rate_is_anomalous_whatever_the_rounding(
    evidence: Callable[..., Evidence],
) -> None:
    for n in (19, 99, 299):
        for k in range(1, 20):
            rate = k / (n + 1)
            # The same fraction by another road, as a sum over groups gives it.
            p = sum([1 / (n + 1)] * k)
            assert decide_label(evidence(p=p, false_alarm_rate=rate), Policy())[0] == "anomalous"


def test_why_undecided_names_how_many_normals_are_needed(evidence: Callable[..., Evidence]) -> None:
    alone = decide_label(evidence(p=0.1, normals=12, groups=12, reachable=False), Policy())[1]
    grouped = decide_label(evidence(p=0.1, normals=60, groups=10, reachable=False), Policy())[1]
    assert alone == "A false-alarm rate of 0.05 needs 19 normal pictures to calibrate on; there are 12."
    assert alone is not None
    assert grouped == alone.replace("normal pictures", "groups of normal pictures").replace("12", "10")


def test_why_undecided_says_how_unstable_the_decision_is(evidence: Callable[..., Evidence]) -> None:
    why = decide_label(evidence(instability=0.304), Policy())[1]
    assert why is not None
    assert "30.4 % of the decisions flip (30 % are allowed)" in why


def test_a_higher_allowed_instability_decides(evidence: Callable[..., Evidence]) -> None:
    shaky = evidence(p=0.01, instability=0.4)
    assert decide_label(shaky, Policy(max_instability=0.5))[0] == "anomalous"


def test_the_shipped_file_says_what_the_defaults_are() -> None:
    assert load_policy() == Policy()
    shipped = tomllib.loads(DEFAULT_POLICY.read_text(encoding="utf-8"))
    assert set(shipped) | {"zones"} == set(Policy.model_fields)
    assert shipped["floors"] == Policy().floors


def test_every_setting_of_the_shipped_file_has_a_comment_above_it() -> None:
    lines = DEFAULT_POLICY.read_text(encoding="utf-8").splitlines()
    settings = [i for i, line in enumerate(lines) if re.match(r'["a-z_ ]+ = ', line)]
    assert len(settings) >= 14
    assert all(lines[i - 1].startswith("# ") for i in settings)


def test_the_commented_zone_of_the_shipped_file_is_valid(tmp_path: Path) -> None:
    text = DEFAULT_POLICY.read_text(encoding="utf-8")
    start = text.index("# [[zones]]")
    example = re.sub(r"(?m)^# (?=\[\[|[a-z_]+ = )", "", text[start:])
    (zone,) = load_policy(write(tmp_path, text[:start] + example)).zones
    assert (zone.name, zone.raise_by, zone.severity_at_least) == ("sealing edge", 1, "major")


def test_what_is_left_out_keeps_its_default(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, 'max_instability = 0.1\n[floors]\nspot = "major"\n'))
    assert policy.max_instability == 0.1
    assert policy.floors["spot"] == "major"
    assert policy.floors["line"] == "moderate"
    assert policy.area == Policy().area


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_instability = \n", "line 1"),
        ("[area]\nmoderate = 0.1\nmoderate = 0.2\n", "line 3"),
        ("max_instabilty = 0.3\n", "max_instabilty: unknown key"),
        ("max_instability = 1.5\n", "max_instability: input should be less than or equal to 1"),
        ("max_instability = nan\n", "max_instability: "),
        ('max_instability = "0.3"\n', "max_instability: input should be a valid number"),
        ("several_regions = true\n", "several_regions: input should be a valid integer"),
        ("several_regions = 1\n", "several_regions: "),
        ("[area]\nmajor = 0.001\n", "area: moderate, major and critical must rise"),
        ("[area]\nhuge = 0.5\n", "area.huge: unknown key"),
        ('[floors]\nlines = "minor"\n', "floors.lines: input should be 'spot', 'line'"),
        ("[floors]\nline = 2\n", "floors.line: input should be 'minor', 'moderate', 'major' or 'critical'"),
        ('[[zones]]\nname = "rim"\nbox = [0, 0, 1, 0.1]\n', "zones[0]: a zone needs 'raise'"),
        ('[[zones]]\nname = "rim"\nbox = [0, 0.5, 1, 0.1]\nraise = 1\n', "zones[0]: the box must run"),
        ('[[zones]]\nname = "rim"\nbox = [0, 0, 10, 20]\nraise = 1\n', "zones[0].box[2]: "),
        ('[[zones]]\nname = "rim"\nbox = [0, 0, 1]\nraise = 1\n', "zones[0].box[3]: "),
        ("[[zones]]\nbox = [0, 0, 1, 1]\nraise = 1\n", "zones[0].name: field required"),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        load_policy(write(tmp_path, text))
    assert message in str(caught.value)
    assert "policy.toml" in caught.value.message


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="can't be read: No such file"):
        load_policy(tmp_path / "none.toml")
    with pytest.raises(PolicyError, match="can't be read: Is a directory"):
        load_policy(tmp_path)
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyError, match="is not TOML"):
        load_policy(tmp_path / "policy.toml")


def test_the_digest_covers_the_content_and_nothing_else(tmp_path: Path) -> None:
    same = load_policy(write(tmp_path, '# a note\nseveral_regions   = 3\n[floors]\nspot = "minor"\n'))
    reordered = load_policy(write(tmp_path, '[floors]\npatch = "minor"\n[area]\ncritical = 0.1\n'))
    other = load_policy(write(tmp_path, '[floors]\nspot = "major"\n'))
    assert re.fullmatch("[0-9a-f]{64}", same.digest)
    assert same.digest == reordered.digest == Policy().digest
    assert other.digest != same.digest


def test_p_against_the_rate_is_decided_in_one_place() -> None:
    """Each copy of the comparison has its own idea of an exact tie: p = k / (n + 1) may miss it by a bit.

    The runner of an export can't import that place; its labels are held against those of the package.
    """
    source = Path(policy_module.__file__).parents[2]
    found = []
    for path in source.rglob("*.py"):
        if path.parent.name == "runner":
            continue
        text = path.read_text(encoding="utf-8")
        if "rate" not in text or not re.search(r"\bp(_value)?\b", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Compare) and len(node.ops) == 1:
                left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
                if left.split(".")[-1] in ("p", "p_value") and "rate" in right:
                    found.append(path.name)
    assert found == ["image.py"]


@pytest.mark.parametrize(
    ("frames", "judged", "label", "why"),
    [
        (0, 0.0, "undecided", "There is no frame."),
        (1, 0.0, "undecided", "One frame alone shows no motion."),
        (100, 0.49, "undecided", "Only 49% of the clip could be judged (camera: black)."),
        (100, MIN_JUDGED_SHARE, "normal", None),
    ],
)
def test_a_clip_without_events_is_normal_only_where_enough_was_judged(
    frames: int, judged: float, label: str, why: str | None
) -> None:
    black = Trouble(kind="black", start=1.0, end=2.0)
    assert decide_clip_label((), [black], frames, judged) == (label, why)


def test_a_clip_with_an_event_is_anomalous_however_little_was_judged() -> None:
    assert decide_clip_label([make_event(1)], (), 100, 0.1) == ("anomalous", None)
