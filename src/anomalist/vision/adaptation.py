"""Adapt the head of SurfaceNet to a product: tell synthetic defects from its normal pictures.

The trunk stays as it ships, so that memory banks stay valid and pictures are looked at once. Import this
module inside functions only: it needs torch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomalist.types import UInt8Array
from anomalist.vision.eyes import Eyes
from anomalist.vision.fusion import Normality, together
from anomalist.vision.network import Head
from anomalist.vision.strokes import Rng
from anomalist.vision.synthesis import DEFECT, NORMAL, add_defect, disturb
from anomalist.vision.training import half_precision, total_loss

PICTURES = 4
"""Pictures a step."""

_RATE = 1e-3
_CHECK_EVERY, _PATIENCE, _CHECK_PICTURES = 60, 3, 16
_AHEAD = 3  # steps drawn by another thread while this one trains
_PATCH = 128  # side of the square that synthetic defects are made for
_CLEAN_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Lesson:
    """A picture to learn from.

    Parameters
    ----------
    picture : uint8 (H, W, 3) at working size.
    label : uint8 (H, W), NORMAL, DEFECT or IGNORE.
    source : number of the normal picture that it was made from; −1 for a real defect.
    """

    picture: UInt8Array
    label: UInt8Array
    source: int


@dataclass(frozen=True, eq=False)
class Teacher:
    """Makes lessons from normal pictures, and from known defects where there are any.

    Parameters
    ----------
    normals : uint8 (H, W, 3) each, at working size.
    known : real defective pictures with their labels, likewise.
    """

    normals: Sequence[UInt8Array]
    known: Sequence[tuple[UInt8Array, UInt8Array]] = ()

    def lesson(self, rng: Rng, among: npt.NDArray[np.int64]) -> Lesson:
        """Draw one, from the normal pictures with the numbers ``among`` and from all known defects."""
        if self.known and rng.random() < 0.4:
            picture, label = self.known[int(rng.integers(len(self.known)))]
            return Lesson(_disturbed(rng, picture), label, -1)
        source = int(rng.choice(among))
        normal = self.normals[source].astype(np.float32) / np.float32(255)
        label = np.full(normal.shape[:2], NORMAL, np.uint8)
        if rng.random() > _CLEAN_SHARE:
            donor = self.normals[int(rng.choice(among))]
            for _ in range(int(rng.integers(1, 4))):
                _put_defect(rng, normal, label, donor)
        return Lesson(_disturbed(rng, normal), label, source)


def adapt(
    eyes: Eyes,
    head: Head,
    normality: Normality,
    teacher: Teacher,
    groups: npt.NDArray[np.int64],
    steps: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Head:
    """Return a copy of ``head`` trained for at most ``steps`` on what ``teacher`` makes.

    ``groups`` are int (n,), of the teacher's normals. A tenth of the groups, when there are ten or more, is
    set apart to notice when further training stops helping; the best weights seen are returned, rounded to
    half precision so that what is stored is what was measured. Batch statistics stay those of pretraining: a
    handful of alike pictures would only spoil them. Patches are looked up as if their own group were new.
    """
    order = np.random.default_rng((seed, 7)).permutation(np.unique(groups))
    apart = np.isin(groups, order[: len(order) // 10])
    learning = np.flatnonzero(~apart)
    checking = np.flatnonzero(apart) if apart.any() else learning
    rng = np.random.default_rng((seed, 1_000_000))
    checks = [teacher.lesson(rng, checking) for _ in range(_CHECK_PICTURES)]

    adapted = copy.deepcopy(head).eval()  # freezes the batch statistics; the weights still learn
    optimiser = torch.optim.AdamW(adapted.parameters(), lr=_RATE, weight_decay=0.01)

    def loss_of(lessons: Sequence[Lesson]) -> Tensor:
        losses = [_loss(eyes, adapted, normality, lesson, groups) for lesson in lessons]
        return torch.stack(losses).mean()

    def check() -> float:
        with torch.no_grad():
            return float(loss_of(checks))

    best, best_loss, worse = copy.deepcopy(adapted.state_dict()), check(), 0
    for step, lessons in enumerate(_drawn_ahead(teacher, learning, steps, seed)):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = loss_of(lessons)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(adapted.parameters(), 1.0)
        optimiser.step()
        progress(step + 1, steps)
        if (step + 1) % _CHECK_EVERY == 0 or step + 1 == steps:
            reached = check()
            worse = worse + 1 if reached >= best_loss else 0
            if reached < best_loss:
                best, best_loss = copy.deepcopy(adapted.state_dict()), reached
            if worse >= _PATIENCE:
                break
    adapted.load_state_dict(best)
    return rounded(adapted)


def rounded(head: Head) -> Head:
    """Round the weights to half precision, in place, keeping them float32."""
    with torch.no_grad():
        for value in head.state_dict().values():
            if value.dtype.is_floating_point:
                value.copy_(value.half().float())
    return head.eval()


def _loss(
    eyes: Eyes, head: Head, normality: Normality, lesson: Lesson, groups: npt.NDArray[np.int64]
) -> Tensor:
    (look,) = eyes.look([lesson.picture])
    left_out = together(groups, lesson.source) if lesson.source >= 0 else np.empty(0, np.int32)
    strangeness = normality.strangeness_without(look.descriptors[0], left_out)[None]
    with torch.autocast("cpu", torch.bfloat16, enabled=half_precision()):
        logits = look.logits(head, strangeness).float()
    return total_loss(logits, torch.from_numpy(lesson.label[None]))


def _put_defect(rng: Rng, picture: np.ndarray, label: UInt8Array, donor: UInt8Array) -> None:
    """Put a synthetic defect on a square part of a picture, float32 (H, W, 3) in [0, 1], in place."""
    side = min(int(_PATCH * rng.choice([0.75, 1, 1.75])), *picture.shape[:2], *donor.shape[:2])
    y, x = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
    top, left = (int(rng.integers(length - side + 1)) for length in donor.shape[:2])
    other = donor[top : top + side, left : left + side].astype(np.float32) / np.float32(255)
    square = (slice(y, y + side), slice(x, x + side))
    changed, new = add_defect(rng, picture[square], other)
    picture[square] = changed
    old = label[square]
    label[square] = np.where(new == NORMAL, old, np.where(old == DEFECT, DEFECT, new))


def _disturbed(rng: Rng, picture: np.ndarray) -> UInt8Array:
    """Change light, noise and sharpness in half of the pictures; takes uint8 or float32, gives uint8."""
    if picture.dtype == np.uint8:
        picture = picture.astype(np.float32) / np.float32(255)
    if rng.random() < 0.5:
        picture = disturb(rng, picture)
    return np.asarray((picture * 255).round(), np.uint8)


def _drawn_ahead(
    teacher: Teacher, among: npt.NDArray[np.int64], steps: int, seed: int
) -> Iterator[list[Lesson]]:
    """Yield the lessons of steps 0 … steps − 1 in order, drawn by one other thread."""

    def draw(step: int) -> list[Lesson]:
        rng = np.random.default_rng((seed, step))
        return [teacher.lesson(rng, among) for _ in range(PICTURES)]

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(draw, step) for step in range(min(_AHEAD, steps))]
        try:
            for step in range(steps):
                lessons = waiting.pop(0).result()
                if step + _AHEAD < steps:
                    waiting.append(pool.submit(draw, step + _AHEAD))
                yield lessons
        finally:  # early stopping or an interrupt must not wait for lessons that nobody needs
            for future in waiting:
                future.cancel()
