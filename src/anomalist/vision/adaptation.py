"""Adapt the first sight of SurfaceNet to a product: tell synthetic defects from its normal pictures.

The trunk stays as it ships, so that memory banks stay valid and pictures are looked at once; so does the head
that is told of novelty, which adapting makes worse. Import this module inside functions only: it needs torch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from anomalist.vision.eyes import Eyes
from anomalist.vision.lessons import Lesson, Teacher
from anomalist.vision.network import Head
from anomalist.vision.training import half_precision, total_loss

PICTURES = 4
"""Pictures a step."""

_RATE = 1e-3
_CHECK_PICTURES = 64
_AHEAD = 3  # steps drawn by another thread while this one trains


def adapt(
    eyes: Eyes,
    head: Head,
    teacher: Teacher,
    groups: npt.NDArray[np.int64],
    steps: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Head:
    """Return the mean of ``head`` and a copy trained for ``steps`` on what ``teacher`` makes.

    ``groups`` are int (n,), of the teacher's normals. A tenth of the groups, when there are ten or more, is
    set apart to check that training has helped; where it has not, ``head`` itself is returned. The result is
    rounded to half precision, as it is stored. Batch statistics stay those of pretraining: a handful of alike
    pictures would only spoil them.
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
        losses = [_loss(eyes, adapted, lesson) for lesson in lessons]
        return torch.stack(losses).mean()

    def check() -> float:
        with torch.no_grad():
            return float(loss_of(checks))

    before = check()
    for step, lessons in enumerate(_drawn_ahead(teacher, learning, steps, seed)):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = loss_of(lessons)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(adapted.parameters(), 1.0)
        optimiser.step()
        progress(step + 1, steps)
    adapted.load_state_dict(_between(head.state_dict(), adapted.state_dict()))
    return rounded(adapted if check() < before else copy.deepcopy(head))


def _between(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of two states: it keeps what the first knows of defects that the lessons don't show.

    Wortsman et al. 2022, "Robust fine-tuning of zero-shot models".
    """
    return {
        name: (value + second[name]) / 2 if value.dtype.is_floating_point else value
        for name, value in first.items()
    }


def rounded(head: Head) -> Head:
    """Round the weights to half precision, in place, keeping them float32."""
    with torch.no_grad():
        for value in head.state_dict().values():
            if value.dtype.is_floating_point:
                value.copy_(value.half().float())
    return head.eval()


def _loss(eyes: Eyes, head: Head, lesson: Lesson) -> Tensor:
    """Loss of one lesson at first sight."""
    (look,) = eyes.look([lesson.picture])
    strangeness, _ = look.strangeness_within, look.alone  # similarities need their full precision
    with torch.autocast("cpu", torch.bfloat16, enabled=half_precision()):
        logits = look.logits(head, strangeness).float()
    return total_loss(logits, torch.from_numpy(lesson.label[None]))


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
        finally:  # an interrupt must not wait for lessons that nobody needs
            for future in waiting:
                future.cancel()
