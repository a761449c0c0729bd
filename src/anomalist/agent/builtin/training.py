"""The recipe of the small model: what it learns from is drawn without end, and follows from the seed.

First the eye learns by itself, with heads that don't ship: what is in each cell of a closer look, and the
facts. That teaches it far sooner than a word for a picture would. Then the voice learns by itself which
letter belongs to what is said, and last both together. Everything lives in one checkpoint of tensors, so that
training can be interrupted. Import this inside functions only: it needs torch.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anomalist.agent.builtin.architecture import MEANT_AFTER, make_network, train_tokenizer
from anomalist.agent.builtin.documents import Document, draw_document, draw_look
from anomalist.agent.builtin.letters import draw_letters
from anomalist.agent.builtin.packing import LABELS, ROUNDED, Batch, Tokens, looked_at, side_by_side, tokenised
from anomalist.agent.builtin.showing import BESIDE, CELLS, HALF, IGNORED
from anomalist.vision.allocator import keep_freed_memory
from anomalist.vision.checkpoints import (
    load_checkpoint,
    moments_of,
    restore_moments,
    save_checkpoint,
    update_average,
)
from anomalist.vision.drawn.cases import Product, draw_product
from anomalist.vision.drawn.facts import DEFECT_KINDS
from anomalist.vision.strokes import Rng
from anomalist.vision.training import half_precision
from anomalist.vision.weights import part_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Recipe:
    """How a model is made; stored beside its weights."""

    eye_steps: int = 4300
    """Steps in which only the eye learns, before the words."""
    eye_batch: int = 12
    """Looks drawn for such a step; each is looked at as it is and mirrored in three ways."""
    eye_mixed: int = 10
    """Steps among which those are mixed, so that few of one look come together."""
    letter_steps: int = 220
    """Steps in which the voice learns, without pictures, to tell which option says the same as a sentence."""
    letter_batch: int = 10
    """Documents in such a step: sentences with what can be asked about them, and lists of options."""
    steps: int = 1400
    """Steps in which everything learns."""
    tokens: int = 4096
    """Tokens in a batch, padding included, at most."""
    sorted: int = 64
    """Documents that are sorted by length before they are put side by side."""
    pool: int = 160
    """Products alive at a time."""
    every: int = 4
    """Documents after which one product is replaced."""
    rate: float = 1e-3
    """Peak of the learning rate; of the matrices' (Muon, scaled to AdamW's step) twice as much."""
    warmup: int = 100
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones that ship."""
    eye_rate: float = 0.3
    """Learning rate of the eye, as a share of the others', once words are learned."""
    eye_weight: float = 0.5
    """Weight of what the eye learns by itself, once words are learned."""
    first_weight: float = 4.0
    """Weight of the first token of a reply: an option's letter, or one that is easy anyway."""
    seed: int = 0
    vocabulary_from: int = 1500
    """Documents that the tokenizer is trained on."""


def steps_of(recipe: Recipe) -> int:
    """Count the steps of all three lessons: seeing, letters, and everything."""
    return recipe.eye_steps + recipe.letter_steps + recipe.steps


_FIRST_PRODUCT = 1_000_000  # far from the products of the embedded network


def documents(
    recipe: Recipe,
    start: int = 0,
    draw: Callable[[Rng, Sequence[Product]], Document] = draw_document,
) -> Iterator[Document]:
    """Yield the documents from number ``start`` on."""
    following = _FIRST_PRODUCT + start // recipe.every + recipe.pool
    first = following - recipe.pool
    pool: deque[Product] = deque((draw_product(s) for s in range(first, following)), recipe.pool)
    number = start
    while True:
        yield draw(np.random.default_rng((recipe.seed, number)), pool)
        number += 1
        if number % recipe.every == 0:
            pool.append(draw_product(following))
            following += 1


def vocabulary(recipe: Recipe) -> PreTrainedTokenizerFast:
    """Train the tokenizer of a recipe, on documents of their own with few products."""
    products = [draw_product(seed) for seed in range(4)]
    drawn = (
        draw_document(np.random.default_rng((recipe.seed, number, 1)), products)
        for number in range(recipe.vocabulary_from)
    )
    texts = (text for one in drawn for pieces in (one.beginning, *one.branches) for text, *_ in pieces)
    return train_tokenizer(texts)


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, start: int = 0) -> Iterator[Batch]:
    """Yield the batches from document number ``start`` on: of pictures, then of sentences, then of both.

    With words, documents of like length come together: some are drawn, sorted and cut into batches. Who goes
    on after one of these batches goes on with the next draw; what was left of this one is left out.
    """
    letters_from = recipe.eye_steps * recipe.eye_batch
    words_from = letters_from + recipe.letter_steps * recipe.letter_batch
    if start < letters_from:
        yield from _looks(recipe, start)
        start = letters_from
    while start < words_from:
        told = [
            tokenised(tokenizer, draw_letters(np.random.default_rng((recipe.seed, number, 3))))
            for number in range(start, start + recipe.letter_batch)
        ]
        start += recipe.letter_batch
        yield side_by_side(told, start)
    drawn = documents(recipe, start)
    for first in itertools.count(start, recipe.sorted):
        some = [tokenised(tokenizer, next(drawn)) for _ in range(recipe.sorted)]
        some = sorted(
            (one for one in some if len(one.ids) + ROUNDED <= recipe.tokens), key=lambda one: len(one.ids)
        )
        groups: list[list[Tokens]] = [[]]
        for one in some:
            if (len(groups[-1]) + 1) * (len(one.ids) + ROUNDED) > recipe.tokens:
                groups.append([])
            groups[-1].append(one)
        for at in np.random.default_rng((recipe.seed, first, 2)).permutation(len(groups)):
            yield side_by_side(groups[int(at)], first + recipe.sorted)


def _looks(recipe: Recipe, start: int) -> Iterator[Batch]:
    """Yield the batches of the eye's own lesson from look number ``start`` on, those of some steps mixed."""
    mixed = recipe.eye_mixed * recipe.eye_batch
    group = start // mixed * mixed
    drawn = documents(recipe, group, draw_look)
    for first in range(group, recipe.eye_steps * recipe.eye_batch, mixed):
        looks = [one for _ in range(mixed) for one in looked_at(next(drawn))]
        order = np.random.default_rng((recipe.seed, first, 4)).permutation(len(looks))
        for number, some in enumerate(np.array_split(order, recipe.eye_mixed), start=1):
            following = first + number * recipe.eye_batch
            if start < following <= recipe.eye_steps * recipe.eye_batch:
                yield side_by_side([looks[i] for i in some], following)


class Trainee(torch.nn.Module):
    """The network, with heads for what the eye learns by itself, which don't ship."""

    def __init__(self, network: Any, first_weight: float = 1.0) -> None:  # noqa: ANN401
        super().__init__()
        self.network, self.first_weight = network, first_weight
        network.model.vision_tower.to(memory_format=torch.channels_last)  # half as slow again otherwise
        width = network.config.vision_config.hidden_size
        self.cells = torch.nn.Linear(width, BESIDE + 1)
        self.compared = Compared(width)
        self.changes = torch.nn.Linear(width, len(DEFECT_KINDS))
        self.facts = torch.nn.ModuleList(
            torch.nn.Linear(3 * width, len(values)) for values in LABELS.values()
        )

    def forward(self, batch: Batch, *, half: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the losses of the words, of what letters mean and of what the eye learns by itself.

        0 where there is nothing of the kind.
        """
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            pixels = torch.from_numpy(batch.pictures)
            pixels = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
            if len(pixels):
                seen = self.network.model.vision_tower(pixels).last_hidden_state.flatten(2).transpose(1, 2)
                eye = self._eye_loss(seen, batch)
            else:
                seen, eye = None, torch.zeros(())
            words, meant = self._words_loss(seen, batch) if batch.ids.size else (torch.zeros(()),) * 2
        return words, meant, eye

    def _eye_loss(self, seen: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Tell each cell by itself and beside its counterpart, and each fact from a closer look."""
        grids = torch.from_numpy(batch.grids)
        halves = seen.reshape(len(seen), CELLS, 2, HALF, -1)
        left, right = (halves[:, :, half].flatten(1, 2) for half in (0, 1))  # (n, cells, width) each
        both = self.compared(left, right)
        close = torch.where(grids < len(DEFECT_KINDS), grids, IGNORED)[:, :, :HALF]
        cells = _known(self.cells(seen).float().flatten(0, 1), grids.flatten(), IGNORED)
        changes = _known(self.changes(both).float().flatten(0, 1), close.flatten(), IGNORED)
        pooled = torch.cat([both.mean(1), both.amax(1), left.amax(1)], -1)
        facts = [
            _known(head(pooled).float(), torch.from_numpy(batch.labels[:, at]), -1)
            for at, head in enumerate(self.facts)
        ]
        return cells + changes + sum(facts) / len(facts)

    def _words_loss(self, seen: torch.Tensor | None, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        model = self.network.model
        ids = torch.from_numpy(batch.ids).long()
        embedded = model.get_input_embeddings()(ids)
        if seen is not None:
            shown = model.multi_modal_projector(seen).reshape(-1, embedded.shape[-1]).to(embedded.dtype)
            at = (ids == self.network.config.image_token_id)[..., None].expand_as(embedded)
            embedded = embedded.masked_scatter(at, shown)
        voice = model.language_model(
            inputs_embeds=embedded,
            attention_mask=torch.from_numpy(batch.sees())[:, None],
            position_ids=torch.from_numpy(batch.positions).long(),
            use_cache=False,
            output_hidden_states=True,
        )
        hidden = voice.last_hidden_state
        meant = self._meant_loss(voice.hidden_states[MEANT_AFTER][:, :-1], batch)
        own = torch.from_numpy(batch.own)
        first = own[:, 1:] & ~own[:, :-1]
        own = own[:, 1:]
        losses = torch.nn.functional.cross_entropy(
            self.network.lm_head(hidden[:, :-1][own]).float(), ids[:, 1:][own], reduction="none"
        )
        weights = 1 + (self.first_weight - 1) * first[own].float()
        return (weights * losses).sum() / weights.sum(), meant

    def _meant_loss(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Tell, before a letter is looked for, what the option with it will say: each of its first tokens."""
        means = torch.from_numpy(batch.means)[:, 1:].long()
        letters = means[..., 0] >= 0
        thought = self.network.lm_head(self.network.model.language_model.norm(hidden[letters])).float()
        logs, tokens = thought.log_softmax(-1), means[letters]
        said = tokens >= 0
        each: torch.Tensor = logs.gather(1, tokens.clamp(min=0)) * said / said.sum(1, keepdim=True)
        return -each.sum() / max(1, len(tokens))


class Compared(torch.nn.Module):
    """Each cell of a left half beside its counterpart in the right one, (n, cells, width) each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(3))
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return what is different, by features, (n, cells, width)."""
        of_left, of_right, further = self.layers
        beside = torch.nn.functional.gelu(self.norm(of_left(left) + of_right(right)))
        return torch.nn.functional.gelu(further(beside))


def _known(logits: torch.Tensor, labels: torch.Tensor, unknown: int) -> torch.Tensor:
    """Cross entropy over what has a label; nothing where none has."""
    counted = labels != unknown
    if not counted.any():
        return logits.sum() * 0
    return torch.nn.functional.cross_entropy(logits[counted], labels[counted].long())


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
