"""Answers to MMAD's questions: by measurement alone, or by a language model's option probabilities.

A model's probabilities are averaged over the rotations of the options. For the reference's parser it is asked
once more with the options in their own order, and its raw reply is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from pydantic import Field

from anomalist.agent.choice.evidence_choice import choose_by_evidence
from anomalist.agent.choice.model_choice import (
    MOST_OPTIONS,
    MultipleChoiceQuestion,
    choose_each_by_model,
    format_options,
)
from anomalist.agent.models.selection import EVIDENCE, EVIDENCE_REASONER, open_model, record_name
from anomalist.agent.models.structured import user_message
from anomalist.agent.reasoning.evidence_reasoner import region_claims, score_claim
from anomalist.agent.reasoning.vlm_prompts import KnowledgeTexts, product_knowledge
from anomalist.agent.reasoning.vlm_views import overview_picture
from anomalist.errors import AnomalistError, DataError, ModelError
from anomalist.eval.mmad.questions import MmadData, MmadPicture, MmadQuestion, knowledge_name
from anomalist.eval.result_cache import ResultCache, content_key, files_digest
from anomalist.prompts.templates import Prompt, render
from anomalist.types.common import Frozen, UInt8Array
from anomalist.vision.detectors.base import Progress, no_progress
from anomalist.vision.drawing import thumbnail
from anomalist.vision.media.images import load_image
from anomalist.vision.media.masks import marked_pixels

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from anomalist.pipeline import Inspector
    from anomalist.types.image import Inspection

MULTIPLE_CHOICE_PROMPT = "multiple_choice.v1"
MAX_SIDE = 1024
"""Longer side of the pictures that a model sees, pixels."""
REPLY_TOKENS = 64
"""Length of a reply for the reference's parser; the reference allows 64 to 128."""
CACHE_NAME = "mmad"


class MmadSetup(Frozen):
    """How the questions are asked."""

    model: str = Field(EVIDENCE, description="as after --model; evidence answers by measurement alone")
    shots: int = Field(0, ge=0, le=1, description="normal templates that are shown, or compared with")
    knowledge: bool = Field(False, description="whether the domain knowledge of the product is given")
    evidence: bool = Field(True, description="whether a detector's measurements are given")
    seed: int = Field(0, description="of the first order of options, of the bootstrap and of samples")


class MmadAnswer(Frozen):
    """The answer to one question."""

    chosen: int | None = Field(description="index of the most probable option; None for a tie or no answer")
    probabilities: tuple[float, ...] | None = Field(description="of the options, over all rotations")
    reply: str | None = Field(description="raw text for the reference's parser; None where there is none")
    problem: str | None = Field(None, description="why there is no answer")


class AnsweredPicture(Frozen):
    """The answers to all questions about a picture, in their order."""

    picture: str
    answers: tuple[MmadAnswer, ...]
    contradiction: str | None = Field(None, description="how its folder and its mask contradict each other")


class Answerer(Protocol):
    """Who answers questions; ``name`` goes into results and into the keys of kept ones."""

    name: str

    def answer(self, picture: MmadPicture) -> Iterable[MmadAnswer]:
        """Answer all questions about a picture; raises AnomalistError where that can't be done."""
        ...


def open_answerer(setup: MmadSetup, data: MmadData) -> Answerer:
    """Who answers by this setup.

    Raises
    ------
    DataError : the measurements are asked to answer without themselves or with knowledge, which they can't
        read; or the domain knowledge is not there.
    ModelError : the model is not there.
    """
    if setup.knowledge and not data.knowledge.is_file():
        raise DataError(f"{data.knowledge} is missing.", "Fetch it, or ask without domain knowledge.")
    if setup.model != EVIDENCE:
        return _ModelAnswerer(setup, open_model(setup.model), data.knowledge)
    if not setup.evidence or setup.knowledge:
        raise DataError(
            "Measurement alone reads no domain knowledge and has nothing but its evidence to answer by.",
            "Name a model to ask so.",
        )
    return _EvidenceAnswerer(setup)


def answer_pictures(
    data: MmadData,
    setup: MmadSetup,
    answerer: Answerer,
    cache: ResultCache | None = None,
    progress: Progress = no_progress,
) -> Iterator[AnsweredPicture]:
    """Answer the questions about every picture; what is in the cache is not asked again.

    A picture that can't be answered (it can't be read, the model fails) has answers with the problem, which
    count as wrong. Those of a model that fails are not kept, so that the next run asks again.

    Parameters
    ----------
    data, setup, answerer : see `open_answerer`.
    cache : of earlier answers; each is kept under the digests of picture, templates, questions, setup, code
        and model.
    progress : called with the step, the number done and the total.
    """
    what = f"asking {setup.shots}-shot"
    for done, picture in enumerate(data.pictures, start=1):
        key = _key(picture, setup, answerer.name, data) if cache is not None else ""
        found = cache.get(key, AnsweredPicture) if cache is not None else None
        if found is None:
            found, failed = _answered(picture, answerer)
            if cache is not None and not failed:
                cache.put(key, found)
        yield found
        progress(what, done, len(data.pictures))


def _answered(picture: MmadPicture, answerer: Answerer) -> tuple[AnsweredPicture, bool]:
    """The answers about a picture, and whether a model failed."""
    failed = False
    try:
        answers = tuple(answerer.answer(picture))
    except AnomalistError as error:
        failed = isinstance(error, ModelError)
        lost = MmadAnswer(chosen=None, probabilities=None, reply=None, problem=str(error))
        answers = (lost,) * len(picture.questions)
    return AnsweredPicture(
        picture=picture.name, answers=answers, contradiction=_contradiction(picture)
    ), failed


def _key(picture: MmadPicture, setup: MmadSetup, name: str, data: MmadData) -> str:
    files = [picture.path, *([picture.mask] if picture.mask else []), *picture.templates[: setup.shots]]
    known = files_digest([data.knowledge]) if setup.knowledge else ""
    asked = repr(picture.questions)
    return content_key(picture.name, files_digest(files), known, setup.model_dump_json(), name, asked)


def _contradiction(picture: MmadPicture) -> str | None:
    """How the folder and the mask of a picture contradict each other, if they do."""
    if picture.mask is None:
        return None
    try:
        marked = bool(marked_pixels(picture.mask).any())
    except AnomalistError as error:
        return f"the mask can't be read: {error}"
    if marked == picture.normal:
        return "a good picture has a mask" if marked else "a defective picture has an empty mask"
    return None


def _template(picture: MmadPicture) -> Path:
    if not picture.templates:
        raise DataError(f"None of the templates of {picture.name} is there.")
    return picture.templates[0]


@dataclass(frozen=True, eq=False)
class _Measuring:
    """Measures pictures by themselves (0-shot), or against their template (1-shot)."""

    shots: int

    @cached_property
    def _alone(self) -> Inspector:
        from anomalist.composition import InspectionSettings
        from anomalist.pipeline import Inspector

        return Inspector(InspectionSettings(model=EVIDENCE, memory=False))

    def inspect(self, picture: MmadPicture) -> Inspection:
        if not self.shots:
            return self._alone.inspect(picture.path)
        from anomalist.composition import InspectionSettings
        from anomalist.pipeline import Inspector

        settings = InspectionSettings(reference=_template(picture), model=EVIDENCE, memory=False)
        return Inspector(settings).inspect(picture.path)


class _EvidenceAnswerer:
    """Answers by measurement: which option fits the record best."""

    name = EVIDENCE_REASONER

    def __init__(self, setup: MmadSetup) -> None:
        self._measuring = _Measuring(setup.shots)

    def answer(self, picture: MmadPicture) -> Iterator[MmadAnswer]:
        inspection = self._measuring.inspect(picture)
        if inspection.record.error is not None:
            raise DataError(inspection.record.error)
        score_map = inspection.evidence.score_map if inspection.evidence else None
        for question in picture.questions:
            if (problem := _askable(question)) is not None:
                yield problem
                continue
            choice = choose_by_evidence(
                question.text, question.options, inspection.record, score_map=score_map
            )
            yield MmadAnswer(
                chosen=None if choice.letter is None else choice.best[0],
                probabilities=choice.probabilities,
                reply=choice.letter or choice.why_not or "",
                problem=choice.why_not,
            )


class _ModelAnswerer:
    """Asks a model: probabilities over all rotations, and one reply to the options in their own order."""

    def __init__(self, setup: MmadSetup, model: BaseChatModel, knowledge: Path) -> None:
        self.name = record_name(setup.model, model)
        self._setup, self._model, self._knowledge = setup, model, knowledge
        self._measuring = _Measuring(setup.shots)

    def answer(self, picture: MmadPicture) -> Sequence[MmadAnswer]:
        pictures, prompt = self._shown(picture)
        problems = [_askable(question) for question in picture.questions]
        asked = [
            MultipleChoiceQuestion([user_message(prompt(question), pictures)], question.options)
            for question, problem in zip(picture.questions, problems, strict=True)
            if problem is None
        ]
        choices = iter(choose_each_by_model(self._model, asked, seed=self._setup.seed))
        answers = []
        for question, problem in zip(picture.questions, problems, strict=True):
            if problem is not None:
                answers.append(problem)
                continue
            choice = next(choices)
            answers.append(
                MmadAnswer(
                    chosen=choice.best,
                    probabilities=choice.probabilities,
                    reply=self._reply(prompt(question), question, pictures),
                    problem=None if choice.best is not None else "no single option was chosen",
                )
            )
        return answers

    def _reply(self, prompt: Prompt, question: MmadQuestion, pictures: Sequence[UInt8Array]) -> str:
        text = f"{prompt.text}\n{format_options(question.options)}"
        message = user_message(Prompt(prompt.id, prompt.sha256, text), pictures)
        return self._model.invoke([message], max_tokens=REPLY_TOKENS).text

    def _shown(self, picture: MmadPicture) -> tuple[list[UInt8Array], Callable[[MmadQuestion], Prompt]]:
        """The pictures that the model sees, and the prompt of each question."""
        setup, shown, measured = self._setup, [], []
        if setup.shots:
            shown.append(_fitted(load_image(_template(picture)).pixels))
        media = load_image(picture.path)
        inspection = self._measuring.inspect(picture) if setup.evidence else None
        if inspection is not None and inspection.evidence is not None:
            evidence = inspection.evidence
            shown.append(overview_picture(media, evidence))
            measured = [score_claim(evidence).text, *(c.text for c in region_claims(media, evidence))]
        else:
            shown.append(_fitted(media.pixels))
            if inspection is not None:
                measured = ["The detector gave no usable score."]
        knowledge: KnowledgeTexts = ()
        if setup.knowledge:
            knowledge = product_knowledge(self._knowledge, knowledge_name(picture))

        def prompt(question: MmadQuestion) -> Prompt:
            return render(
                MULTIPLE_CHOICE_PROMPT,
                template=bool(setup.shots),
                knowledge=knowledge,
                measured=measured,
                question=question.text,
            )

        return [np.ascontiguousarray(pixels) for pixels in shown], prompt


def _fitted(pixels: UInt8Array) -> UInt8Array:
    """A picture of at most `MAX_SIDE` pixels along its longer side; small ones stay as they are."""
    return pixels if max(pixels.shape[:2]) <= MAX_SIDE else thumbnail(pixels, max_side=MAX_SIDE)


def _askable(question: MmadQuestion) -> MmadAnswer | None:
    """An answer with the problem where nobody can choose among the options."""
    plain = [" ".join(option.split()) for option in question.options]
    if len(plain) > MOST_OPTIONS or "" in plain or len(set(plain)) < len(plain):
        return MmadAnswer(
            chosen=None, probabilities=None, reply=None, problem="its options are empty or equal"
        )
    return None
