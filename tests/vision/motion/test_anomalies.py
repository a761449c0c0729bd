"""Local anomalies: things apart stay apart, one thing stays one, and a wake is no thing."""

from __future__ import annotations

from dataclasses import replace

from anomalist.types.clip import MeasureName
from anomalist.types.common import Box
from anomalist.vision.motion.anomalies import AnomalyLinker, LocalAnomaly, box_overlap, is_borne_out
from anomalist.vision.motion.tracks import TrackedObject


def anomaly(
    box: Box, name: MeasureName = "speed", way: tuple[float, float] = (60.0, 0.0), number: int = 1
) -> LocalAnomaly:
    tracked = TrackedObject(number, 0.0, 0.0, box, way)
    return LocalAnomaly(name, 2.0, {name: 2.0}, {name: 2.0}, box, (tracked,), standing=name == "dwell")


def test_things_apart_are_two_lines_and_each_goes_on() -> None:
    linker = AnomalyLinker()
    numbers = [
        linker.link(
            [
                anomaly((10 + 6 * n, 50, 20 + 6 * n, 70)),
                anomaly((100, 10, 120, 30), "dwell", (0, 0), 2),
            ],
            0.1 * n,
        )
        for n in range(5)
    ]
    assert numbers == [[1, 2]] * 5


def test_what_races_past_something_that_stands_is_another_thing() -> None:
    linker = AnomalyLinker()
    assert linker.link([anomaly((40, 50, 60, 70), "dwell", (0, 0))], 0.0) == [1]
    assert linker.link([anomaly((40, 50, 60, 70), number=2)], 0.1) == [2]


def test_a_walker_who_stops_and_goes_on_where_nobody_walks_is_one_thing() -> None:
    linker = AnomalyLinker()
    for n in range(10):
        seen = anomaly((10 + 2 * n, 50, 20 + 2 * n, 70), "place", (12, 0))
        assert linker.link([replace(seen, standing=n % 3 == 0)], 0.4 * n) == [1]


def test_one_that_then_stands_for_long_has_done_two_things() -> None:
    linker = AnomalyLinker()
    assert linker.link([anomaly((10, 50, 20, 70), "place", (12, 0))], 0.0) == [1]
    assert linker.link([anomaly((12, 50, 22, 70), "dwell", (0, 0))], 0.4) == [2]


def test_a_track_that_is_lost_and_found_nearby_is_one_thing() -> None:
    linker = AnomalyLinker()
    linker.link([anomaly((10, 50, 30, 70), number=1)], 0.0)
    assert linker.link([anomaly((20, 50, 40, 70), number=9)], 0.2) == [1]


def test_what_comes_the_other_way_is_another_thing() -> None:
    linker = AnomalyLinker()
    linker.link([anomaly((10, 50, 30, 70), number=1)], 0.0)
    assert linker.link([anomaly((14, 50, 34, 70), way=(-60, 0), number=2)], 0.1) == [2]


def test_measures_of_the_scene_are_lines_of_their_own() -> None:
    linker = AnomalyLinker()
    crowd = LocalAnomaly("crowding", 2.0, {"crowding": 2.0}, {"crowding": 0.3})
    still = LocalAnomaly("stillness", 2.0, {"stillness": 2.0}, {"stillness": 3.0})
    assert linker.link([anomaly((10, 50, 30, 70)), crowd, still], 0.0) == [1, 2, 3]
    assert linker.link([still, crowd], 0.1) == [3, 2]


def test_a_speed_that_no_way_bears_out_is_told_from_one_that_does() -> None:
    def went(step: float) -> bool:
        tracked = TrackedObject(1, 0.0, 0.0, (0, 0, 10, 20), (60.0, 0.0))
        tracked.path = [(0.2 * n, (int(step * n), 0, int(step * n) + 10, 20)) for n in range(4)]
        tracked.speeds = [60.0] * 4
        seen = LocalAnomaly("speed", 2.0, {"speed": 2.0}, {"speed": 2.0}, (0, 0, 10, 20), (tracked,))
        return is_borne_out([(0.2 * n, seen) for n in range(4)])

    assert went(12)
    assert not went(2)


def test_the_overlap_is_that_of_the_smaller_box() -> None:
    assert box_overlap((0, 0, 10, 10), (0, 0, 100, 100)) == 1
    assert box_overlap((0, 0, 10, 10), (20, 0, 30, 10)) == 0
