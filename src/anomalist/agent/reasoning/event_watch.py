"""Open-vocabulary events: watch items in words, matched to measurements and asked of a model.

Measurements are of motion, from which most items can't be recognised: a bicycle is a fast object, and so is a
runner. An item is matched by measurement only where a statement about the event's motion is more similar to
it (sentence embedding) than any statement that motion can't support (`UNMEASURABLE_STATEMENTS`), and where it
is more similar to that statement than to these, to the contrast statements and to the statements of measures
that are not conspicuous in the event. Nothing of this was fitted to labels.

A model is asked about each item over close-up, key frame and contact sheet, as in AnyAnomaly (Ahn et al.
2025); the highest probability counts, as an object may be too small in one view and plain in another. After a
yes, no further view is asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from langchain_core.language_models import BaseChatModel

from anomalist.agent.choice.model_choice import ModelChoice, MultipleChoiceQuestion, choose_each_by_model
from anomalist.agent.models.structured import system_message, user_message
from anomalist.agent.reasoning.name_watch import NameWatch
from anomalist.agent.reasoning.vlm_reasoner import EVENT_SYSTEM_PROMPT, CallAllowance
from anomalist.agent.reasoning.vlm_views import EventViews, View
from anomalist.errors import ModelError
from anomalist.memory.embedding import Encoder, load_encoder
from anomalist.memory.watch import NO_CLAUSE_SCORE, ORDINARY_CLAUSES, Watch
from anomalist.prompts.templates import Prompt, render
from anomalist.types.clip import Event, MeasureName, WatchMatch
from anomalist.types.common import FloatArray

MEASURE_STATEMENTS: Mapping[MeasureName, tuple[str, ...]] = {
    "speed": ("something moves unusually fast", "someone is much faster than everybody else"),
    "size": ("something is unusually large", "something is much bigger than a person"),
    "direction": ("something moves in an unusual direction", "someone goes the wrong way"),
    "place": (
        "something is in a place where hardly anything ever is",
        "someone is where people usually don't go",
    ),
    "dwell": (
        "something stands still for a long time",
        "someone stays in one place for minutes",
        "something is stationary",
        "an object has been left behind",
    ),
    "appearance": ("something looks unlike anything that usually moves here",),
    "crowding": ("a crowd gathers", "it is unusually crowded"),
    "stillness": ("everything stands still", "nothing moves any more"),
    "dispersal": ("everybody moves away from one place at once", "a crowd scatters"),
    "forbidden zone": ("someone enters a forbidden zone",),
    "activity": ("something moves more than anything else in this clip",),
}
"""Statements in everyday words that each measure supports."""

UNMEASURABLE_STATEMENTS = (
    "someone rides a bicycle", "a person on a skateboard", "a motorcycle drives past", "a car is parked",
    "a delivery van stops", "a bus with passengers", "a truck is being unloaded",
    "people are running for exercise", "a child is playing", "a woman pushes a pram",
    "an old man with a stick", "a man in a wheelchair", "two people are fighting",
    "a person falls to the ground", "someone is lying on the floor", "someone waves their arms",
    "people are dancing", "a man throws something", "someone climbs over a fence",
    "someone carries a heavy box", "a person with a backpack", "a man in a red jacket",
    "someone wears no helmet", "a worker without a safety vest", "a police officer", "a man with a knife",
    "someone holds a gun", "a thief steals a bag", "someone breaks a window", "graffiti on a wall",
    "a fire breaks out", "smoke rises", "water floods the floor", "it is raining",
    "snow lies on the ground", "a dog on a leash", "a bird flies by", "a cat sits there", "a suitcase",
    "a ball rolls by", "a door is open", "the light is on", "litter lies around", "a person uses a phone",
    "people shake hands", "a man smokes a cigarette", "someone is eating", "a machine is leaking oil",
    "a forklift carries a pallet", "a number plate",
)  # fmt: skip
"""Statements about footage that motion alone can't support."""

CONTRAST_STATEMENTS = (
    "something moves very slowly",
    "something is unusually small",
    "everybody goes the usual way",
    "the place is empty",
    "someone leaves",
)
"""Statements that no measure supports, but whose vectors are close to those of some (slow near fast)."""


YES_THRESHOLD = 0.5
"""Probability above which the answer is yes. It is the model's own probability, uncalibrated."""

_MIN_MEASURE_SCORE = 1.0  # normalised score from which a measure is conspicuous


class EventWatch:
    """Matches video events with watch items, by measurements and by a model's description.

    Parameters
    ----------
    items : what to watch for, in words.
    encoder : the sentence encoder; `load_encoder()` by default.
    classes : names that the objects of events may have.

    Raises
    ------
    DataError : an item is empty, too long, has no words or is given twice.
    """

    def __init__(
        self, items: Sequence[str], encoder: Encoder | None = None, *, classes: Sequence[str] = ()
    ) -> None:
        self._encoder = encoder or load_encoder()
        self._described = Watch(items, usual=ORDINARY_CLAUSES, encoder=self._encoder)
        self.items = self._described.items
        self._beyond = (*ORDINARY_CLAUSES, *UNMEASURABLE_STATEMENTS)
        self._measured = Watch(items, usual=self._beyond, encoder=self._encoder)
        self._contrasts: dict[frozenset[MeasureName], FloatArray] = {}
        self._names = NameWatch(self.items, classes, self._encoder, self._beyond)

    @cached_property
    def measurable_items(self) -> tuple[str, ...]:
        """The items that some measure can match."""
        every = [text for texts in MEASURE_STATEMENTS.values() for text in texts]
        matches = self._by_measures(frozenset(MEASURE_STATEMENTS), every)
        return tuple(match.item for match in matches if match.matched)

    @property
    def beyond(self) -> tuple[str, ...]:
        """The items that no measure and no name can match: only a model can recognise these."""
        told = {*self.measurable_items, *self._names.items}
        return tuple(item for item in self.items if item not in told)

    def matches(self, event: Event, probabilities: Mapping[str, float]) -> tuple[WatchMatch, ...]:
        """Match an event with each item.

        Parameters
        ----------
        event : with its caption, its measures, and a model's description where there is one.
        probabilities : probability of a yes, by item, where a model was asked about it.

        Returns
        -------
        One match for each item. Measurements count first, then the names of objects, then a model's reply
        about the item itself, then its description of the event. ``matched`` is None where none of these can
        decide.
        """
        names = frozenset(m.name for m in event.measures if m.surprise >= _MIN_MEASURE_SCORE) | {event.kind}
        texts = [text for name in MEASURE_STATEMENTS if name in names for text in MEASURE_STATEMENTS[name]]
        measured = self._by_measures(names, [event.caption.text, *texts])
        described = self._by_description(event)
        named = self._names.matches(event)
        return tuple(
            self._combine(
                by_measure, named.get(by_measure.item), by_model, probabilities.get(by_measure.item)
            )
            for by_measure, by_model in zip(measured, described, strict=True)
        )

    def _combine(
        self, measured: WatchMatch, named: WatchMatch | None, described: WatchMatch, probability: float | None
    ) -> WatchMatch:
        """Combine the four for one item."""
        if measured.matched:
            return measured.replace(probability=probability)
        if named is not None and named.matched:
            return named.replace(probability=probability)
        if probability is not None:
            basis = described if described.matched else measured
            update = {"matched": probability > YES_THRESHOLD, "by": "model", "probability": probability}
            return basis.replace(**update)
        if described.matched:
            return described
        if named is not None:
            return named
        if measured.item in self.measurable_items:
            return measured.replace(by="measured")
        return measured.replace(matched=None)

    def _by_measures(self, names: frozenset[MeasureName], texts: Sequence[str]) -> list[WatchMatch]:
        """The best of some texts for each item, against the statements that contrast with them."""
        if names not in self._contrasts:
            others = [
                text for name in MEASURE_STATEMENTS if name not in names for text in MEASURE_STATEMENTS[name]
            ]
            contrasts = self._encoder.encode([*self._beyond, *CONTRAST_STATEMENTS, *others])
            self._contrasts[names] = (self._encoder.encode(self.items) @ contrasts.T).max(1)
        return _best_matches(self._measured, texts, self._contrasts[names].tolist(), "measured")

    def _by_description(self, event: Event) -> list[WatchMatch]:
        """Match a model's description of an event with each item."""
        texts: list[str] = []
        if event.seen is not None:
            claims = [claim.text for claim in event.claims if claim.source == "model"]
            texts = [*claims[:1], event.seen.text]
        return _best_matches(self._described, texts, [-1.0] * len(self.items), "model")


def _best_matches(
    watch: Watch, texts: Sequence[str], contrasts: Iterable[float], by: str
) -> list[WatchMatch]:
    """The best clause for each item; the score is the lower one by the clause's and the item's contrast."""
    rows = watch.matches(texts)
    found = []
    for number, (item, contrast) in enumerate(zip(watch.items, contrasts, strict=True)):
        fits = [(min(m.score, m.similarity - contrast), m.clause) for row in rows if (m := row[number])]
        score, clause = max(fits, default=(NO_CLAUSE_SCORE, ""))
        found.append(
            WatchMatch.model_validate(
                {
                    "item": item,
                    "similarity": round(max(score, -1.0), 4),
                    "matched": score > 0,
                    "clause": clause if score > 0 else "",
                    "by": by if score > 0 else None,
                }
            )
        )
    return found


def quote_items(items: Sequence[str]) -> str:
    """Items in quotes, for notes: "someone on a bicycle", "people running"."""
    return ", ".join(f'"{item}"' for item in items)


WATCH_PROMPT = "watch.v1"
YES, NO = "yes", "no"
CALLS_PER_ITEM = 2
"""Calls that one question takes: its two options are asked in both orders."""

_SEED = 0


@dataclass
class WatchReplies:
    """A model's replies about the items of one event.

    Parameters
    ----------
    probabilities : probability of a yes by item, the highest over the views; only for replies that parse.
    unread : items with a reply that didn't parse.
    unseen : items that were not asked over every view, because of the budget.
    prompts : the prompts sent.
    replies : raw replies, where the model writes them.
    failure : why asking ended early, or None.
    """

    probabilities: dict[str, float] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    failure: ModelError | None = None

    def add(self, item: str, choice: ModelChoice) -> None:
        """Add the choice for an item over one more view."""
        self.replies += choice.replies
        if choice.unread == choice.rotations:
            self.unread += [item] if item not in self.unread else []
            return
        yes = choice.probabilities[choice.options.index(YES)]
        self.probabilities[item] = max(yes, self.probabilities.get(item, 0.0))


def ask_watch_items(
    items: Sequence[str], views: EventViews, model: BaseChatModel, allowance: CallAllowance, spare: int = 0
) -> WatchReplies:
    """Ask about each item over the views of an event, as far as the budget allows.

    Parameters
    ----------
    items : what to watch for.
    views : of the event.
    model : any chat model; where it gives no log-probabilities, the letter of its reply counts.
    allowance : calls are taken from it.
    spare : calls that must stay in it.

    Returns
    -------
    The replies; where the model fails on the way, those before, with the failure.
    """
    found = WatchReplies()
    for view in views.contexts:
        open_items = [item for item in items if found.probabilities.get(item, 0.0) <= YES_THRESHOLD]
        affordable = max(0, int(allowance.left - spare) // CALLS_PER_ITEM)
        found.unseen += [item for item in open_items[affordable:] if item not in found.unseen]
        affordable_items = open_items[:affordable]
        if not affordable_items or not allowance.take(CALLS_PER_ITEM * len(affordable_items)):
            continue
        try:
            choices = _ask_items(affordable_items, view, model, found)
        except ModelError as failure:
            found.failure = failure
            break
        for item, choice in zip(affordable_items, choices, strict=True):
            found.add(item, choice)
    return found


def _ask_items(
    items: Sequence[str], view: View, model: BaseChatModel, found: WatchReplies
) -> list[ModelChoice]:
    """Ask about all items over one view, whose prefix a local model computes once."""
    system = render(EVENT_SYSTEM_PROMPT)
    prompts = [render(WATCH_PROMPT, view=view.caption, item=item) for item in items]
    found.prompts += [system, *prompts]
    questions = [
        MultipleChoiceQuestion([system_message(system), user_message(prompt, [view.pixels])], (YES, NO))
        for prompt in prompts
    ]
    try:
        return choose_each_by_model(model, questions, seed=_SEED)
    except ModelError:
        raise
    except Exception as error:  # whatever a model's own library raises
        raise ModelError(f"The model broke off: {type(error).__name__}.") from error
