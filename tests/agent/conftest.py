"""Evidence built by hand, and tiny vision-language models: what reasoners work with."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from anomalist.agent.models.structured import image_block
from anomalist.types.common import Box, DetectorInfo, UInt8Array
from anomalist.types.image import Attributes, Calibration, Evidence, Media, Region

if TYPE_CHECKING:
    from anomalist.agent.models.loading import Quantisation
    from anomalist.agent.models.local import LocalChatModel

SIDE = 256


def make_region(number: int = 1, box: Box | None = None, area: int = 400, **attributes: object) -> Region:
    """A region of a plain, compact shape at the upper left, unless said otherwise."""
    if box is None:
        end = 20 + math.ceil(math.sqrt(area))
        box = (20, 20, end, end)
    measured: dict[str, Any] = {
        "position": "upper left",
        "relative_size": area / SIDE**2,
        "elongation": 1.0,
        "contrast": 0.0,
        "contrast_sigma": 0.0,
        "tone": "same",
        "colour_shift": 0.0,
        "texture_ratio": 1.0,
        "texture": "same",
    } | attributes
    return Region(
        id=f"R{number}", box=box, area=area, peak=1 / number, mean=0.1, attributes=Attributes(**measured)
    )


def make_evidence(
    p: float | None = 0.01, score: float = 3.2, regions: Sequence[Region] = (), **calibration: object
) -> Evidence:
    """Evidence with 100 ungrouped normals and an asked rate of 0.05, unless said otherwise."""
    about: dict[str, Any] = {
        "method": "split",
        "normals": 100,
        "groups": 100,
        "false_alarm_rate": 0.05,
        "reachable": True,
        "normals_needed": 19,
        "instability": 0.0,
        "approximate": False,
        "seed": 0,
    } | calibration
    return Evidence(
        detector=DetectorInfo(name="test", digest="00"),
        score=score,
        score_map=np.zeros((SIDE, SIDE), dtype=np.float32),
        mask=np.zeros((SIDE, SIDE), dtype=bool),
        roi_area=SIDE**2,
        p_value=p,
        threshold=3.0,
        calibration=Calibration(**about),
        regions=tuple(regions),
    )


@pytest.fixture
def region() -> Callable[..., Region]:
    return make_region


@pytest.fixture
def evidence() -> Callable[..., Evidence]:
    return make_evidence


@pytest.fixture
def media() -> Media:
    return Media(source="part.png", sha256="00", pixels=np.zeros((SIDE, SIDE, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders of vision-language models with random weights, by family; each is made once."""
    from scripts import random_models

    @functools.cache
    def folder(family: str) -> Path:
        path = tmp_path_factory.mktemp(family)
        match family:
            case "idefics3":
                return random_models.save_idefics3(path)
            case "smolvlm":
                return random_models.save_smolvlm(path)
            case "llama":
                return random_models.save_llama(path)
            case "llava":
                return random_models.save_llava(path)
            case _:
                return random_models.save_qwen(path, family)

    return folder


@pytest.fixture(scope="session")
def opened(tiny_model: Callable[[str], Path]) -> Callable[..., LocalChatModel]:
    """Tiny models by family and quantisation; each is opened once, so that tests must leave it as it is."""
    from anomalist.agent.models.local import open_local

    @functools.cache
    def model(family: str, quantisation: Quantisation | None = None) -> LocalChatModel:
        return open_local(str(tiny_model(family)), quantisation=quantisation)

    return model


@pytest.fixture
def picture() -> Callable[..., UInt8Array]:
    """Pictures of noise, uint8 (height, width, 3), by seed."""

    def noise(seed: int = 0, height: int = 80, width: int = 120) -> UInt8Array:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return noise


@pytest.fixture
def ask_about(picture: Callable[..., UInt8Array]) -> Callable[..., list[BaseMessage]]:
    """A conversation: rules, then the pictures with these seeds and a question."""

    def conversation(text: str = "What is wrong here?", pictures: Sequence[int] = (0,)) -> list[BaseMessage]:
        blocks = [image_block(picture(seed)) for seed in pictures]
        return [
            SystemMessage("You inspect parts."),
            HumanMessage(content=[*blocks, {"type": "text", "text": text}]),
        ]

    return conversation
