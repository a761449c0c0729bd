"""How damage is said."""

from anomalist.vision.media.frames import MAX_LOST_FRAMES, DamageLog


def test_neighbours_are_one_note_whatever_their_order_and_passes_do_not_add_up() -> None:
    damage = DamageLog()
    for _ in range(2):
        for index in (33, 35, 34, 32):
            damage.add_lost(index, index / 10)
        damage.add_lost(50, 5.0)
    assert damage.notes() == [
        "damaged: 4 frames from 3.2 s could not be decoded",
        "damaged: 1 frame from 5.0 s could not be decoded",
    ]


def test_many_places_are_summed_up_and_memory_is_bounded() -> None:
    damage = DamageLog()
    for index in range(0, 2 * (MAX_LOST_FRAMES + 10), 2):
        damage.add_lost(index, index / 10)
    assert len(damage.notes()) == 6
    assert (
        damage.notes()[-1]
        == f"damaged: {MAX_LOST_FRAMES + 5} more frames in other places could not be decoded"
    )


def test_an_early_end_is_told_from_a_rounded_one() -> None:
    damage = DamageLog()
    damage.set_end(9.96, 10.0, 0.1)
    assert damage.notes() == []
    damage.set_end(4.16, 10.0, 0.1)
    assert damage.notes() == ["cut short: ends at 4.1 s of 10.0 s"]
    assert damage.end == 4.16
