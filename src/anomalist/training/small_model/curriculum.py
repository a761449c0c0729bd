"""Training curriculum: recipe, tokenised documents, and batches in three phases.

First the vision encoder alone, then text alone, then both. The endless sequence of documents is a function of
the recipe alone, which is stored beside the weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt

from anomalist.training.defect_renderers import DEFECT_KINDS, DefectFacts, Direction, Hue, Shape, Tone
from anomalist.training.pretraining import sliding_pool
from anomalist.training.small_model.architecture import IMAGE_SIZE, IMAGE_TOKENS, train_tokenizer
from anomalist.training.small_model.descriptions import GRID_CELLS
from anomalist.training.small_model.documents import (
    IMAGE_TOKEN,
    TextSpan,
    TrainingDocument,
    draw_document,
    draw_text_document,
    draw_vision_document,
)
from anomalist.training.synthetic_cases import SyntheticProduct, draw_product
from anomalist.types.common import UInt8Array
from anomalist.vision.synthetic_textures import Rng

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


IntArray = npt.NDArray[np.int32]
FlagArray = npt.NDArray[np.bool_]
LabelArray = npt.NDArray[np.int8]

PAD_TO_MULTIPLE_OF = 64
"""Batches are padded to multiples of so many tokens."""
MEANING_TOKENS = 3
"""Tokens of an option's text that the auxiliary loss predicts."""
_NO_MEANING = [-1] * MEANING_TOKENS
FACT_VALUES: Mapping[str, tuple[object, ...]] = {
    "kind": DEFECT_KINDS,
    "tone": get_args(Tone),
    "shape": get_args(Shape),
    "direction": get_args(Direction),
    "hue": get_args(Hue),
    "count": (1, 2, 3, 4, 5),
    "faint": (False, True),
}
"""Facts that auxiliary heads of the vision encoder classify, and their classes."""


@dataclass(frozen=True, eq=False)
class TokenisedDocument:
    """A document in tokens.

    Parameters
    ----------
    ids, positions, branches : int32 (length,). The prefix is branch 0.
    own : bool (length,), tokens that the model writes, which carry the loss.
    means : int32 (length, MEANING_TOKENS), at an option's letter the first tokens of the option, else −1.
    pictures : uint8 (n, IMAGE_SIZE, IMAGE_SIZE, 3).
    grids : uint8 (n, rows, columns).
    labels : int8 (n, len(FACT_VALUES)), see `label_facts`.
    """

    ids: IntArray
    positions: IntArray
    branches: IntArray
    own: FlagArray
    means: IntArray
    pictures: UInt8Array
    grids: UInt8Array
    labels: LabelArray


@dataclass(frozen=True, eq=False)
class Batch:
    """Documents stacked and padded at the end to one length.

    Parameters
    ----------
    ids, positions, branches : int32 (rows, length); the branch of padding is −1.
    own : bool (rows, length).
    means : int32 (rows, length, MEANING_TOKENS).
    pictures : uint8 (n, IMAGE_SIZE, IMAGE_SIZE, 3), of all rows in their order.
    grids : uint8 (n, rows, columns).
    labels : int8 (n, len(FACT_VALUES)).
    following : number of the document that training resumes from after this batch.
    """

    ids: IntArray
    positions: IntArray
    branches: IntArray
    own: FlagArray
    means: IntArray
    pictures: UInt8Array
    grids: UInt8Array
    labels: LabelArray
    following: int = 0

    def attention_mask(self) -> FlagArray:
        """Attention mask: which token (row) attends to which (column), bool (rows, length, length).

        A token attends to what precedes it in its own branch and in the prefix.
        """
        of, to = self.branches[:, :, None], self.branches[:, None]
        return np.tril((to == 0) & (of >= 0) | (of == to))


_DIRECTION_COLUMN = list(FACT_VALUES).index("direction")
_MIRRORED_DIRECTIONS = [
    get_args(Direction).index(name) for name in ("horizontal", "vertical", "falling", "rising")
]
"""Class that each direction becomes when the picture is mirrored."""


def resize_picture(picture: UInt8Array) -> UInt8Array:
    """Resize a picture to the model's input size, exactly as its processor does."""
    from PIL import Image

    small = Image.fromarray(picture).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return np.asarray(small, np.uint8)


def label_facts(facts: DefectFacts | None) -> LabelArray:
    """Class of each fact by `FACT_VALUES`, int8 (len(FACT_VALUES),); −1 where it is not known."""
    return np.array(
        [
            values.index(value) if (value := getattr(facts, name, None)) in values else -1
            for name, values in FACT_VALUES.items()
        ],
        np.int8,
    )


def mirrored_pictures(document: TrainingDocument) -> list[TokenisedDocument]:
    """The pictures of a document without its text, as they are and mirrored in three ways.

    The two halves of a closer view are mirrored separately.
    """
    none = np.zeros(0, np.int32)
    pictures, grids, labels = _stack_pictures(document)
    closer = np.array([facts is not None for facts in document.facts])
    taken = []
    for upside_down in (False, True):
        for sideways in (False, True):
            mirrored, cells = (_mirror(each, closer, upside_down, sideways) for each in (pictures, grids))
            targets = labels.copy()
            if upside_down != sideways:
                targets[:, _DIRECTION_COLUMN] = np.append(_MIRRORED_DIRECTIONS, -1)[
                    labels[:, _DIRECTION_COLUMN]
                ]
            taken.append(
                TokenisedDocument(
                    none,
                    none,
                    none,
                    none.astype(bool),
                    none.reshape(0, MEANING_TOKENS),
                    mirrored,
                    cells,
                    targets,
                )
            )
    return taken


def _mirror(array: UInt8Array, closer: FlagArray, upside_down: bool, sideways: bool) -> UInt8Array:
    """Mirror pictures or grids, uint8 (n, rows, columns, …), the halves of closer views separately."""
    array = array[:, ::-1] if upside_down else array
    if not sideways:
        return np.ascontiguousarray(array)
    half = array.shape[2] // 2
    halves = np.concatenate([array[:, :, :half][:, :, ::-1], array[:, :, half:][:, :, ::-1]], 2)
    apart = closer.reshape(-1, *(1,) * (array.ndim - 1))
    return np.where(apart, halves, array[:, :, ::-1])


def tokenise_document(tokenizer: PreTrainedTokenizerFast, document: TrainingDocument) -> TokenisedDocument:
    """Tokenise a document; every picture takes IMAGE_TOKENS."""
    ids, own, means = _tokenise_spans(tokenizer, document.beginning)
    parts = [(ids, own, means, 0, 0)]
    for number, branch in enumerate(document.branches, start=1):
        parts.append((*_tokenise_spans(tokenizer, branch), number, len(ids)))
    pictures, grids, labels = _stack_pictures(document)
    lengths = [len(part[0]) for part in parts]
    return TokenisedDocument(
        ids=np.concatenate([part[0] for part in parts]),
        positions=np.concatenate([part[4] + np.arange(len(part[0]), dtype=np.int32) for part in parts]),
        branches=np.repeat(np.array([part[3] for part in parts], np.int32), lengths),
        own=np.concatenate([part[1] for part in parts]),
        means=np.concatenate([part[2] for part in parts]),
        pictures=pictures,
        grids=grids,
        labels=labels,
    )


def _stack_pictures(document: TrainingDocument) -> tuple[UInt8Array, UInt8Array, LabelArray]:
    if not document.pictures:
        return (
            np.zeros((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
            np.zeros((0, GRID_CELLS, GRID_CELLS), np.uint8),
            np.zeros((0, len(FACT_VALUES)), np.int8),
        )
    return (
        np.stack([resize_picture(picture) for picture in document.pictures]),
        np.stack(document.grids),
        np.stack([label_facts(facts) for facts in document.facts]),
    )


def collate(documents: Sequence[TokenisedDocument], following: int = 0) -> Batch:
    """Pad documents to a multiple of PAD_TO_MULTIPLE_OF tokens, so that few lengths occur, and stack them."""
    longest = max(len(document.ids) for document in documents)
    length = -(-longest // PAD_TO_MULTIPLE_OF) * PAD_TO_MULTIPLE_OF

    def rows(name: str, fill: int, *size: int) -> IntArray:
        stacked = np.full((len(documents), length, *size), fill, np.int32)
        for row, document in zip(stacked, documents, strict=True):
            values = getattr(document, name)
            row[: len(values)] = values
        return stacked

    return Batch(
        ids=rows("ids", 0),
        positions=rows("positions", 0),
        branches=rows("branches", -1),
        own=rows("own", 0).astype(bool),
        means=rows("means", -1, MEANING_TOKENS),
        pictures=np.concatenate([document.pictures for document in documents]),
        grids=np.concatenate([document.grids for document in documents]),
        labels=np.concatenate([document.labels for document in documents]),
        following=following,
    )


def _tokenise_spans(
    tokenizer: PreTrainedTokenizerFast, pieces: tuple[TextSpan, ...]
) -> tuple[IntArray, FlagArray, IntArray]:
    ids: list[int] = []
    own: list[bool] = []
    means: list[list[int]] = []
    for piece in pieces:
        text = piece.text.replace(IMAGE_TOKEN, IMAGE_TOKEN * IMAGE_TOKENS)
        tokens = tokenizer.encode(text, add_special_tokens=False)
        option = tokenizer.encode(f" {piece.means}", add_special_tokens=False) if piece.means else []
        ids += tokens
        own += [piece.own] * len(tokens)
        means += [(option + _NO_MEANING)[:MEANING_TOKENS], *[_NO_MEANING] * (len(tokens) - 1)]
    shape = (len(ids), MEANING_TOKENS)
    return np.asarray(ids, np.int32), np.asarray(own, bool), np.asarray(means, np.int32).reshape(shape)


@dataclass(frozen=True)
class SmallModelRecipe:
    """Hyperparameters of a training, stored beside the weights; ``eye`` in a name is the vision encoder."""

    eye_steps: int = 4300
    """Steps in which only the vision encoder learns, before any text."""
    eye_batch: int = 12
    """Views drawn for such a step; each is used as it is, and mirrored in three ways."""
    eye_mixed: int = 10
    """Steps among whose batches those are shuffled, so that few of one view come together."""
    letter_steps: int = 220
    """Steps of the language model without pictures: match options to sentences and name their letters."""
    letter_batch: int = 10
    """Documents in such a step: sentences with questions about them, and lists of options."""
    steps: int = 1400
    """Steps in which both are trained."""
    tokens: int = 4096
    """Tokens in a batch, padding included, at most."""
    sorted: int = 64
    """Documents that are sorted by length before they are batched."""
    pool: int = 160
    """Products in the sliding pool."""
    every: int = 4
    """Documents after which one product is replaced."""
    rate: float = 1e-3
    """Peak of the learning rate; of the matrices' (Muon, scaled to AdamW's step) twice as much."""
    warmup: int = 100
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones that ship."""
    eye_rate: float = 0.3
    """Learning rate of the vision encoder, as a share of the others', once text is learned."""
    eye_weight: float = 0.5
    """Weight of the auxiliary vision losses, once text is learned."""
    first_weight: float = 4.0
    """Weight of the first token of a reply, which is the letter in replies to multiple choice."""
    seed: int = 0
    vocabulary_from: int = 1500
    """Documents that the tokenizer is trained on."""


def total_steps(recipe: SmallModelRecipe) -> int:
    """Count the steps of all three phases: vision, text, and both."""
    return recipe.eye_steps + recipe.letter_steps + recipe.steps


_FIRST_PRODUCT = 1_000_000  # apart from the products of pretraining


def draw_documents(
    recipe: SmallModelRecipe,
    start: int = 0,
    draw: Callable[[Rng, Sequence[SyntheticProduct]], TrainingDocument] = draw_document,
) -> Iterator[TrainingDocument]:
    """Yield the documents from number ``start`` on."""
    alive = sliding_pool(
        lambda number: draw_product(_FIRST_PRODUCT + number), recipe.pool, recipe.every, start
    )
    for number, pool in enumerate(alive, start):
        yield draw(np.random.default_rng((recipe.seed, number)), pool)


def train_recipe_tokenizer(recipe: SmallModelRecipe) -> PreTrainedTokenizerFast:
    """Train the tokenizer of a recipe, on separate documents of few products."""
    products = [draw_product(seed) for seed in range(4)]
    drawn = (
        draw_document(np.random.default_rng((recipe.seed, number, 1)), products)
        for number in range(recipe.vocabulary_from)
    )
    texts = (text for one in drawn for pieces in (one.beginning, *one.branches) for text, *_ in pieces)
    return train_tokenizer(texts)


def curriculum_batches(
    recipe: SmallModelRecipe, tokenizer: PreTrainedTokenizerFast, start: int = 0
) -> Iterator[Batch]:
    """Yield the batches from document number ``start`` on: of pictures, then of sentences, then of both."""
    letters_from = recipe.eye_steps * recipe.eye_batch
    words_from = letters_from + recipe.letter_steps * recipe.letter_batch
    if start < letters_from:
        yield from _vision_batches(recipe, start)
    if start < words_from:
        yield from _text_batches(recipe, tokenizer, max(start, letters_from), words_from)
    yield from _joint_batches(recipe, tokenizer, max(start, words_from))


def saved_tokenizer_batches(recipe: SmallModelRecipe, tokenizer: Path, start: int) -> Iterator[Batch]:
    """`curriculum_batches` with a tokenizer that is loaded from a folder, for use in another process."""
    from transformers import PreTrainedTokenizerFast

    return curriculum_batches(recipe, PreTrainedTokenizerFast.from_pretrained(tokenizer), start)


def _vision_batches(recipe: SmallModelRecipe, start: int) -> Iterator[Batch]:
    """Yield the vision encoder's batches from view number ``start`` on, shuffled within some steps."""
    mixed = recipe.eye_mixed * recipe.eye_batch
    group = start // mixed * mixed
    drawn = draw_documents(recipe, group, draw_vision_document)
    for first in range(group, recipe.eye_steps * recipe.eye_batch, mixed):
        views = [one for _ in range(mixed) for one in mirrored_pictures(next(drawn))]
        order = np.random.default_rng((recipe.seed, first, 4)).permutation(len(views))
        for number, some in enumerate(np.array_split(order, recipe.eye_mixed), start=1):
            following = first + number * recipe.eye_batch
            if start < following <= recipe.eye_steps * recipe.eye_batch:
                yield collate([views[i] for i in some], following)


def _text_batches(
    recipe: SmallModelRecipe, tokenizer: PreTrainedTokenizerFast, start: int, stop: int
) -> Iterator[Batch]:
    """Yield batches of documents without pictures."""
    for first in range(start, stop, recipe.letter_batch):
        following = first + recipe.letter_batch
        documents = (
            draw_text_document(np.random.default_rng((recipe.seed, n, 3))) for n in range(first, following)
        )
        yield collate([tokenise_document(tokenizer, one) for one in documents], following)


def _joint_batches(
    recipe: SmallModelRecipe, tokenizer: PreTrainedTokenizerFast, start: int
) -> Iterator[Batch]:
    """Yield batches of pictures with text, without end.

    Documents of similar length come together: some are drawn, sorted by length and cut into batches. Training
    that resumes after one of these batches resumes with the next draw.
    """
    drawn = draw_documents(recipe, start)
    for first in itertools.count(start, recipe.sorted):
        some = [tokenise_document(tokenizer, next(drawn)) for _ in range(recipe.sorted)]
        some = sorted(
            (one for one in some if len(one.ids) + PAD_TO_MULTIPLE_OF <= recipe.tokens),
            key=lambda one: len(one.ids),
        )
        groups: list[list[TokenisedDocument]] = [[]]
        for one in some:
            if (len(groups[-1]) + 1) * (len(one.ids) + PAD_TO_MULTIPLE_OF) > recipe.tokens:
                groups.append([])
            groups[-1].append(one)
        for at in np.random.default_rng((recipe.seed, first, 2)).permutation(len(groups)):
            yield collate(groups[int(at)], first + recipe.sorted)
