"""Train the small model by a recipe, with auxiliary heads, and calibrate its temperature.

The vision encoder is trained first, by auxiliary heads that don't ship (the kind of defect in each cell of a
closer view, and facts of the defect), which is far faster than learning from text. Then the language model is
trained on which letter belongs to which option, and last both jointly. The state is one checkpoint of
tensors, so that training can be interrupted.

Temperature scaling (Guo et al. 2017) calibrates the probabilities of options, averaged over the rotations of
their order, as at inference. Needs torch: import it inside functions only.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anomalist.agent.choice.model_choice import (
    MultipleChoiceQuestion,
    SupportsOptionLogprobs,
    choice_from_logprobs,
    option_rotations,
    rotation_logprobs,
)
from anomalist.agent.models.structured import user_message
from anomalist.prompts.templates import Prompt
from anomalist.training.defect_renderers import DEFECT_KINDS
from anomalist.training.pretraining import (
    load_checkpoint,
    optimiser_moments,
    restore_optimiser_moments,
    save_checkpoint,
    update_average,
)
from anomalist.training.small_model.architecture import (
    MEANING_LAYER,
    PAD_TOKEN,
    make_network,
    make_processor,
    save_model,
)
from anomalist.training.small_model.curriculum import (
    FACT_VALUES,
    Batch,
    SmallModelRecipe,
    saved_tokenizer_batches,
    total_steps,
    train_recipe_tokenizer,
)
from anomalist.training.small_model.descriptions import (
    GRID_CELLS,
    HALF_COLUMNS,
    IGNORE_INDEX,
    NOT_OUTLINED,
    make_case_evidence,
)
from anomalist.training.small_model.documents import END_TOKEN
from anomalist.training.small_model.questions import region_questions, whole_picture_questions
from anomalist.training.synthetic_cases import draw_case, draw_product
from anomalist.vision.features.backbones import has_fast_bfloat16
from anomalist.vision.features.extractor import keep_freed_memory, with_prefix
from anomalist.vision.prefetch import prefetch_in_process

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from anomalist.training.small_model.questions import TrainingQuestion
    from anomalist.types.common import UInt8Array


_FIRST_PRODUCT, _PRODUCTS = 3_000_000, 48  # used neither in training nor in tests
_WHOLE_SHARE, _QUESTIONS_PER_PICTURE = 0.25, 3
_CALIBRATION_PICTURES = 400
_TEMPERATURES = np.geomspace(0.4, 4, 93)

GradedQuestion = tuple[MultipleChoiceQuestion, int]
"""A question, and the index of its right option."""


def draw_graded_questions(count: int, seed: int) -> Iterator[list[GradedQuestion]]:
    """Draw pictures of products that are not in training, each with its questions."""
    products = [draw_product(_FIRST_PRODUCT + number) for number in range(_PRODUCTS)]
    for number in range(count):
        rng = np.random.default_rng((seed, number, 5))
        evidence = make_case_evidence(rng, draw_case(rng, products))
        if not evidence.facts:
            continue
        region, facts = evidence.evidence.regions[0], evidence.facts[0]
        if rng.random() < _WHOLE_SHARE:
            whole = evidence.whole()
            yield [
                _graded_question(whole, asked)
                for asked in whole_picture_questions(rng, region.id, facts, evidence.media.pixels)
            ]
        else:
            view = evidence.view(region)
            asked = region_questions(rng, region.id, facts)[:_QUESTIONS_PER_PICTURE]
            yield [_graded_question(view.pixels, each) for each in asked]


def fit_temperature(
    model: SupportsOptionLogprobs, pictures: Iterator[list[GradedQuestion]], seed: int
) -> float:
    """Return the temperature that minimises the negative log-likelihood of the right options.

    Parameters
    ----------
    model : gives log-probabilities of letters.
    pictures : questions, those about one picture together.
    seed : of the order of the options.

    Raises
    ------
    ValueError : the model gives no log-probabilities.
    """
    scored = [each for questions in pictures for each in _score_rotations(model, questions, seed)]
    losses = [
        sum(-math.log(max(1e-12, _right_probability(*each, softmax_temperature))) for each in scored)
        for softmax_temperature in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def apply_temperature(network: Any, softmax_temperature: float) -> None:  # noqa: ANN401
    """Divide a network's logits by a temperature, through the weights of its last normalisation."""
    network.model.language_model.norm.weight.data /= softmax_temperature


def make_model(folder: Path, recipe: SmallModelRecipe, report: Callable[[int, float, float], None]) -> float:
    """Train tokenizer and network by a recipe, calibrate, and save all in ``folder``, with the recipe.

    Tokenizer and checkpoint are kept beside ``folder``, from which an interrupted training is resumed.
    Documents are drawn in a second process.

    Returns
    -------
    The temperature of the calibration.
    """
    from transformers import PreTrainedTokenizerFast

    from anomalist.agent.models.local import open_local

    torch.set_num_threads(os.cpu_count() or 1)  # hyperthreads too, which torch leaves out
    vocabulary = folder.with_suffix(".tokenizer")
    if not vocabulary.is_dir():
        train_recipe_tokenizer(recipe).save_pretrained(vocabulary)
    network = train(
        recipe,
        PreTrainedTokenizerFast.from_pretrained(vocabulary),
        folder.with_suffix(".checkpoint"),
        lambda start: prefetch_in_process(saved_tokenizer_batches, recipe, vocabulary, start, depth=12),
        report,
        fuse=any(shutil.which(compiler) for compiler in ("g++", "clang++")),
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(vocabulary, eos_token=END_TOKEN, pad_token=PAD_TOKEN)
    processor = make_processor(tokenizer)
    save_model(folder, network, processor)
    questions = draw_graded_questions(_CALIBRATION_PICTURES, recipe.seed)
    softmax_temperature = fit_temperature(open_local(str(folder)), questions, recipe.seed)
    apply_temperature(network, softmax_temperature)
    save_model(folder, network, processor)
    (folder / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")
    return softmax_temperature


def _graded_question(picture: UInt8Array, asked: TrainingQuestion) -> GradedQuestion:
    message = user_message(Prompt("tempering", "0" * 64, asked.text), [picture])
    return MultipleChoiceQuestion([message], asked.options), asked.right


_RotationLogprobs = tuple[MultipleChoiceQuestion, int, list[list[int]], list[list[float]]]


def _score_rotations(
    model: SupportsOptionLogprobs, questions: Sequence[GradedQuestion], seed: int
) -> Iterator[_RotationLogprobs]:
    """Score each question in every rotation of its options: the orders, and log-probabilities by letter."""
    asked = [option_rotations(question, seed) for question, _ in questions]
    logprobs = rotation_logprobs(model, asked)
    if logprobs is None:
        raise ValueError("the model gives no log-probabilities")
    for (question, right), rotations, rows in zip(questions, asked, logprobs, strict=True):
        yield question, right, [order for order, _ in rotations], rows


def _right_probability(
    question: MultipleChoiceQuestion,
    right: int,
    orders: list[list[int]],
    rows: list[list[float]],
    softmax_temperature: float,
) -> float:
    """Probability of the right option at a temperature, averaged over the rotations."""
    cooled = [[value / softmax_temperature for value in row] for row in rows]
    return choice_from_logprobs(question.options, orders, cooled).probabilities[right]


class SmallModelWithHeads(torch.nn.Module):
    """The network with auxiliary heads on its vision encoder, which don't ship."""

    def __init__(self, network: Any, first_weight: float = 1.0) -> None:  # noqa: ANN401
        super().__init__()
        self.network, self.first_weight = network, first_weight
        network.model.vision_tower.to(memory_format=torch.channels_last)  # 1.5 times as fast
        width = network.config.vision_config.hidden_size
        self.cells = torch.nn.Linear(width, NOT_OUTLINED + 1)
        self.compared = HalfComparison(width)
        self.changes = torch.nn.Linear(width, len(DEFECT_KINDS))
        self.facts = torch.nn.ModuleList(
            torch.nn.Linear(3 * width, len(values)) for values in FACT_VALUES.values()
        )

    def forward(self, batch: Batch, *, half: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the language loss, the option-text loss and the auxiliary vision loss.

        Each is 0 when the batch has no text, or no pictures.
        """
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            pixels = torch.from_numpy(batch.pictures)
            pixels = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
            if len(pixels):
                features = (
                    self.network.model.vision_tower(pixels).last_hidden_state.flatten(2).transpose(1, 2)
                )
                vision = self._vision_loss(features, batch)
            else:
                features, vision = None, torch.zeros(())
            language, meaning = (
                self._language_loss(features, batch) if batch.ids.size else (torch.zeros(()),) * 2
            )
        return language, meaning, vision

    def _vision_loss(self, features: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Auxiliary losses: classes of cells, of changes against the normal half, and of the facts."""
        grids = torch.from_numpy(batch.grids)
        halves = features.reshape(len(features), GRID_CELLS, 2, HALF_COLUMNS, -1)
        left, right = (halves[:, :, half].flatten(1, 2) for half in (0, 1))  # (n, cells, width) each
        both = self.compared(left, right)
        close = torch.where(grids < len(DEFECT_KINDS), grids, IGNORE_INDEX)[:, :, :HALF_COLUMNS]
        cells = _masked_cross_entropy(
            self.cells(features).float().flatten(0, 1), grids.flatten(), IGNORE_INDEX
        )
        changes = _masked_cross_entropy(
            self.changes(both).float().flatten(0, 1), close.flatten(), IGNORE_INDEX
        )
        pooled = torch.cat([both.mean(1), both.amax(1), left.amax(1)], -1)
        facts = [
            _masked_cross_entropy(head(pooled).float(), torch.from_numpy(batch.labels[:, at]), -1)
            for at, head in enumerate(self.facts)
        ]
        return cells + changes + sum(facts) / len(facts)

    def _language_loss(
        self, features: torch.Tensor | None, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        model = self.network.model
        ids = torch.from_numpy(batch.ids).long()
        embedded = model.get_input_embeddings()(ids)
        if features is not None:
            evidence = (
                model.multi_modal_projector(features).reshape(-1, embedded.shape[-1]).to(embedded.dtype)
            )
            at = (ids == self.network.config.image_token_id)[..., None].expand_as(embedded)
            embedded = embedded.masked_scatter(at, evidence)
        language_model = model.language_model(
            inputs_embeds=embedded,
            attention_mask=torch.from_numpy(batch.attention_mask())[:, None],
            position_ids=torch.from_numpy(batch.positions).long(),
            use_cache=False,
            output_hidden_states=True,
        )
        hidden = language_model.last_hidden_state
        meaning = self._meaning_loss(language_model.hidden_states[MEANING_LAYER][:, :-1], batch)
        own = torch.from_numpy(batch.own)
        first = own[:, 1:] & ~own[:, :-1]
        own = own[:, 1:]
        losses = torch.nn.functional.cross_entropy(
            self.network.lm_head(hidden[:, :-1][own]).float(), ids[:, 1:][own], reduction="none"
        )
        weights = 1 + (self.first_weight - 1) * first[own].float()
        return (weights * losses).sum() / weights.sum(), meaning

    def _meaning_loss(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Auxiliary loss: from a middle layer, predict the option whose letter comes next."""
        means = torch.from_numpy(batch.means)[:, 1:].long()
        letters = means[..., 0] >= 0
        predicted = self.network.lm_head(self.network.model.language_model.norm(hidden[letters])).float()
        logs, tokens = predicted.log_softmax(-1), means[letters]
        known = tokens >= 0
        each: torch.Tensor = logs.gather(1, tokens.clamp(min=0)) * known / known.sum(1, keepdim=True)
        return -each.sum() / max(1, len(tokens))


class HalfComparison(torch.nn.Module):
    """Compares each cell of a left half with its counterpart in the right one, (n, cells, width) each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(3))
        self.norm = torch.nn.LayerNorm(width)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return the features of the difference, (n, cells, width)."""
        of_left, of_right, further = self.layers
        beside = torch.nn.functional.gelu(self.norm(of_left(left) + of_right(right)))
        return torch.nn.functional.gelu(further(beside))


def _masked_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, unknown: int) -> torch.Tensor:
    """Cross entropy over labelled entries; 0 where there are none."""
    counted = labels != unknown
    if not counted.any():
        return logits.sum() * 0
    return torch.nn.functional.cross_entropy(logits[counted], labels[counted].long())


class _TrainingState:
    """Network, optimisers and averaged weights, with a checkpoint that holds tensors only."""

    def __init__(self, recipe: SmallModelRecipe, tokenizer: PreTrainedTokenizerFast) -> None:
        torch.manual_seed(recipe.seed)
        self.model = SmallModelWithHeads(make_network(tokenizer, recipe.seed), recipe.first_weight)
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            key = parameter.ndim == 2 and _is_layer_matrix(name), _is_vision_parameter(name)
            groups.setdefault(key, []).append(parameter)

        def split(matrices: bool) -> list[dict[str, Any]]:  # those of the vision encoder first
            return [{"params": groups.get((matrices, vision), [])} for vision in (True, False)]

        self.optimisers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(split(True), lr=1.0, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(split(False), lr=1.0, betas=(0.9, 0.98), weight_decay=0.01),
        )
        self.peaks = (2 * recipe.rate, recipe.rate)
        self.average = {k: v.detach().clone() for k, v in self.model.network.state_dict().items()}
        self.step, self.read = 0, 0

    def set_rates(self, vision: float, others: float) -> None:
        for optimiser, peak in zip(self.optimisers, self.peaks, strict=True):
            for group, share in zip(optimiser.param_groups, (vision, others), strict=True):
                group["lr"] = peak * share

    def save(self, path: Path, recipe: SmallModelRecipe) -> None:
        """Write the checkpoint whole or not at all."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for number, optimiser in enumerate(self.optimisers):
            tensors |= optimiser_moments(optimiser, f"optimiser{number}.")
        save_checkpoint(path, recipe, {"step": self.step, "read": self.read}, tensors)

    def load(self, path: Path, recipe: SmallModelRecipe) -> None:
        """Go on from a checkpoint; ValueError when it is of another recipe."""
        counts, tensors = load_checkpoint(path, recipe)
        self.step, self.read = counts["step"], counts["read"]
        self.model.load_state_dict(with_prefix(tensors, "model."))
        self.average = with_prefix(tensors, "average.")
        for number, optimiser in enumerate(self.optimisers):
            restore_optimiser_moments(optimiser, tensors, f"optimiser{number}.")


def _is_layer_matrix(name: str) -> bool:
    """Whether a matrix is one of a layer, which Muon optimises; embeddings and heads are not."""
    return ".layers." in name or "multi_modal_projector" in name


def _is_vision_parameter(name: str) -> bool:
    """Whether a parameter belongs to the vision encoder or to its auxiliary heads."""
    return "vision_tower" in name or name.startswith(("cells", "compared", "changes", "facts"))


def train(
    recipe: SmallModelRecipe,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path,
    source: Callable[[int], Iterator[Batch]],
    report: Callable[[int, float, float], None] = lambda step, language, cells: None,
    save_every: int = 250,
    *,
    fuse: bool = False,
) -> Any:  # noqa: ANN401
    """Train, or go on from ``checkpoint``; returns the network with the averaged weights.

    Parameters
    ----------
    source : yields the batches of the recipe from the given document number on.
    report : called every 25 steps with the step and the mean language and vision losses since the last call.
    fuse : compile the language model's layers, which takes a minute and makes steps 1.6 times as fast; needs
        a C++ compiler.

    Raises
    ------
    ValueError : the checkpoint belongs to another recipe.
    """
    keep_freed_memory()
    state = _TrainingState(recipe, tokenizer)
    if checkpoint.exists():
        state.load(checkpoint, recipe)
    half, losses = has_fast_bfloat16(), list[tuple[float, float]]()
    state.model.train()
    if fuse:
        for layer in state.model.network.model.language_model.layers:
            layer.forward = torch.compile(layer.forward, dynamic=True)
    last, threads = total_steps(recipe), torch.get_num_threads()
    try:
        for batch in source(state.read) if state.step < last else ():
            # Rendering views for the vision encoder takes a core of its own.
            torch.set_num_threads(max(1, threads - 1) if state.step < recipe.eye_steps else threads)
            losses.append(_training_step(state, recipe, batch, half=half))
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


def _training_step(
    state: _TrainingState, recipe: SmallModelRecipe, batch: Batch, *, half: bool
) -> tuple[float, float]:
    """Take one optimiser step; returns the language loss and the vision loss."""
    vision_phase = state.step < recipe.eye_steps
    state.set_rates(*_learning_rate_shares(recipe, state.step))
    for layer in state.model.modules():  # joint batches have too few pictures for batch statistics
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.train(vision_phase)
    language, meaning, vision = state.model(batch, half=half)
    for optimiser in state.optimisers:
        optimiser.zero_grad()
    (language + meaning + (1.0 if vision_phase else recipe.eye_weight) * vision).backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    for optimiser in state.optimisers:
        optimiser.step()
    state.step, state.read = state.step + 1, batch.following
    since = (
        state.step if vision_phase else state.step - recipe.eye_steps
    )  # the language model was random until then
    update_average(state.average, state.model.network, min(recipe.ema, since / (since + 9)))
    return language.item(), vision.item()


def _learning_rate_shares(recipe: SmallModelRecipe, step: int) -> tuple[float, float]:
    """Shares of the learning rates at a step: of the vision encoder, and of everything else."""
    if step < recipe.eye_steps:
        return _warmup_cosine(step, recipe.eye_steps, recipe.warmup), 0.0
    share = _warmup_cosine(step - recipe.eye_steps, recipe.letter_steps + recipe.steps, recipe.warmup)
    return recipe.eye_rate * share, share


def _warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then cosine to nearly nothing."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
