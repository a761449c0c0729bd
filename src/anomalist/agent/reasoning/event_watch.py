"""Open-vocabulary events: what a user names in words, matched to measures and asked of a model.

What is measured is motion, so most items can't be told from it: a bicycle is a fast object, and so is a
runner. An item counts as told only where a statement about the event's motion is more similar to it (sentence
embedding) than anything that motion can't tell (`UNMEASURABLE_STATEMENTS`), and it is more similar to that
statement than to any of these, the contrast statements and what measures say that don't stand out here.
Nothing of this was fitted to labels.

A model is asked about each item over the close-up, the key frame and the contact sheet, as AnyAnomaly does,
and the best of them counts: what is small in one may be plain in another. An item that got a yes is not asked
about any further.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from langchain_core.language_models import BaseChatModel

from anomalist.agent.choice.model_choice import ModelChoice, MultipleChoiceQuestion, choose_each_by_model
from anomalist.agent.models.structured import system_message, user_message
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
"""What can be seen in footage and can't be told from motion alone."""

CONTRAST_STATEMENTS = (
    "something moves very slowly",
    "something is unusually small",
    "everybody goes the usual way",
    "the place is empty",
    "someone leaves",
)
"""Contrast statements: no measure supports them, but the encoder embeds them close (slow near fast)."""


YES_THRESHOLD = 0.5
"""More probable than this is a yes. The probability is the model's own and is not calibrated."""

_MIN_MEASURE_SCORE = 1.0  # surprise


class EventWatch:
    """Looks for named events.

    Parameters
    ----------
    items : what to watch for, in words.
    encoder : what makes vectors of texts; `load_encoder()` by default.

    Raises
    ------
    DataError : an item is empty, too long, has no words or is there twice.
    """

    def __init__(self, items: Sequence[str], encoder: Encoder | None = None) -> None:
        self._encoder = encoder or load_encoder()
        self._described = Watch(items, usual=ORDINARY_CLAUSES, encoder=self._encoder)
        self.items = self._described.items
        self._beyond = (*ORDINARY_CLAUSES, *UNMEASURABLE_STATEMENTS)
        self._measured = Watch(items, usual=self._beyond, encoder=self._encoder)
        self._contrasts: dict[frozenset[MeasureName], FloatArray] = {}

    @cached_property
    def measurable_items(self) -> tuple[str, ...]:
        """The items that some measure has something to do with."""
        every = [text for texts in MEASURE_STATEMENTS.values() for text in texts]
        matches = self._by_measures(frozenset(MEASURE_STATEMENTS), every)
        return tuple(match.item for match in matches if match.matched)

    @property
    def beyond(self) -> tuple[str, ...]:
        """The items that nothing measured tells: only a model that looks could."""
        return tuple(item for item in self.items if item not in self.measurable_items)

    def matches(self, event: Event, probabilities: Mapping[str, float]) -> tuple[WatchMatch, ...]:
        """How well an event fits each item.

        Parameters
        ----------
        event : with its caption, its measures, and a model's opinion where there is one.
        probabilities : of a yes, by item, where a model was asked about it.

        Returns
        -------
        One for each item. What is measured counts first, then what a model replied to the item itself, then
        what it said about the event as a whole. ``matched`` is None where none of these tells.
        """
        names = frozenset(m.name for m in event.measures if m.surprise >= _MIN_MEASURE_SCORE) | {event.kind}
        texts = [text for name in MEASURE_STATEMENTS if name in names for text in MEASURE_STATEMENTS[name]]
        measured = self._by_measures(names, [event.caption.text, *texts])
        described = self._by_description(event)
        return tuple(
            self._settle_match(match, said, probabilities.get(match.item))
            for match, said in zip(measured, described, strict=True)
        )

    def _settle_match(
        self, measured: WatchMatch, described: WatchMatch, probability: float | None
    ) -> WatchMatch:
        """Put the three together for one item."""
        if measured.matched:
            return measured.replace(probability=probability)
        if probability is not None:
            said = described if described.matched else measured
            update = {"matched": probability > YES_THRESHOLD, "by": "model", "probability": probability}
            return said.replace(**update)
        if described.matched:
            return described
        if measured.item in self.measurable_items:
            return measured.replace(by="measured")
        return measured.replace(matched=None)

    def _by_measures(self, names: frozenset[MeasureName], texts: Sequence[str]) -> list[WatchMatch]:
        """The best of some texts for each item, against all that could be said if it were something else."""
        if names not in self._contrasts:
            others = [
                text for name in MEASURE_STATEMENTS if name not in names for text in MEASURE_STATEMENTS[name]
            ]
            else_said = self._encoder.encode([*self._beyond, *CONTRAST_STATEMENTS, *others])
            self._contrasts[names] = (self._encoder.encode(self.items) @ else_said.T).max(1)
        return _best_matches(self._measured, texts, self._contrasts[names].tolist(), "measured")

    def _by_description(self, event: Event) -> list[WatchMatch]:
        """How well what a model said of an event fits each item."""
        texts: list[str] = []
        if event.seen is not None:
            claims = [claim.text for claim in event.claims if claim.source == "model"]
            texts = [*claims[:1], event.seen.text]
        return _best_matches(self._described, texts, [-1.0] * len(self.items), "model")


def _best_matches(
    watch: Watch, texts: Sequence[str], contrasts: Iterable[float], by: str
) -> list[WatchMatch]:
    """For each item the clause that fits best; both its own contrast and that of the item are taken off."""
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
    """Items as they are named in notes: "someone on a bicycle", "people running"."""
    return ", ".join(f'"{item}"' for item in items)


WATCH_PROMPT = "watch.v1"
YES, NO = "yes", "no"
CALLS_PER_ITEM = 2
"""Calls that a question takes: its two options come in both orders."""

_SEED = 0


@dataclass
class WatchReplies:
    """What came of asking about the items of one event.

    Parameters
    ----------
    probabilities : of a yes, the highest over the pictures, by item; only where a reply could be read.
    unread : items about which the model said nothing readable.
    unseen : items about which a picture was not asked, because of the budget.
    prompts : that were sent.
    replies : raw, where the model writes them.
    failure : why it ended early, or None.
    """

    probabilities: dict[str, float] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    failure: ModelError | None = None

    def hear(self, item: str, choice: ModelChoice) -> None:
        """Take what was chosen for an item over one more picture."""
        self.replies += choice.replies
        if choice.unread == choice.rotations:
            self.unread += [item] if item not in self.unread else []
            return
        yes = choice.probabilities[choice.options.index(YES)]
        self.probabilities[item] = max(yes, self.probabilities.get(item, 0.0))


def ask_watch_items(
    items: Sequence[str], looks: EventViews, model: BaseChatModel, allowance: CallAllowance, spare: int = 0
) -> WatchReplies:
    """Ask about each item over the pictures of an event, as far as the budget allows.

    Parameters
    ----------
    items : what to watch for.
    looks : of the event.
    model : one that gives log-probabilities replies with a probability, of others letters are read.
    allowance : calls are taken from it.
    spare : calls that are to be left in it.

    Returns
    -------
    Also where the model fails on the way: what it replied before, and the failure.
    """
    found = WatchReplies()
    for view in looks.contexts:
        still = [item for item in items if found.probabilities.get(item, 0.0) <= YES_THRESHOLD]
        affordable = max(0, int(allowance.left - spare) // CALLS_PER_ITEM)
        found.unseen += [item for item in still[affordable:] if item not in found.unseen]
        now = still[:affordable]
        if not now or not allowance.take(CALLS_PER_ITEM * len(now)):
            continue
        try:
            choices = _ask_items(now, view, model, found)
        except ModelError as failure:
            found.failure = failure
            break
        for item, choice in zip(now, choices, strict=True):
            found.hear(item, choice)
    return found


def _ask_items(
    items: Sequence[str], view: View, model: BaseChatModel, found: WatchReplies
) -> list[ModelChoice]:
    """Ask about all items over one picture, which a local model then looks at once."""
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
