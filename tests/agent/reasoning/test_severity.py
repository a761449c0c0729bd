from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from anomalist.agent.reasoning.policy import AreaSteps, Policy, PolicyZone
from anomalist.agent.reasoning.severity import picture_severity, region_severity
from anomalist.types.image import Region

SIZE = (256, 256)
RIM = {"name": "rim", "box": (0.0, 0.0, 0.5, 0.1)}


def zone(**about: object) -> Policy:
    return Policy(zones=(PolicyZone.model_validate(RIM | about),))


@pytest.mark.parametrize(
    ("share", "level"),
    [(0.0001, 1), (0.00499, 1), (0.005, 2), (0.0199, 2), (0.02, 3), (0.0999, 3), (0.1, 4), (1.0, 4)],
)
def test_area_sets_the_severity(share: float, level: int, region: Callable[..., Region]) -> None:
    assert region_severity(region(relative_size=share), SIZE, Policy()).level == level


def test_severity_does_not_follow_the_score(region: Callable[..., Region]) -> None:
    quiet = region()
    loud = quiet.model_copy(update={"peak": 1000.0, "mean": 900.0})
    assert region_severity(loud, SIZE, Policy()) == region_severity(quiet, SIZE, Policy())


def test_the_floor_of_a_kind_lifts_a_small_region(region: Callable[..., Region]) -> None:
    crack = region(box=(20, 20, 80, 22), area=100, elongation=30.0)
    found = region_severity(crack, SIZE, Policy())
    assert (found.name, found.evidence) == ("moderate", ("R1",))
    assert found.reason == "R1 looks like a line, which the policy calls at least moderate"


def test_an_edited_floor_changes_the_severity(region: Callable[..., Region]) -> None:
    spot = region(area=60)
    assert region_severity(spot, SIZE, Policy()).name == "minor"
    strict = Policy.model_validate({"floors": {"spot": "critical"}})
    assert region_severity(spot, SIZE, strict).name == "critical"


def test_a_floor_never_lowers(region: Callable[..., Region]) -> None:
    assert region_severity(region(relative_size=0.5), SIZE, Policy()).name == "critical"


def test_edited_area_steps_change_the_severity(region: Callable[..., Region]) -> None:
    steps = Policy(area=AreaSteps(moderate=0.0001, major=0.0002, critical=0.0003))
    assert region_severity(region(relative_size=0.00025), SIZE, steps).name == "major"


@pytest.mark.parametrize(
    ("about", "box", "level"),
    [
        ({"raise": 1}, (20, 20, 30, 30), 2),
        ({"raise": 3}, (20, 20, 30, 30), 4),
        ({"severity_at_least": "major"}, (20, 20, 30, 30), 3),
        ({"raise": 1, "severity_at_least": "major"}, (20, 20, 30, 30), 4),
        ({"raise": 1}, (200, 20, 210, 30), 1),  # beside it
        ({"raise": 1}, (20, 200, 30, 210), 1),  # below it
        ({"raise": 1}, (128, 10, 138, 20), 1),  # touches it without overlap: boxes are half-open
        ({"raise": 1}, (127, 25, 137, 35), 2),  # overlaps it by one corner
    ],
)
def test_a_zone_counts_for_the_regions_that_overlap_it(
    about: dict[str, object], box: tuple[int, int, int, int], level: int, region: Callable[..., Region]
) -> None:
    assert region_severity(region(box=box, area=100), SIZE, zone(**about)).level == level


def test_of_several_zones_only_the_one_that_raises_most_counts(region: Callable[..., Region]) -> None:
    first, second = (
        PolicyZone.model_validate(RIM | {"raise": 1}),
        PolicyZone.model_validate(RIM | {"raise": 2}),
    )
    assert region_severity(region(area=100), SIZE, Policy(zones=(first, second))).level == 3


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"raise": 1}, 'R1 covers 0.2 % of the inspected area, raised by 1 step in the zone "rim"'),
        ({"raise": 2}, 'R1 covers 0.2 % of the inspected area, raised by 2 steps in the zone "rim"'),
        ({"severity_at_least": "major"}, 'R1 lies in the zone "rim" (at least major)'),
    ],
)
def test_the_reason_names_the_zone(
    about: dict[str, object], reason: str, region: Callable[..., Region]
) -> None:
    assert region_severity(region(area=100), SIZE, zone(**about)).reason == reason


@pytest.mark.parametrize(
    ("shares", "level"),
    [
        ([0.001], 1),
        ([0.001, 0.03], 3),
        ([0.001, 0.001, 0.001], 2),
        ([0.03, 0.001, 0.001], 4),
        ([0.5, 0.5, 0.5], 4),
    ],
)
def test_a_picture_is_as_bad_as_its_worst_region_and_worse_with_several(
    shares: Sequence[float], level: int, region: Callable[..., Region]
) -> None:
    regions = [region(i, relative_size=share) for i, share in enumerate(shares, start=1)]
    assert picture_severity(regions, SIZE, Policy()).level == level


def test_several_regions_are_all_cited_and_the_worst_comes_first(region: Callable[..., Region]) -> None:
    regions = [region(1, area=50), region(2, relative_size=0.01), region(3, area=50)]
    found = picture_severity(regions, SIZE, Policy())
    assert found.evidence == ("R2", "R1", "R3")
    assert found.reason == (
        "R2 covers 1.0 % of the inspected area, and 3 regions together count one step more"
    )


def test_without_regions_the_floor_of_a_diffuse_change_holds() -> None:
    assert picture_severity((), SIZE, Policy()).name == "minor"
    strict = Policy.model_validate({"floors": {"diffuse change": "major"}})
    assert picture_severity((), SIZE, strict).name == "major"
