"""Train the small model by a recipe.

First the eye learns by itself, with heads that don't ship: what is in each cell of a closer look, and the
facts. That teaches it far sooner than a word for a picture would. Then the voice learns by itself which
letter belongs to what is said, and last both together. Everything lives in one checkpoint of tensors, so that
training can be interrupted. Import this inside functions only: it needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anomalist.agent.builtin.architecture import make_network
from anomalist.agent.builtin.lessons import Recipe, steps_of
from anomalist.agent.builtin.packing import Batch
from anomalist.agent.builtin.trainee import Trainee
from anomalist.vision.allocator import keep_freed_memory
from anomalist.vision.checkpoints import (
    load_checkpoint,
    moments_of,
    restore_moments,
    save_checkpoint,
    update_average,
)
from anomalist.vision.training import half_precision
from anomalist.vision.weights import part_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class _State:
    """Network, optimisers and averaged weights, with a checkpoint that holds tensors only."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        torch.manual_seed(recipe.seed)
        self.model = Trainee(make_network(tokenizer, recipe.seed), recipe.first_weight)
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            key = parameter.ndim == 2 and _is_layer(name), _is_eye(name)
            groups.setdefault(key, []).append(parameter)

        def split(matrices: bool) -> list[dict[str, Any]]:  # the eye's first
            return [{"params": groups.get((matrices, eye), [])} for eye in (True, False)]

        self.optimisers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(split(True), lr=1.0, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(split(False), lr=1.0, betas=(0.9, 0.98), weight_decay=0.01),
        )
        self.peaks = (2 * recipe.rate, recipe.rate)
        self.average = {k: v.detach().clone() for k, v in self.model.network.state_dict().items()}
        self.step, self.read = 0, 0

    def set_rates(self, eye: float, others: float) -> None:
        for optimiser, peak in zip(self.optimisers, self.peaks, strict=True):
            for group, share in zip(optimiser.param_groups, (eye, others), strict=True):
                group["lr"] = peak * share

    def save(self, path: Path, recipe: Recipe) -> None:
        """Write the checkpoint whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for number, optimiser in enumerate(self.optimisers):
            tensors |= moments_of(optimiser, f"optimiser{number}.")
        save_checkpoint(path, recipe, {"step": self.step, "read": self.read}, tensors)

    def load(self, path: Path, recipe: Recipe) -> None:
        """Go on from a checkpoint; ValueError when it is of another recipe."""
        counts, tensors = load_checkpoint(path, recipe)
        self.step, self.read = counts["step"], counts["read"]
        self.model.load_state_dict(part_of(tensors, "model."))
        self.average = part_of(tensors, "average.")
        for number, optimiser in enumerate(self.optimisers):
            restore_moments(optimiser, tensors, f"optimiser{number}.")


def _is_layer(name: str) -> bool:
    """Whether a matrix belongs to a layer: embeddings and heads are no maps from features to features."""
    return ".layers." in name or "multi_modal_projector" in name


def _is_eye(name: str) -> bool:
    """Whether a parameter belongs to the eye or to what it learns by itself."""
    return "vision_tower" in name or name.startswith(("cells", "compared", "changes", "facts"))


def train(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path,
    source: Callable[[int], Iterator[Batch]],
    report: Callable[[int, float, float], None] = lambda step, words, cells: None,
    save_every: int = 250,
    *,
    fuse: bool = False,
) -> Any:  # noqa: ANN401
    """Train, or go on from ``checkpoint``; returns the network with the averaged weights.

    Parameters
    ----------
    source : yields the batches of the recipe, from those of the document with the given number on.
    report : called every 25 steps with the step and the mean losses of words and eye since the last call.
    fuse : compile the layers of the voice, which takes a minute and makes its steps 1.6 times as fast; needs
        a C++ compiler.

    Raises
    ------
    ValueError : the checkpoint belongs to another recipe.
    """
    keep_freed_memory()
    state = _State(recipe, tokenizer)
    if checkpoint.exists():
        state.load(checkpoint, recipe)
    half, losses = half_precision(), list[tuple[float, float]]()
    state.model.train()
    if fuse:
        for layer in state.model.network.model.language_model.layers:
            layer.forward = torch.compile(layer.forward, dynamic=True)
    last, threads = steps_of(recipe), torch.get_num_threads()
    try:
        for batch in source(state.read) if state.step < last else ():
            # Drawing what the eye learns from takes a core of its own.
            torch.set_num_threads(max(1, threads - 1) if state.step < recipe.eye_steps else threads)
            losses.append(_learn(state, recipe, batch, half=half))
            if state.step % 25 == 0:
                mean = np.mean(losses, 0)
                report(state.step, float(mean[0]), float(mean[1]))
                losses.clear()
            if state.step % save_every == 0 or state.step == last:
                state.save(checkpoint, recipe)
            if state.step == last:
                break
    finally:
        torch.set_num_threads(threads)
    state.model.network.load_state_dict(state.average)
    return state.model.network.eval()


def _learn(state: _State, recipe: Recipe, batch: Batch, *, half: bool) -> tuple[float, float]:
    """Take one step; returns the losses of the words and of the eye."""
    looking = state.step < recipe.eye_steps
    state.set_rates(*_rates(recipe, state.step))
    for layer in state.model.modules():  # few pictures come with words: too few to normalise by
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.train(looking)
    words, meant, eye = state.model(batch, half=half)
    for optimiser in state.optimisers:
        optimiser.zero_grad()
    (words + meant + (1.0 if looking else recipe.eye_weight) * eye).backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    for optimiser in state.optimisers:
        optimiser.step()
    state.step, state.read = state.step + 1, batch.following
    since = state.step if looking else state.step - recipe.eye_steps  # the voice was random until then
    update_average(state.average, state.model.network, min(recipe.ema, since / (since + 9)))
    return words.item(), eye.item()


def _rates(recipe: Recipe, step: int) -> tuple[float, float]:
    """Shares of the learning rates at a step: of the eye, and of everything else."""
    if step < recipe.eye_steps:
        return _share(step, recipe.eye_steps, recipe.warmup), 0.0
    share = _share(step - recipe.eye_steps, recipe.letter_steps + recipe.steps, recipe.warmup)
    return recipe.eye_rate * share, share


def _share(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then cosine to nearly nothing."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
