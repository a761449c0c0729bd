"""Pretrain SurfaceNet on procedural surfaces: the recipe behind the weights that ship with the package.

What it learns from is a function of the recipe alone (product i is drawn from seed i, batch i from
(seed, i)), and it is resumable: everything lives in one safetensors checkpoint. Import this module inside
functions only: it needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from anomalist.types import UInt8Array
from anomalist.vision.allocator import keep_freed_memory
from anomalist.vision.checkpoints import (
    load_checkpoint,
    moments_of,
    restore_moments,
    save_checkpoint,
    update_average,
)
from anomalist.vision.network import SurfaceNet
from anomalist.vision.pools import pools
from anomalist.vision.surfaces import is_rigid, surface
from anomalist.vision.training import HALF, Pretext, Views, half_precision, make_views
from anomalist.vision.weights import part_of


@dataclass(frozen=True)
class Recipe:
    """How the shipped weights were made; stored in their file."""

    steps: int = 20_000
    sets: int = 4
    """Sets of views in a batch, each of another product."""
    size: int = 128
    """Side of a view, pixels."""
    pool: int = 512
    """Products alive at a time."""
    every: int = 3
    """Batches after which one product is replaced."""
    peak_rate: float = 2e-3
    warmup: int = 300
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones that ship."""
    seed: int = 0
    without: tuple[str, ...] = ()
    """Families of surfaces left out."""


Product = tuple[list[UInt8Array], bool]
"""Pictures of a product, and whether it is rigid."""

_DRAWS = 3  # pictures of a product that is not rigid; rigid ones differ by light and place alone


def product(seed: int, without: tuple[str, ...] = ()) -> Product:
    """The pictures of one product for a set of views."""
    drawn = [surface(seed, without=without, draw=draw) for draw in range(_DRAWS)]
    return [drawn[k % _DRAWS] for k in range(2 * HALF)], is_rigid(seed)


def batches(recipe: Recipe, start: int = 0) -> Iterator[Views]:
    """Yield the batches from ``start`` on; batch i draws on products i // every to i // every + pool − 1."""
    alive = pools(lambda seed: product(seed, recipe.without), recipe.pool, recipe.every, start)
    for pool, step in zip(alive, range(start, recipe.steps), strict=False):
        chosen = np.random.default_rng((recipe.seed, step, 1)).integers(recipe.pool, size=recipe.sets)
        yield make_views((recipe.seed, step), [pool[i] for i in chosen], recipe.size, turn=True)


def _rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then cosine to nothing."""
    if step < recipe.warmup:
        return recipe.peak_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.peak_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class _State:
    """Model, optimiser and averaged weights, with a checkpoint that holds tensors only."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.model = Pretext(SurfaceNet())
        self.average = {name: value.clone() for name, value in self.model.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=recipe.peak_rate, weight_decay=0.01)
        self.step = 0

    def save(self, path: Path, recipe: Recipe) -> None:
        """Write the checkpoint whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        tensors |= moments_of(self.optimiser, "optimiser.")
        save_checkpoint(path, recipe, {"step": self.step}, tensors)

    def load(self, path: Path, recipe: Recipe) -> None:
        """Go on from a checkpoint; ValueError when it is of another recipe."""
        counts, tensors = load_checkpoint(path, recipe)
        self.step = counts["step"]
        self.model.load_state_dict(part_of(tensors, "model."))
        self.average = part_of(tensors, "average.")
        restore_moments(self.optimiser, tensors, "optimiser.")


def pretrain(
    recipe: Recipe,
    checkpoint: Path,
    source: Callable[[Recipe, int], Iterator[Views]] = batches,
    report: Callable[[int, float], None] = lambda step, loss: None,
    save_every: int = 500,
) -> dict[str, torch.Tensor]:
    """Train, or go on from ``checkpoint``; returns the averaged weights of the network, float32.

    Parameters
    ----------
    checkpoint : file that is written every ``save_every`` steps and at the end.
    source : yields the batches of the recipe from the given one on.
    report : called every 50 steps with the step and the mean loss since the last call.

    Raises
    ------
    ValueError : the checkpoint belongs to another recipe.
    """
    keep_freed_memory()
    state = _State(recipe)
    if checkpoint.exists():
        state.load(checkpoint, recipe)
    half = half_precision()
    losses: list[float] = []
    state.model.train()
    for views in source(recipe, state.step):
        for group in state.optimiser.param_groups:
            group["lr"] = _rate(recipe, state.step)
        loss = state.model(views, half=half)
        state.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        state.optimiser.step()
        early = (state.step + 1) / (state.step + 10)  # the first steps would linger in a slow average
        update_average(state.average, state.model.network, min(recipe.ema, early))
        state.step += 1
        losses.append(loss.item())
        if state.step % 50 == 0:
            report(state.step, sum(losses) / len(losses))
            losses.clear()
        if state.step % save_every == 0 or state.step == recipe.steps:
            state.save(checkpoint, recipe)
    return state.average
