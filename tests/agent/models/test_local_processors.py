"""How pictures get to a model: limited in size, and prepared once however often they are asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.messages import BaseMessage
from transformers import Idefics3ImageProcessorPil, Qwen2VLImageProcessorPil

from anomalist.agent.models.chat_inputs import prepare_inputs
from anomalist.agent.models.local import (
    DEFAULT_MAX_PIXELS,
    CachingImageProcessor,
    LocalChatModel,
    limit_pixels,
)


class Counting:
    """An image processor that doubles what it gets and counts how often it is called."""

    scale = 2

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, pictures: Any, **options: object) -> dict[str, Any]:
        self.calls += 1
        return {"pixels": self.scale * np.stack([np.asarray(picture) for picture in pictures])}


def test_the_same_pictures_are_prepared_once() -> None:
    one, other = np.ones((2, 2)), np.zeros((2, 2))
    counting = Counting()
    images = CachingImageProcessor(counting)
    first = images([one], size=1)
    first.pop("pixels")  # as processors do with what they don't pass on
    assert np.array_equal(images([one], size=1)["pixels"], [2 * one])
    assert counting.calls == 1
    assert np.array_equal(images([other], size=1)["pixels"], [2 * other])
    assert np.array_equal(images([one, other], size=1)["pixels"], [2 * one, 2 * other])
    images([one, other], size=3)
    assert counting.calls == 4
    assert images.scale == 2


def test_a_picture_that_is_gone_is_not_mistaken_for_a_new_one() -> None:
    images = CachingImageProcessor(Counting())
    for value in range(50):  # Python gives the place of what is gone, and so its id, to the next
        assert images([np.full((2, 2), value)])["pixels"].max() == 2 * value


@pytest.mark.parametrize("family", ["idefics3", "llava", "qwen2_5_vl"])
def test_a_real_processor_gives_the_same_again(
    opened: Callable[..., LocalChatModel], ask_about: Callable[..., list[BaseMessage]], family: str
) -> None:
    processor = opened(family).processor
    pictures: dict[str, Any] = {}

    def once(data: str) -> Any:
        from anomalist.agent.models.chat_inputs import decode_picture

        return pictures.setdefault(data, decode_picture(data))

    first, again = (prepare_inputs(processor, ask_about(), once).inputs for _ in range(2))
    fresh = prepare_inputs(processor, ask_about()).inputs
    assert {"input_ids", "pixel_values"} <= first.keys()
    for name, value in first.items():
        assert np.array_equal(value, again[name]) and np.array_equal(value, fresh[name])


@pytest.mark.parametrize(
    ("published", "asked", "expected"),
    [
        ({"min_pixels": 3136, "max_pixels": 12_845_056}, None, (3136, DEFAULT_MAX_PIXELS)),
        ({"min_pixels": 3136, "max_pixels": 50_176}, None, (3136, 50_176)),
        ({"min_pixels": 3136, "max_pixels": 50_176}, 2_000_000, (3136, 2_000_000)),
        ({"min_pixels": 3136, "max_pixels": 50_176}, 1000, (1000, 1000)),
    ],
)
def test_pictures_of_any_size_are_limited_by_area(
    published: dict[str, int], asked: int | None, expected: tuple[int, int]
) -> None:
    images = Qwen2VLImageProcessorPil(**published)
    limit_pixels(images, asked)
    assert (images.size["shortest_edge"], images.size["longest_edge"]) == expected


@pytest.mark.parametrize(("asked", "edge"), [(None, 1456), (1456**2, 1456), (800 * 800, 728), (10, 364)])
def test_pictures_in_tiles_are_limited_to_whole_tiles(asked: int | None, edge: int) -> None:
    images = Idefics3ImageProcessorPil(size={"longest_edge": 1456}, max_image_size={"longest_edge": 364})
    limit_pixels(images, asked)
    assert images.size["longest_edge"] == edge
