"""Training documents: text with pictures, of which the spans written by the model carry the loss.

A document has a prefix with its pictures, and branches that continue it without attending to each other, so
that the prefix is computed once for many questions. To choose an option by a picture the model must recognise
its content and name its letter; documents without pictures train the second part, which text alone does far
faster.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar, get_args

from anomalist.agent.choice.model_choice import format_options
from anomalist.agent.reasoning.vlm_prompts import NO_GUIDANCE, describe_prompt, judge_prompt
from anomalist.agent.reasoning.vlm_reasoner import MAX_REGIONS_SHOWN, SYSTEM_PROMPT
from anomalist.prompts.schemas import reply_json
from anomalist.prompts.templates import render
from anomalist.training.defect_renderers import DEFECT_KINDS, DefectFacts, Direction, Hue, Tone
from anomalist.training.small_model import questions
from anomalist.training.small_model.descriptions import (
    KIND_NAMES,
    CaseEvidence,
    description_reply,
    draw_one,
    judgement_reply,
    make_case_evidence,
    region_reply,
)
from anomalist.training.small_model.questions import (
    TrainingQuestion,
    region_questions,
    whole_picture_questions,
)
from anomalist.training.synthetic_cases import SyntheticProduct, draw_case
from anomalist.types.common import Recall, UInt8Array
from anomalist.vision.synthetic_textures import Rng

IMAGE_TOKEN = "<image>"
"""Place of a picture in the text."""
SYSTEM_TURN, USER_TURN, MODEL_TURN, END_TOKEN = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
"""Special tokens of a conversation."""

_SENTENCE_REQUESTS = (
    "Say in one sentence what {name} shows.",
    "What does {name} show? One sentence.",
    "Describe {name} in a sentence.",
    "Describe what is seen.",
    "What do you see? Answer in one sentence.",
    "Tell me what there is.",
)
_PIPELINE_SHARE, _WHOLE_SHARE, _WHOLE_VISION_SHARE = 0.1, 0.15, 0.1
_QUESTIONS_PER_REGION, _FOLLOW_UPS = 4, 4
"""Questions about a region by themselves, and as follow-ups to a sentence that describes it."""


class TextSpan(NamedTuple):
    """Text of a document.

    Parameters
    ----------
    text : as the model reads or writes it.
    own : whether the model writes it, so that it carries the loss.
    means : text of the option whose letter it is, in the words of replies; "" where it is no letter.
    """

    text: str
    own: bool
    means: str = ""


@dataclass(frozen=True, eq=False)
class TrainingDocument:
    """A training document: text and pictures.

    Parameters
    ----------
    beginning : prefix of all branches.
    branches : continuations, each independent of the others.
    pictures : uint8 (h, w, 3) each, in the order of their places in the beginning, then in the branches.
    grids : for each picture uint8 (GRID_CELLS, GRID_CELLS): indices of `DEFECT_KINDS`, OUTLINED, NOT_OUTLINED
        or IGNORE_INDEX.
    facts : for each picture those of its closer view; None for a whole picture.
    """

    beginning: tuple[TextSpan, ...]
    branches: tuple[tuple[TextSpan, ...], ...]
    pictures: tuple[UInt8Array, ...]
    grids: tuple[UInt8Array, ...]
    facts: tuple[DefectFacts | None, ...]


def draw_document(rng: Rng, products: Sequence[SyntheticProduct]) -> TrainingDocument:
    """Draw a case and make a document of it."""
    form = rng.random()
    if form < _PIPELINE_SHARE:
        places = int(rng.choice([1, 1, 1, 2, 3]))
        return pipeline_document(rng, make_case_evidence(rng, draw_case(rng, products, places)))
    case = make_case_evidence(rng, draw_case(rng, products))
    if not case.facts:
        return pipeline_document(rng, case)
    return (
        whole_picture_document(rng, case)
        if form < _PIPELINE_SHARE + _WHOLE_SHARE
        else region_document(rng, case)
    )


def draw_vision_document(rng: Rng, products: Sequence[SyntheticProduct]) -> TrainingDocument:
    """Draw a document for the vision encoder, without text: a closer view or, seldom, a whole picture."""
    case = make_case_evidence(rng, draw_case(rng, products))
    if not case.facts or rng.random() < _WHOLE_VISION_SHARE:
        return TrainingDocument((), (), (case.whole(),), (case.whole_grid(),), (None,))
    region, facts = case.evidence.regions[0], case.facts[0]
    grid = case.grid(region, facts)
    return TrainingDocument((), (), (case.view(region).pixels,), (grid,), (facts,))


def region_document(rng: Rng, case: CaseEvidence) -> TrainingDocument:
    """Questions about the closer view of one region."""
    region, facts = case.evidence.regions[0], case.facts[0]
    view = case.view(region)
    asked = region_questions(rng, region.id, facts)
    again = [asked[int(i)] for i in rng.permutation(len(asked))[:_FOLLOW_UPS]]
    sentence = sentence_spans(rng, region.id, facts, compared=case.normal is not None)
    # Follow-ups to the sentence can be answered from its text: naming letters is learned there first.
    after = [piece for each in again for piece in as_follow_up(question_spans(each, ""))]
    branches = [
        question_spans(each, view.caption if rng.random() < 0.4 else "")
        for each in asked[:_QUESTIONS_PER_REGION]
    ]
    branches.append((*sentence, *after))
    grid = case.grid(region, facts)
    return TrainingDocument(
        (TextSpan(USER_TURN + IMAGE_TOKEN, False),), tuple(branches), (view.pixels,), (grid,), (facts,)
    )


def whole_picture_document(rng: Rng, case: CaseEvidence) -> TrainingDocument:
    """Questions about a picture with its region outlined."""
    asked = whole_picture_questions(rng, case.evidence.regions[0].id, case.facts[0], case.media.pixels)
    branches = tuple(question_spans(each, "") for each in asked)
    pictures, grids = (case.whole(),), (case.whole_grid(),)
    return TrainingDocument((TextSpan(USER_TURN + IMAGE_TOKEN, False),), branches, pictures, grids, (None,))


def pipeline_document(rng: Rng, case: CaseEvidence) -> TrainingDocument:
    """The conversation that the pipeline has with a model about a picture."""
    regions = case.evidence.regions
    first = describe_prompt(case.media, case.evidence, NO_GUIDANCE).text
    names = [region.id for region in regions]
    description = description_reply(
        case.media.pixels, [(n, f.place) for n, f in zip(names, case.facts, strict=True)]
    )
    views = [case.view(region) for region in regions[:MAX_REGIONS_SHOWN]]
    captions = [view.caption for view in views]
    second = judge_prompt(case.media, case.evidence, Recall(), NO_GUIDANCE, captions, ()).text
    judged = judgement_reply(
        list(zip(names, case.facts, strict=True))[:MAX_REGIONS_SHOWN], compared=case.normal is not None
    )
    pieces = (
        TextSpan(
            f"{SYSTEM_TURN}{render(SYSTEM_PROMPT).text}{END_TOKEN}{USER_TURN}{IMAGE_TOKEN}{first}{END_TOKEN}{MODEL_TURN}",
            False,
        ),
        TextSpan(reply_json(description) + END_TOKEN, True),
        TextSpan(f"{USER_TURN}{IMAGE_TOKEN * len(views)}{second}{END_TOKEN}{MODEL_TURN}", False),
        TextSpan(reply_json(judged) + END_TOKEN, True),
    )
    facts = case.facts[: len(views)]
    grids = [case.grid(region, each) for region, each in zip(regions, facts, strict=False)]
    pictures = (case.whole(), *(view.pixels for view in views))
    return TrainingDocument(pieces, (), pictures, (case.whole_grid(), *grids), (None, *facts))


def question_text(asked: TrainingQuestion, caption: str) -> str:
    """Return a question with its options, as `anomalist.agent.choice.model_choice` asks it."""
    before = f"{caption}\n" if caption else ""
    return f"{before}{asked.text}\n{format_options(asked.options)}"


def question_spans(asked: TrainingQuestion, caption: str) -> tuple[TextSpan, ...]:
    """Return the rest of a user's turn with a question, and the letter of its right option."""
    text = question_text(asked, caption)
    letter = string.ascii_uppercase[asked.right]
    return TextSpan(text + END_TOKEN + MODEL_TURN, False), TextSpan(letter + END_TOKEN, True, asked.means)


def as_follow_up(pieces: tuple[TextSpan, ...]) -> tuple[TextSpan, ...]:
    """Make a question a follow-up to a reply."""
    first, *rest = pieces
    return first._replace(text=USER_TURN + first.text), *rest


def sentence_spans(rng: Rng, name: str, facts: DefectFacts, *, compared: bool) -> tuple[TextSpan, ...]:
    """Return a request to describe a region, and the sentence that does."""
    text = draw_one(rng, _SENTENCE_REQUESTS).format(name=name)
    reply = region_reply(name, facts, compared=compared)
    return TextSpan(text + END_TOKEN + MODEL_TURN, False), TextSpan(reply + END_TOKEN, True)


T = TypeVar("T")

_SENTENCE_SHARE, _BY_SENTENCE_SHARE = 0.4, 0.5
_LISTS_PER_DOCUMENT, _CALLS_BY_NAME, _CALLS_BY_SENTENCE = 3, 12, 5
"""Lists of options in a document, and how often one of a list is asked for by name or by a sentence."""

_KIND_NAMES = {str(kind): names for kind, names in KIND_NAMES.items()}
_OPTION_LISTS: Sequence[tuple[str, Mapping[str, tuple[str, ...]]]] = (
    ("kind", _KIND_NAMES),
    ("kind", _KIND_NAMES),
    ("tone", questions.TONE_NAMES),
    ("direction", questions.DIRECTION_NAMES),
    ("shape", {key: names for key, names in questions.SHAPE_NAMES.items() if key != "jagged line"}),
    ("hue", questions.HUE_NAMES),
    ("place", questions.PLACE_NAMES),
)
_KINDS_WITHOUT_SHAPE = ("scratch", "crack", "bend", "texture change", "nothing")


def draw_text_document(rng: Rng) -> TrainingDocument:
    """Draw a document about a sentence, or lists of options."""
    return sentence_document(rng) if rng.random() < _SENTENCE_SHARE else options_document(rng)


def options_document(rng: Rng) -> TrainingDocument:
    """Lists of options, which are then asked for by name, by a synonym, or by a sentence."""
    lists = (
        _options_branch(rng, by_sentence=rng.random() < _BY_SENTENCE_SHARE)
        for _ in range(_LISTS_PER_DOCUMENT)
    )
    return TrainingDocument((TextSpan(USER_TURN, False),), tuple(lists), (), (), ())


def _options_branch(rng: Rng, *, by_sentence: bool) -> tuple[TextSpan, ...]:
    about, listed = _OPTION_LISTS[int(rng.integers(len(_OPTION_LISTS)))]
    by_sentence = by_sentence and about != "place"  # which sentences don't state
    keys = [list(listed)[i] for i in rng.permutation(len(listed))[: int(rng.integers(2, len(listed) + 1))]]
    plain = rng.random() < 0.5
    options = [listed[key][0] if plain else draw_one(rng, listed[key]) for key in keys]
    pieces = [TextSpan(format_options(options) + END_TOKEN, False)]
    for at in rng.integers(len(keys), size=_CALLS_BY_SENTENCE if by_sentence else _CALLS_BY_NAME):
        if by_sentence:
            call = region_reply(
                "R1", _with_fact(_draw_facts(rng), about, keys[at]), compared=rng.random() < 0.3
            )
        else:
            call = options[at] if rng.random() < 0.5 else draw_one(rng, listed[keys[at]])
        letter = string.ascii_uppercase[at] + END_TOKEN
        pieces += [
            TextSpan(f"{USER_TURN}{call}{END_TOKEN}{MODEL_TURN}", False),
            TextSpan(letter, True, listed[keys[at]][0]),
        ]
    return tuple(pieces)


def _with_fact(facts: DefectFacts, about: str, value: str) -> DefectFacts:
    """Change one fact, and the kind where sentences don't state that fact of it."""
    if about != "kind" and facts.kind in _KINDS_WITHOUT_SHAPE:
        facts = replace(facts, kind="stain")
    if about == "kind" and value == "nothing":
        return DefectFacts("nothing")
    changed: dict[str, Any] = {about: value}
    return replace(facts, **changed)


def sentence_document(rng: Rng) -> TrainingDocument:
    """Questions about a sentence without a picture, answered by the letter of the option that agrees."""
    facts = _draw_facts(rng)
    name = f"R{rng.integers(1, 4)}"
    question, sentence = sentence_spans(rng, name, facts, compared=rng.random() < 0.5)
    asked = region_questions(rng, name, facts, plain_share=0.75)
    branches = tuple(as_follow_up(question_spans(each, "")) for each in asked)
    return TrainingDocument(
        (TextSpan(USER_TURN + question.text + sentence.text, False),), branches, (), (), ()
    )


def _draw_facts(rng: Rng) -> DefectFacts:
    """Draw facts that a sentence states; the others are None."""
    kind = DEFECT_KINDS[int(rng.integers(len(DEFECT_KINDS)))]
    if kind == "nothing":
        return DefectFacts(kind)
    shaped = kind not in _KINDS_WITHOUT_SHAPE

    def one(values: Sequence[T], share: float = 1.0) -> T | None:
        return values[int(rng.integers(len(values)))] if rng.random() < share else None

    return DefectFacts(
        kind,
        tone=one(get_args(Tone)),
        hue=one(get_args(Hue), 0.4),
        shape=one(("line", "round", "elongated", "irregular")) if shaped else None,
        direction=one(get_args(Direction), 0.5),
        count=one((1, 2, 3, 4, 5)) if kind in ("spot", "scratch") else None,
        faint=one((False, True)),
    )
