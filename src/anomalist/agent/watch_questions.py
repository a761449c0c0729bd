"""Asks a model whether pictures of an event show what a user watches for, as AnyAnomaly does.

The object closer, the key frame and four moments are each asked about, and the best of them counts: what is
small in one may be plain in another. An item that got a yes is not asked about any further.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_core.language_models import BaseChatModel

from anomalist.agent.event_budget import Allowance
from anomalist.agent.event_looks import EventLooks
from anomalist.agent.event_opinion import SYSTEM
from anomalist.agent.looks import View
from anomalist.agent.messages import system_message, user_message
from anomalist.agent.options import Choice, Question, choose_each
from anomalist.agent.watching_for import EVEN
from anomalist.errors import ModelError
from anomalist.prompts.rendering import Prompt, render

WATCH = "watch.v1"
YES, NO = "yes", "no"
CALLS = 2
"""Calls that a question takes: its two options come in both orders."""

_SEED = 0


@dataclass
class Questioning:
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

    def hear(self, item: str, choice: Choice) -> None:
        """Take what was chosen for an item over one more picture."""
        self.replies += choice.replies
        if choice.unread == choice.rotations:
            self.unread += [item] if item not in self.unread else []
            return
        yes = choice.probabilities[choice.options.index(YES)]
        self.probabilities[item] = max(yes, self.probabilities.get(item, 0.0))


def ask_for(
    items: Sequence[str], looks: EventLooks, model: BaseChatModel, allowance: Allowance, spare: int = 0
) -> Questioning:
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
    found = Questioning()
    for view in looks.contexts:
        still = [item for item in items if found.probabilities.get(item, 0.0) <= EVEN]
        affordable = max(0, int(allowance.left - spare) // CALLS)
        found.unseen += [item for item in still[affordable:] if item not in found.unseen]
        now = still[:affordable]
        if not now or not allowance.take(CALLS * len(now)):
            continue
        try:
            choices = _choices(now, view, model, found)
        except ModelError as failure:
            found.failure = failure
            break
        for item, choice in zip(now, choices, strict=True):
            found.hear(item, choice)
    return found


def _choices(items: Sequence[str], view: View, model: BaseChatModel, found: Questioning) -> list[Choice]:
    """Ask about all items over one picture, which a local model then looks at once."""
    system = render(SYSTEM)
    prompts = [render(WATCH, view=view.caption, item=item) for item in items]
    found.prompts += [system, *prompts]
    questions = [
        Question([system_message(system), user_message(prompt, [view.pixels])], (YES, NO))
        for prompt in prompts
    ]
    try:
        return choose_each(model, questions, seed=_SEED)
    except ModelError:
        raise
    except Exception as error:  # whatever a model's own library raises
        raise ModelError(f"The model broke off: {type(error).__name__}.") from error
