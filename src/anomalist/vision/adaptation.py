"""Adapt SurfaceNet to a product: tell synthetic defects from its normal pictures.

Starts from the weights that ship with the package. Import this module inside functions only: it needs torch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from anomalist.types import UInt8Array
from anomalist.vision.network import SurfaceNet
from anomalist.vision.training import Pairs, Pretext, half_precision, make_pairs

_PAIRS, _SIZE, _RATE = 8, 128, 5e-4
_CHECK_EVERY, _PATIENCE, _CHECK_BATCHES = 100, 4, 6
_AHEAD = 3  # batches drawn by another thread while this one trains


def adapt(
    network: SurfaceNet,
    pictures: Sequence[UInt8Array],
    groups: npt.NDArray[np.int64],
    steps: int,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SurfaceNet:
    """Return a copy of ``network`` trained for at most ``steps`` on normal ``pictures``.

    ``pictures`` are uint8 (H, W, 3) at working size, ``groups`` int (n,) their groups. A tenth of the groups,
    when there are ten or more, is set apart to notice when further training stops helping; the best weights
    seen are returned, rounded to half precision so that what is stored is what was measured. Batch statistics
    stay those of pretraining: a handful of alike pictures would only spoil them.
    """
    order = np.random.default_rng((seed, 7)).permutation(np.unique(groups))
    apart = np.isin(groups, order[: len(order) // 10])
    learning = [picture for picture, kept in zip(pictures, apart, strict=True) if not kept]
    checking = [picture for picture, kept in zip(pictures, apart, strict=True) if kept] or learning
    checks = [_draw((seed, 1_000_000 + k), checking) for k in range(_CHECK_BATCHES)]

    model = Pretext(copy.deepcopy(network))
    optimiser = torch.optim.AdamW(model.parameters(), lr=_RATE, weight_decay=0.01)
    half = half_precision()
    best, best_loss, worse = copy.deepcopy(model.network.state_dict()), _loss(model, checks, half), 0
    model.eval()  # freezes the batch statistics; the weights still learn
    for step, pairs in enumerate(_drawn_ahead(learning, steps, seed)):
        for group in optimiser.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = model(pairs, half=half)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        progress(step + 1, steps)
        if (step + 1) % _CHECK_EVERY == 0 or step + 1 == steps:
            reached = _loss(model, checks, half)
            worse = worse + 1 if reached >= best_loss else 0
            if reached < best_loss:
                best, best_loss = copy.deepcopy(model.network.state_dict()), reached
            if worse >= _PATIENCE:
                break
    adapted = copy.deepcopy(network)
    adapted.load_state_dict(best)
    return rounded(adapted)


def rounded(network: SurfaceNet) -> SurfaceNet:
    """Round the weights to half precision, in place, keeping them float32."""
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.dtype.is_floating_point:
                value.copy_(value.half().float())
    return network.eval()


def _draw(seed: tuple[int, ...], pictures: Sequence[UInt8Array]) -> Pairs:
    chosen = np.random.default_rng((*seed, 1)).integers(len(pictures), size=(_PAIRS, 2))
    return make_pairs(seed, [(pictures[a], pictures[b]) for a, b in chosen], _SIZE, turn=False)


def _drawn_ahead(pictures: Sequence[UInt8Array], steps: int, seed: int) -> Iterator[Pairs]:
    """Yield batches 0 … steps − 1 in order, drawn by one other thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(_draw, (seed, i), pictures) for i in range(min(_AHEAD, steps))]
        try:
            for step in range(steps):
                pairs = waiting.pop(0).result()
                if step + _AHEAD < steps:
                    waiting.append(pool.submit(_draw, (seed, step + _AHEAD), pictures))
                yield pairs
        finally:  # early stopping or an interrupt must not wait for batches that nobody needs
            for future in waiting:
                future.cancel()


def _loss(model: Pretext, batches: list[Pairs], half: bool) -> float:
    model.eval()
    with torch.inference_mode():
        return float(np.mean([model(pairs, half=half).item() for pairs in batches]))
