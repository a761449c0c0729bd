"""Pretrain SurfaceNet on procedural surfaces: the recipe of the weights that ship, and its checkpoints.

The training data is a function of the recipe alone (product i is drawn from seed i, batch i from (seed, i)).
Training is resumable from one safetensors checkpoint, written atomically and refused by another recipe. Needs
torch: import it inside functions only.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from anomalist.storage.files import write_atomically
from anomalist.types.common import UInt8Array
from anomalist.vision.detectors.pretext import (
    HALF_SET,
    PretextModel,
    ViewBatch,
    make_view_batch,
)
from anomalist.vision.features.backbones import has_fast_bfloat16
from anomalist.vision.features.extractor import keep_freed_memory, with_prefix
from anomalist.vision.features.surface_net import SurfaceNet
from anomalist.vision.synthetic_textures import is_rigid, render_surface

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def save_checkpoint(
    path: Path, recipe: DataclassInstance, counts: Mapping[str, int], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Write the tensors and counters of a training by ``recipe``, atomically."""
    from safetensors.torch import save

    contiguous = {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    metadata = {name: str(count) for name, count in counts.items()}
    write_atomically(path, save(contiguous, metadata | {"recipe": json.dumps(asdict(recipe))}))


def load_checkpoint(path: Path, recipe: DataclassInstance) -> tuple[dict[str, int], dict[str, torch.Tensor]]:
    """Return counters and tensors; ValueError when they are of another recipe."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        written = metadata.pop("recipe")
        if json.loads(written) != json.loads(json.dumps(asdict(recipe))):
            raise ValueError(f"{path} belongs to another recipe: {written}")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return {name: int(count) for name, count in metadata.items()}, tensors


def optimiser_moments(optimiser: torch.optim.Optimizer, prefix: str) -> dict[str, torch.Tensor]:
    """Optimiser state of each parameter, by names that begin with ``prefix``."""
    states = optimiser.state_dict()["state"].items()
    return {f"{prefix}{index}.{k}": v for index, state in states for k, v in state.items()}


def restore_optimiser_moments(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], prefix: str
) -> None:
    """Restore the state that `optimiser_moments` returned."""
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in with_prefix(dict(tensors), prefix).items():
        index, key = name.split(".", 1)
        moments.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})


@torch.no_grad()
def update_average(average: dict[str, torch.Tensor], network: Any, decay: float) -> None:  # noqa: ANN401
    """Exponential moving average of a network's weights; integers are copied."""
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


def sliding_pool(draw: Callable[[int], T], size: int, every: int, start: int = 0) -> Iterator[deque[T]]:
    """Yield, for each step i from ``start`` on, the pool of products i // every to i // every + size − 1.

    It is one deque that changes, so products are drawn once.

    Parameters
    ----------
    draw : makes a product from its number.
    size : products in the pool.
    every : steps after which one product is replaced.
    """
    following = start // every + size
    pool = deque((draw(number) for number in range(following - size, following)), size)
    for step in itertools.count(start):
        yield pool
        if (step + 1) % every == 0:
            pool.append(draw(following))
            following += 1


@dataclass(frozen=True)
class PretrainingRecipe:
    """Hyperparameters of a pretraining, stored in the file of the weights."""

    steps: int = 20_000
    sets: int = 4
    """Sets of views in a batch, each of another product."""
    size: int = 128
    """Side of a view, pixels."""
    pool: int = 512
    """Products in the sliding pool."""
    every: int = 3
    """Batches after which one product is replaced."""
    peak_rate: float = 2e-3
    warmup: int = 300
    ema: float = 0.999
    """Decay of the averaged weights, which are the ones that ship."""
    seed: int = 0
    without: tuple[str, ...] = ()
    """Texture families left out."""


ProductPictures = tuple[list[UInt8Array], bool]
"""Pictures of a product, and whether it is rigid."""

_DRAWS = 3  # pictures of a product that is not rigid; rigid ones differ by light and place alone


def render_product(seed: int, without: tuple[str, ...] = ()) -> ProductPictures:
    """Render the pictures of one product for a set of views."""
    drawn = [render_surface(seed, without=without, draw=draw) for draw in range(_DRAWS)]
    return [drawn[k % _DRAWS] for k in range(2 * HALF_SET)], is_rigid(seed)


def view_batches(recipe: PretrainingRecipe, start: int = 0) -> Iterator[ViewBatch]:
    """Yield the batches from ``start`` on; batch i draws on products i // every to i // every + pool − 1."""
    alive = sliding_pool(lambda seed: render_product(seed, recipe.without), recipe.pool, recipe.every, start)
    for step, pool in zip(range(start, recipe.steps), alive, strict=False):
        chosen = np.random.default_rng((recipe.seed, step, 1)).integers(recipe.pool, size=recipe.sets)
        yield make_view_batch((recipe.seed, step), [pool[i] for i in chosen], recipe.size, turn=True)


def _learning_rate(recipe: PretrainingRecipe, step: int) -> float:
    """Learning rate at a step: linear warm-up, then cosine decay to 0."""
    if step < recipe.warmup:
        return recipe.peak_rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.peak_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class _TrainingState:
    """Model, optimiser and averaged weights, with a checkpoint that holds tensors only."""

    def __init__(self, recipe: PretrainingRecipe) -> None:
        torch.manual_seed(recipe.seed)
        self.model = PretextModel(SurfaceNet())
        self.average = {name: value.clone() for name, value in self.model.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=recipe.peak_rate, weight_decay=0.01)
        self.step = 0

    def save(self, path: Path, recipe: PretrainingRecipe) -> None:
        """Write the checkpoint whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        tensors |= optimiser_moments(self.optimiser, "optimiser.")
        save_checkpoint(path, recipe, {"step": self.step}, tensors)

    def load(self, path: Path, recipe: PretrainingRecipe) -> None:
        """Go on from a checkpoint; ValueError when it is of another recipe."""
        counts, tensors = load_checkpoint(path, recipe)
        self.step = counts["step"]
        self.model.load_state_dict(with_prefix(tensors, "model."))
        self.average = with_prefix(tensors, "average.")
        restore_optimiser_moments(self.optimiser, tensors, "optimiser.")


def pretrain(
    recipe: PretrainingRecipe,
    checkpoint: Path,
    source: Callable[[PretrainingRecipe, int], Iterator[ViewBatch]] = view_batches,
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
    state = _TrainingState(recipe)
    if checkpoint.exists():
        state.load(checkpoint, recipe)
    half = has_fast_bfloat16()
    losses: list[float] = []
    state.model.train()
    for views in source(recipe, state.step):
        for group in state.optimiser.param_groups:
            group["lr"] = _learning_rate(recipe, state.step)
        loss = state.model(views, half=half)
        state.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        state.optimiser.step()
        early = (state.step + 1) / (state.step + 10)  # a constant decay would keep the first steps for long
        update_average(state.average, state.model.network, min(recipe.ema, early))
        state.step += 1
        losses.append(loss.item())
        if state.step % 50 == 0:
            report(state.step, sum(losses) / len(losses))
            losses.clear()
        if state.step % save_every == 0 or state.step == recipe.steps:
            state.save(checkpoint, recipe)
    return state.average


def save_weights(path: Path, recipe: PretrainingRecipe, weights: Mapping[str, torch.Tensor]) -> None:
    """Write weights in half precision as safetensors, with the recipe."""
    from safetensors.torch import save_file

    halves = {k: v.half() if v.dtype.is_floating_point else v for k, v in weights.items()}
    contiguous = {k: v.clone(memory_format=torch.contiguous_format) for k, v in halves.items()}
    save_file(contiguous, path, {"recipe": json.dumps(asdict(recipe)), "licence": "Apache-2.0"})
