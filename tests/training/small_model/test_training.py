"""What is learned from is what is asked later, token by token; training goes on where it was interrupted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anomalist.agent.choice.model_choice import MultipleChoiceQuestion, choose_by_model
from anomalist.agent.models.chat_inputs import prepare_inputs
from anomalist.agent.models.generation import JsonSchemaLogitsProcessor, grammar_tokenizer
from anomalist.agent.models.local import open_local
from anomalist.agent.models.structured import model_message, system_message, user_message
from anomalist.agent.reasoning.vlm_prompts import NO_GUIDANCE, describe_prompt, judge_prompt
from anomalist.agent.reasoning.vlm_reasoner import SYSTEM_PROMPT
from anomalist.prompts.schemas import Description, Judgement, reply_json
from anomalist.prompts.templates import Prompt, render
from anomalist.training.defect_renderers import DEFECT_KINDS, DefectFacts
from anomalist.training.small_model.architecture import (
    IMAGE_TOKENS,
    make_network,
    make_processor,
    save_model,
    train_tokenizer,
)
from anomalist.training.small_model.curriculum import (
    Batch,
    SmallModelRecipe,
    collate,
    curriculum_batches,
    label_facts,
    resize_picture,
    tokenise_document,
)
from anomalist.training.small_model.descriptions import (
    GRID_CELLS,
    HALF_COLUMNS,
    IGNORE_INDEX,
    OUTLINED,
    CaseEvidence,
    make_case_evidence,
)
from anomalist.training.small_model.documents import (
    TextSpan,
    TrainingDocument,
    draw_document,
    pipeline_document,
    region_document,
)
from anomalist.training.small_model.training import SmallModelWithHeads, train
from anomalist.training.synthetic_cases import SyntheticProduct, draw_case, draw_product
from anomalist.types.common import Recall

TINY = SmallModelRecipe(
    eye_steps=2,
    eye_batch=3,
    eye_mixed=2,
    letter_steps=2,
    letter_batch=2,
    steps=2,
    sorted=4,
    tokens=1024,
    pool=3,
    warmup=1,
)


@pytest.fixture(scope="module")
def products() -> list[SyntheticProduct]:
    return [draw_product(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def shown(products: list[SyntheticProduct]) -> CaseEvidence:
    for seed in range(20):
        found = make_case_evidence(
            np.random.default_rng(seed), draw_case(np.random.default_rng(seed), products)
        )
        if found.facts and found.facts[0].kind not in (None, "nothing") and found.normal is not None:
            return found
    raise AssertionError("no defect was drawn")


@pytest.fixture(scope="module")
def tokenizer(products: list[SyntheticProduct]) -> Any:
    drawn = [draw_document(np.random.default_rng(seed), products) for seed in range(30)]
    return train_tokenizer(
        text for one in drawn for part in (one.beginning, *one.branches) for text, *_ in part
    )


def _written(processor: Any, document: TrainingDocument, branch: int | None) -> list[int]:
    """The tokens of one branch from its beginning up to where the model's last reply starts."""
    tokens = tokenise_document(processor.tokenizer, document)
    on_path = (tokens.branches == 0) | (tokens.branches == (branch or 0))
    ids, own = tokens.ids[on_path], tokens.own[on_path]
    ends = np.flatnonzero(own & ~np.concatenate([[False], own[:-1]]))
    return [int(token) for token in ids[: ends[-1]]]


def test_a_question_is_asked_with_the_tokens_that_were_learned(tokenizer: Any, shown: CaseEvidence) -> None:
    processor = make_processor(tokenizer)
    document = region_document(np.random.default_rng(0), shown)
    (prompt, *_), *_ = document.branches[0]
    text = prompt.partition("<|end|>")[0]
    view = shown.view(shown.evidence.regions[0])

    prepared = prepare_inputs(processor, [user_message(Prompt("test", "0" * 64, text), [view.pixels])])

    assert prepared.inputs["input_ids"][0].tolist() == _written(processor, document, 1)
    pixels = torch.tensor(resize_picture(view.pixels)).permute(2, 0, 1).float() / 255 * 2 - 1
    assert torch.allclose(prepared.inputs["pixel_values"][0], pixels, atol=1e-5)


def test_both_prompts_are_learned_as_the_pipeline_sends_them(tokenizer: Any, shown: CaseEvidence) -> None:
    processor = make_processor(tokenizer)
    document = pipeline_document(np.random.default_rng(0), shown)
    region = shown.evidence.regions[0]
    view, described = shown.view(region), document.beginning[1][0].removesuffix("<|end|>")
    first = describe_prompt(shown.media, shown.evidence, NO_GUIDANCE)
    second = judge_prompt(shown.media, shown.evidence, Recall(), NO_GUIDANCE, [view.caption], ())

    prepared = prepare_inputs(
        processor,
        [
            system_message(render(SYSTEM_PROMPT)),
            user_message(first, [shown.whole()]),
            model_message(reply_json(Description.model_validate_json(described))),
            user_message(second, [view.pixels]),
        ],
    )

    assert prepared.inputs["input_ids"][0].tolist() == _written(processor, document, None)
    assert (
        np.array(_written(processor, document, None)) == processor.image_token_id
    ).sum() == 2 * IMAGE_TOKENS


def test_what_is_learned_to_be_written_is_what_may_be_written(tokenizer: Any, shown: CaseEvidence) -> None:
    document = pipeline_document(np.random.default_rng(0), shown)
    end = tokenizer.eos_token_id
    vocabulary = grammar_tokenizer(tokenizer, [end])

    for piece, form in zip(document.beginning[1::2], (Description, Judgement), strict=True):
        mask = JsonSchemaLogitsProcessor(vocabulary, form.model_json_schema(), 0)
        tokens = tokenizer.encode(piece.text)
        assert tokens[-1] == end
        for at, token in enumerate(tokens):
            scores = mask(torch.tensor([tokens[:at]], dtype=torch.long), torch.zeros(1, len(tokenizer)))
            assert torch.isfinite(scores[0, token]), tokenizer.decode(tokens[: at + 1])


def test_a_letter_means_the_words_of_its_option(tokenizer: Any) -> None:
    words = TextSpan("Where? ", False), TextSpan("B<|end|>", True, "upper left")
    document = TrainingDocument((TextSpan("<|user|>", False),), (words,), (), (), ())

    tokens = tokenise_document(tokenizer, document)

    (at,) = np.flatnonzero((tokens.means >= 0).any(1))
    said = [int(token) for token in tokens.means[at] if token >= 0]
    assert tokenizer.decode([int(tokens.ids[at])]) == "B"
    assert tokenizer.decode(said).startswith(" upper")


def test_branches_learn_as_if_each_were_alone(tokenizer: Any, shown: CaseEvidence) -> None:
    document = region_document(np.random.default_rng(0), shown)
    model = SmallModelWithHeads(make_network(tokenizer, 0)).eval()

    def loss(document: TrainingDocument) -> tuple[float, int]:
        tokens = tokenise_document(tokenizer, document)
        with torch.no_grad():
            words, *_ = model(collate([tokens]), half=False)
        return float(words), int(tokens.own.sum())

    alone = [loss(replace(document, branches=(branch,))) for branch in document.branches]
    together, own = loss(document)

    assert own == sum(count for _, count in alone)
    assert together == pytest.approx(sum(value * count for value, count in alone) / own, abs=1e-4)


def test_documents_side_by_side_do_not_see_each_other(tokenizer: Any, shown: CaseEvidence) -> None:
    documents = [
        tokenise_document(tokenizer, region_document(np.random.default_rng(seed), shown)) for seed in range(2)
    ]
    batch = collate(documents, following=7)
    attention_mask = batch.attention_mask()

    assert batch.following == 7
    for row, document in enumerate(documents):
        length = len(document.ids)
        assert not attention_mask[row, :length, length:].any()
        first = int(np.flatnonzero(document.branches == 2)[0])
        assert attention_mask[row, first, document.branches.searchsorted(0) : 1].all()
        assert not attention_mask[row, first, :length][document.branches == 1].any()
        assert not np.triu(attention_mask[row], 1).any()


def test_cells_mark_the_defect_on_the_left_and_nothing_on_the_right(shown: CaseEvidence) -> None:
    region, facts = shown.evidence.regions[0], shown.facts[0]
    assert facts.kind is not None
    grid = shown.grid(region, facts)

    assert grid.shape == (GRID_CELLS, GRID_CELLS)
    assert (grid[:, :HALF_COLUMNS] == DEFECT_KINDS.index(facts.kind)).any()
    assert (grid[:, HALF_COLUMNS:] == DEFECT_KINDS.index("nothing")).all()
    assert (shown.whole_grid() == OUTLINED).any()
    assert (shown.grid(region, DefectFacts(None)) == IGNORE_INDEX).all()


def test_facts_are_numbered_and_the_unknown_are_minus_one() -> None:
    assert label_facts(None).tolist() == [-1] * 7
    assert label_facts(DefectFacts("crack", tone="lighter", count=1, faint=True)).tolist() == [
        1,
        1,
        -1,
        -1,
        -1,
        0,
        1,
    ]


def test_views_are_mixed_and_go_on_in_the_middle_of_a_mixture(tokenizer: Any) -> None:
    recipe = replace(TINY, eye_steps=5)  # two whole mixtures and half of one
    looks = list(itertools.islice(curriculum_batches(recipe, tokenizer), 5))
    later = list(itertools.islice(curriculum_batches(recipe, tokenizer, looks[2].following), 2))

    assert [batch.following for batch in looks] == [3, 6, 9, 12, 15]
    for batch, same in zip(looks[3:], later, strict=True):
        assert np.array_equal(batch.pictures, same.pictures)
        assert np.array_equal(batch.labels, same.labels)
    seen = {picture.tobytes() for batch in looks[:4] for picture in batch.pictures}
    assert len(seen) == sum(len(batch.pictures) for batch in looks[:4]) == 4 * 4 * TINY.eye_batch


def test_training_goes_on_where_it_was_interrupted(tokenizer: Any, tmp_path: Path) -> None:
    def source(start: int) -> Iterator[Batch]:
        return curriculum_batches(TINY, tokenizer, start)

    class Stopped(Exception):  # noqa: N818
        pass

    def stopping(start: int) -> Iterator[Batch]:
        for at, batch in enumerate(source(start)):
            if at == 2:  # after the eye's steps, whose last one is saved
                raise Stopped
            yield batch

    straight = train(TINY, tokenizer, tmp_path / "straight.checkpoint", source, save_every=2)
    with pytest.raises(Stopped):
        train(TINY, tokenizer, tmp_path / "broken.checkpoint", stopping, save_every=2)
    resumed = train(TINY, tokenizer, tmp_path / "broken.checkpoint", source, save_every=2)

    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    with pytest.raises(ValueError, match="another recipe"):
        train(replace(TINY, steps=3), tokenizer, tmp_path / "broken.checkpoint", source)


def test_a_saved_model_is_opened_as_any_other_and_chooses(
    tokenizer: Any,
    shown: CaseEvidence,
    tmp_path: Path,
) -> None:
    save_model(tmp_path / "model", make_network(tokenizer, 0), make_processor(tokenizer))
    view = shown.view(shown.evidence.regions[0])

    model = open_local(str(tmp_path / "model"))
    question = user_message(Prompt("test", "0" * 64, "What is wrong?"), [view.pixels])
    choice = choose_by_model(model, MultipleChoiceQuestion([question], ()).messages, DEFECT_KINDS, seed=0)

    assert model.dtype == "float32"
    assert choice.method == "logprobs"
    assert sum(choice.probabilities) == pytest.approx(1)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "fast_vlm"
