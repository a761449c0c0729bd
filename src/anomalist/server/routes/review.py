"""Reviewing a run: the picture whose answer narrows the promise most is asked about next.

The same as ``anomalist audit review``; each answer is an entry of the audit log, and nothing else is kept.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from anomalist.audit.promises import Interval
from anomalist.audit.recording import open_trail
from anomalist.audit.review import Review, known_truth, review_line, unsure_of
from anomalist.memory.cases import acting_as
from anomalist.server.access import MayAudit, ServicesOf
from anomalist.server.problems import ConflictError, NotFoundError
from anomalist.server.routes.pictures import InspectionId, RunName
from anomalist.server.services import Services
from anomalist.server.store import inspection_id
from anomalist.server.talks import run_folder
from anomalist.storage.run_folder import RECORDS, ImageRunFolder
from anomalist.types.common import Frozen

router = APIRouter(tags=["audit"], prefix="/audit/review")

Precision = Annotated[float, Query(gt=0, lt=1)]
PRECISION = 0.05
"""Width of the interval of the false-alarm rate at which asking ends."""


class ShareInterval(Frozen):
    """A share with its interval; ``of`` is the number of answers behind it."""

    share: float | None
    low: float
    high: float
    of: int

    @classmethod
    def of_interval(cls, interval: Interval) -> ShareInterval:
        """As it is told."""
        return cls(share=interval.share, low=interval.low, high=interval.high, of=interval.of)


class ReviewStatus(Frozen):
    """What is known of a run by now, and what to ask next; its verdict is not told.

    Parameters
    ----------
    rate : of false alarms among normal pictures.
    false, missed : shares that it rests on: false among the alarms, missed among the rest.
    done : whether the rate is known to within the precision.
    next : id of the inspected picture to ask about; None when nothing more can be known.
    """

    run: str
    rate: ShareInterval
    false: ShareInterval
    missed: ShareInterval
    sentence: str
    precision: float
    done: bool
    answered: int
    pictures: int
    next: str | None
    name: str | None


class ReviewAnswer(Frozen):
    """What a person says that a picture shows; who can't tell is not asked again."""

    id: InspectionId
    answer: Literal["normal", "anomalous", "unsure"]


@router.get("/{run}", summary="What a review of a run knows")
def get_review(
    services: ServicesOf, _: MayAudit, run: RunName, precision: Precision = PRECISION
) -> ReviewStatus:
    """And which picture to ask about next."""
    return _status(run, _review(services, run), precision)


@router.post("/{run}", summary="Answer in a review")
def answer_review(
    services: ServicesOf, caller: MayAudit, run: RunName, body: ReviewAnswer, precision: Precision = PRECISION
) -> ReviewStatus:
    """What the picture shows becomes an entry of the audit log; tells what to ask next."""
    review = _review(services, run)
    judged = (record for stratum in (review.alarms, review.quiet) for record in stratum)
    record = next((each for each in judged if inspection_id(run, each) == body.id), None)
    if record is None:
        raise NotFoundError(f"There is no such picture in the review of {run}.")
    trail = open_trail()
    if trail is None:
        raise ConflictError("Answers are entries of the audit log, and ANOMALIST_AUDIT is off.")
    with trail, acting_as(caller.name):
        trail.review(record, body.answer, run_folder(services.runs, run))
    review.answer(record, None if body.answer == "unsure" else body.answer)
    return _status(run, review, precision)


def _review(services: Services, run: str) -> Review:
    folder = run_folder(services.runs, run)
    if not (folder / RECORDS).is_file():
        raise NotFoundError(f"{run} is no run of pictures.")
    review = Review(ImageRunFolder(folder).records(), known_truth())
    review.unsure.update(unsure_of(folder))
    return review


def _status(run: str, review: Review, precision: float) -> ReviewStatus:
    state = review.state()
    following = None if state.width <= precision else state.next
    return ReviewStatus(
        run=run,
        rate=ShareInterval.of_interval(state.rate),
        false=ShareInterval.of_interval(state.false),
        missed=ShareInterval.of_interval(state.missed),
        sentence=review_line(state),
        precision=precision,
        done=state.width <= precision,
        answered=state.false.of + state.missed.of,
        pictures=len(review.alarms) + len(review.quiet),
        next=None if following is None else inspection_id(run, following),
        name=None if following is None else following.source.replace("\\", "/").rpartition("/")[2],
    )
