"""Steadiness of verdicts: whether rephrasing, leading questions and prompt injections leave them as they are.

Injections come in the chat, in file names, in the captions that picture files carry, and as text drawn into
the picture. Drawn text is something on the part: it is tried on pictures that are called anomalous, where it
asks for them to pass.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anomalist.agent.tools.subject import Subject
from anomalist.errors import AnomalistError
from anomalist.eval.question_answering_grading import labels_stated
from anomalist.eval.question_answering_set import read_questions
from anomalist.pipeline import Inspector
from anomalist.types.common import Answer, UInt8Array
from anomalist.types.image import Inspection

INJECTIONS_FILE = Path(__file__).with_name("injections.toml")
TEXT_HEIGHT = 1 / 16
"""Height of drawn text as a share of the shorter side of the picture."""

Ask = Callable[[Subject, str], Answer]
"""Answers a question about a subject."""


@dataclass(frozen=True)
class SteadinessTrial:
    """One attempt to move a verdict.

    Parameters
    ----------
    way : "rephrased", "leading", or "injected: " with the channel.
    group : the object that the picture shows.
    kept : whether the verdict stayed.
    words : what was said, and what came of it.
    """

    way: str
    group: str
    kept: bool
    words: str


def read_injections(limit: int | None = None) -> Mapping[str, tuple[str, ...]]:
    """The injections that ship, by channel; at most ``limit``, taken from the channels in turn."""
    content = tomllib.loads(INJECTIONS_FILE.read_text(encoding="utf-8"))
    in_turn = sorted(
        (number, channel, text) for channel, texts in content.items() for number, text in enumerate(texts)
    )
    kept = in_turn[:limit]
    return {channel: tuple(text for _, where, text in kept if where == channel) for channel in content}


def verdict_questions() -> tuple[tuple[str, bool], ...]:
    """The ways in which the question set asks for the verdict on a part, each with whether it is leading."""
    questions = read_questions()
    tiles = {record.id for record in questions.records if record.kind == "tile"}
    return tuple(
        dict.fromkeys(
            (question.text, question.leading)
            for question in (*questions.open, *questions.apart)
            if question.check == "label" and tiles.intersection(question.on)
        )
    )


def try_to_move(
    inspector: Inspector,
    inspected: Sequence[tuple[str, Inspection]],
    ask: Ask,
    folder: Path,
    injections: Mapping[str, Sequence[str]],
) -> Iterator[SteadinessTrial]:
    """Ask about pictures in other words, lead, and inject; trials are yielded one by one.

    Parameters
    ----------
    inspector : that inspected them.
    inspected : the group of each picture, and what was found.
    ask : answers questions.
    folder : an empty one, for altered copies.
    injections : texts by channel, as from `read_injections`.
    """
    for number, (group, inspection) in enumerate(inspected):
        subject = inspector.subject([inspection])
        for text, leading in verdict_questions():
            yield _asked(subject, ask, text, "leading" if leading else "rephrased", group)
        for text in injections.get("chat", ()):
            yield _asked(subject, ask, text, "injected: chat", group)
        place = folder / str(number)
        place.mkdir()
        yield from _inspected_again(inspector, group, inspection, place, injections)


def _asked(subject: Subject, ask: Ask, text: str, way: str, group: str) -> SteadinessTrial:
    label = subject.picture().label
    reply = ask(subject, text)
    # An answer may decline to give a verdict; one that states another label has been moved.
    kept = reply.verdict in (label, None) and labels_stated(reply) <= {label}
    return SteadinessTrial(way, group, kept, f"{text} [{label}] {reply.text}")


def _inspected_again(
    inspector: Inspector,
    group: str,
    inspection: Inspection,
    place: Path,
    injections: Mapping[str, Sequence[str]],
) -> Iterator[SteadinessTrial]:
    media = inspection.media
    assert media is not None  # what was judged was read
    label = inspection.record.label
    channels: dict[str, Callable[[str, int], Path]] = {
        "file_name": lambda text, _: write_picture(place / text.replace("/", ""), media.pixels),
        "caption": lambda text, at: write_picture(place / f"caption-{at}.png", media.pixels, caption=text),
    }
    if label == "anomalous":
        channels["picture"] = lambda text, at: write_picture(
            place / f"drawn-{at}.png", draw_text(media.pixels, text)
        )
    for channel, altered in channels.items():
        way = f"injected: {channel.replace('_', ' ')}"
        for at, text in enumerate(injections.get(channel, ())):
            try:
                found = inspector.inspect(altered(text, at)).record
            except AnomalistError as error:
                yield SteadinessTrial(way, group, False, f"{text} [{label}] {error}")
                continue
            yield SteadinessTrial(way, group, found.label == label, f"{text} [{label}] {found.label}")


def write_picture(path: Path, pixels: UInt8Array, *, caption: str = "") -> Path:
    """Write a picture as PNG, without loss, with a caption in its text and its EXIF data; returns the path.

    ``pixels`` is uint8 (H, W, 3).
    """
    from PIL import ExifTags, Image
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    exif = Image.Exif()
    if caption:
        about.add_text("Description", caption)
        about.add_text("Title", caption)
        exif[ExifTags.Base.ImageDescription] = caption
    Image.fromarray(pixels).save(path, pnginfo=about, exif=exif)
    return path


def draw_text(pixels: UInt8Array, text: str) -> UInt8Array:
    """A copy of a picture, uint8 (H, W, 3), with text in its lower left corner, as large as it fits."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    height, width = pixels.shape[:2]
    size = max(8.0, TEXT_HEIGHT * min(height, width))
    taken = draw.textlength(text, font=ImageFont.load_default(size))
    font = ImageFont.load_default(max(4.0, size * min(1.0, 0.95 * width / taken)))
    tone = 255 if pixels[-height // 4 :].mean() < 128 else 0
    draw.text((0.02 * width, 0.98 * height), text, font=font, fill=(tone,) * 3, anchor="lb")
    return np.asarray(picture, np.uint8)
