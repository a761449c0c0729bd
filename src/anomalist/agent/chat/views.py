"""The pictures that a language model is shown with a question; they are made when it is asked, never kept."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from langchain_core.messages import BaseMessage, ToolMessage

from anomalist.agent.looks import CLOSE, WHOLE, whole
from anomalist.agent.tools.subject import Subject
from anomalist.errors import AnomalistError
from anomalist.types import UInt8Array

MOST_CLOSE = 2
"""Closer looks that are shown at once."""


def views_of(subject: Subject, turn: Sequence[BaseMessage]) -> tuple[list[UInt8Array], list[str]]:
    """The picture that is meant with its regions outlined, then what was zoomed into in this turn.

    Returns
    -------
    Pictures, uint8 (h, w, 3), and what each shows in words. A picture that is gone or has changed is none,
    and the words say so; with several pictures meant there is none to show.
    """
    from anomalist.vision.drawing import thumbnail

    if len(subject.records) != 1:
        return [], []
    (record,) = subject.records
    try:
        media = subject.media(record)
    except AnomalistError as error:
        return [], [f"There is no picture to show: {error}"]
    held = subject.inspections.get(record.source)
    if held is not None and held.evidence is not None:
        pictures = [whole(media, held.evidence)]
        words = ["Picture 1: the whole picture, its regions outlined with their ids"]
    else:
        pictures = [thumbnail(media.pixels, max_side=WHOLE)]
        words = ["Picture 1: the whole picture"]
    for x0, y0, x1, y1 in _windows(turn)[-MOST_CLOSE:]:
        cut = np.ascontiguousarray(media.pixels[y0:y1, x0:x1])
        if cut.size:
            pictures.append(thumbnail(cut, max_side=CLOSE))
            words.append(f"Picture {len(pictures)}: closer, from x {x0}, y {y0} to x {x1}, y {y1}")
    return pictures, words


def _windows(turn: Sequence[BaseMessage]) -> list[tuple[int, int, int, int]]:
    """The windows that were zoomed into."""
    found = []
    for message in turn:
        if isinstance(message, ToolMessage) and message.name == "zoom" and message.status == "success":
            try:
                x0, y0, x1, y1 = json.loads(str(message.content))["window"]
            except (ValueError, KeyError, TypeError):
                continue
            found.append((x0, y0, x1, y1))
    return found
