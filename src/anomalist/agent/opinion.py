"""Detector and model side by side: the detector gives the number, the model the words, the policy the label.

==========  ==================  ====================================  ============================
detector    model: normal       model: anomalous                      model: undecided
==========  ==================  ====================================  ============================
anomalous   stays anomalous, *  anomalous                             stays anomalous, *
normal      normal              undecided, *                          stays normal, *
undecided   undecided           undecided                             undecided
==========  ==================  ====================================  ============================

``*`` is a disagreement that people read. The first one is *undecided* where the policy's ``doubted_alarm``
says so. A model that can't be read leaves the picture undecided. It never makes anything normal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anomalist.agent.policy import Policy
from anomalist.agent.severity import CRITICAL, MINOR
from anomalist.prompts.replies import Judgement
from anomalist.types import Label, Region

SAYS = {
    "normal": "takes the picture for normal",
    "anomalous": "takes the picture for anomalous",
    "undecided": "can't tell",
}

ALONE: Mapping[Label, str] = {
    "anomalous": "The detector alone calls the picture anomalous: a person has to look.",
    "normal": "The detector alone raises no alarm.",
    "undecided": "The detector does not decide either.",
}
"""What stays visible of the detector where the model gave nothing."""


@dataclass(frozen=True)
class Outcome:
    """A label, why it is undecided (else None), and who disagreed with whom."""

    label: Label
    why: str | None = None
    disagreements: tuple[str, ...] = ()


def weigh(detector: Label, why: str | None, model: Label, policy: Policy) -> Outcome:
    """Put the detector's label and the model's together, as in the table above.

    Parameters
    ----------
    detector : what follows from the evidence alone.
    why : why that is undecided, else None.
    model : what the model thinks.
    policy : ``doubted_alarm`` says what an alarm becomes that the model doesn't see.
    """
    if detector == "undecided":
        return Outcome(detector, f"{why} The model {SAYS[model]}, which alone does not decide.")
    if detector == model:
        return Outcome(detector)
    alarm = (
        "The detector calls the picture anomalous"
        if detector == "anomalous"
        else "The detector raises no alarm"
    )
    conflict = f"{alarm}, the model {SAYS[model]}."
    if model == "undecided":
        stands = "The alarm stands." if detector == "anomalous" else "It stays normal."
        return Outcome(detector, None, (f"{conflict} {stands}",))
    if detector == "anomalous" and policy.doubted_alarm == "anomalous":
        return Outcome(detector, None, (f"{conflict} By the policy the alarm stands.",))
    return Outcome("undecided", f"{conflict} A person has to look.", (conflict,))


def unreadable(detector: Label, tries: int, problem: str) -> Outcome:
    """Say that the model gave nothing to weigh; what the detector says stays visible."""
    times = "once" if tries == 1 else f"{tries} times"
    last = problem.rstrip(".")
    why = f"The model was asked {times} and gave no usable reply (of the last one: {last}). {ALONE[detector]}"
    return Outcome("undecided", why)


@dataclass(frozen=True)
class Step:
    """By how much the model moves severity: −1, 0 or 1; or why its wish was refused."""

    by: int = 0
    refused: str | None = None


def severity_step(judgement: Judgement, level: int, regions: Collection[Region]) -> Step:
    """Let the model move severity by one step, if it says why and cites a region that shows it.

    Parameters
    ----------
    judgement : the model's.
    level : severity by the policy, 1 to 4.
    regions : of the evidence.
    """
    if judgement.severity_step == "same":
        return Step()
    cited, known = set(judgement.severity_evidence), {region.id for region in regions}
    if judgement.label != "anomalous":
        return Step(refused="it calls nothing anomalous")
    if not judgement.severity_reason or not cited:
        return Step(refused="it gives no reason with a region")
    if not cited <= known:
        return Step(refused=f"there is no {', '.join(sorted(cited - known))}")
    moved = level + (1 if judgement.severity_step == "higher" else -1)
    if not MINOR <= moved <= CRITICAL:
        return Step(refused="the scale ends there")
    return Step(moved - level)
