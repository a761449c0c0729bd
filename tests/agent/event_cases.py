"""A small video in memory, events in it, and models that reply to questions about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from anomalist.agent.models.structured import prompt_id
from anomalist.types.clip import Caption, Event, Measured, Track
from anomalist.types.common import Box, UInt8Array
from anomalist.vision.media.frames import Frame

HEIGHT, WIDTH, RATE, SIDE = 96, 160, 10, 16


def place(time: float) -> Box:
    """Where the white square is: it goes from left to right, 30 pixels a second."""
    left = round(10 + 30 * time)
    return left, 40, left + SIDE, 40 + SIDE


@dataclass
class Street:
    """A square that crosses textured ground; a ``Video``. Says which frames were read."""

    seconds: float = 4.0
    source: str = "street.mp4"
    sha256: str | None = "00"
    size: tuple[int, int] = (HEIGHT, WIDTH)
    notes: tuple[str, ...] = ()
    live: bool = False
    scale: int = 1
    first: float = 0.0
    read: list[int] = field(default_factory=list)

    @property
    def duration(self) -> float | None:
        return None if self.live else self.seconds

    def frames(
        self, start: float = 0.0, stop: float | None = None, rate: float | None = None
    ) -> Iterator[Frame]:
        end = self.seconds if stop is None else min(stop, self.seconds)
        for index in range(round(self.seconds * RATE)):
            if max(start, self.first) <= index / RATE < end:
                self.read.append(index)
                yield Frame(index, index / RATE, self._pixels(index / RATE))

    def _pixels(self, time: float) -> UInt8Array:
        rng = np.random.default_rng(0)
        grey = rng.integers(60, 120, (HEIGHT, WIDTH), dtype=np.uint8)
        left, top, right, bottom = place(time)
        grey[top:bottom, left:right] = rng.integers(180, 255, (SIDE, SIDE), dtype=np.uint8)[
            :, : max(0, min(right, WIDTH) - left)
        ]
        pixels = np.repeat(grey[..., None], 3, 2)
        return np.repeat(np.repeat(pixels, self.scale, 0), self.scale, 1)


def make_track(number: int = 1, start: float = 0.0, end: float = 3.9) -> Track:
    times = np.arange(start, end + 0.01, 0.1).round(3).tolist()
    return Track(
        id=f"T{number}",
        start=start,
        end=end,
        path=tuple((time, place(time)) for time in times),
        speed=30,
        speed_ratio=2.5,
        height=SIDE,
        size_ratio=1.0,
        direction="from left to right",
    )


def make_event(number: int = 1, **changes: Any) -> Event:
    """Something fast, from 1 s to 3 s, unless said otherwise."""
    fields: dict[str, Any] = {
        "id": f"E{number}",
        "start": 1.0,
        "end": 3.0,
        "peak": 2.0,
        "score": 1.5,
        "false_events_per_hour": None,
        "kind": "speed",
        "measures": (Measured(name="speed", surprise=1.5, value=2.5),),
        "tracks": (make_track(),),
        "box": place(2.0),
        "caption": make_caption(
            "A fast object moves from left to right at 2.5 times the usual speed, for 2.0 s."
        ),
    }
    return Event(**fields | changes)


def make_caption(text: str) -> Caption:
    return Caption(text=text, subject="a fast object", action="moves", when="1.0 s to 3.0 s", where="")


REPLY: dict[str, Any] = {
    "happening": "A man rides a bicycle across the street.",
    "evidence": ["E1", "T1"],
    "subject": "a man",
    "action": "rides",
    "object": "a bicycle",
    "scene": "a street",
    "reason": "Everybody else walks.",
    "unusual": "unusual",
    "confidence": "high",
}


class RecordingChatModel(BaseChatModel):
    """Replies with what functions make of the last message, and keeps what it was shown.

    Parameters
    ----------
    opinion : text of the reply to ``event.v1``, or an error to raise.
    letter : the reply to ``watch.v1``: to the text of the question.
    """

    opinion: Callable[[str], str]
    letter: Callable[[str], str] = lambda _: "no"
    _shown: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "onlooker"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self._shown.append(messages)
        say = self.opinion if prompt_id(messages) == "event.v1" else self.letter
        return ChatResult(generations=[ChatGeneration(message=AIMessage(say(messages[-1].text)))])

    def asked(self, prompt: str) -> list[list[BaseMessage]]:
        """The conversations with this prompt."""
        return [messages for messages in self._shown if prompt_id(messages) == prompt]


def pictures_in(messages: Sequence[BaseMessage]) -> int:
    return sum(
        isinstance(block, dict) and block["type"] == "image"
        for message in messages
        for block in message.content
    )
