"""Which model reasons: from what a person writes after --model to a reasoner."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from anomalist.agent.evidence import EvidenceReasoner
from anomalist.agent.guidance import Guidance
from anomalist.errors import ModelError
from anomalist.settings import Settings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from anomalist.agent.looks import NormalCrop
    from anomalist.agent.reasoner import Reasoner

AUTO, EVIDENCE, BUILTIN = "auto", "evidence", "builtin"

SHIPPED = Path(__file__).parent / "builtin" / "weights"
"""Folder of the small vision-language model that comes with the package, as transformers saves one."""

KINDS: Mapping[str, str] = {
    "hf": "anomalist.agent.local:open_local",
    "openai": "anomalist.agent.endpoint:open_endpoint",
    "scripted": "anomalist.agent.scripted:open_scripted",
}
"""Prefix of a model's name → function that opens what follows it."""

FORMS = (
    "Name one as builtin, hf:NAME_OR_FOLDER, openai:URL#MODEL or scripted:FILE; evidence reasons without one."
)


@dataclass(frozen=True)
class Choice:
    """Who is going to reason.

    Parameters
    ----------
    spec : ``evidence``, or the name of a model with its prefix.
    why : one line for people.
    """

    spec: str
    why: str


def open_model(spec: str) -> BaseChatModel:
    """Open a chat model: ``builtin``, ``hf:<name or folder>``, ``openai:<url>#<model>``, ``scripted:<file>``.

    A local model may be followed by options, as in
    ``hf:Qwen/Qwen3-VL-2B-Instruct?quantisation=nf4&dtype=bfloat16&max_pixels=602112``. Nothing is downloaded.

    Raises
    ------
    ModelError : the kind is unknown, an option is, or the model is not there.
    """
    kind, rest = _parts(spec)
    module, _, function = KINDS[kind].partition(":")
    name, options = _options(rest) if kind == "hf" else (rest, {})
    opened: BaseChatModel = getattr(import_module(module), function)(name, **options)
    return opened


def describe(spec: str) -> str:
    """Put a model's name into words, without opening it.

    Raises
    ------
    ModelError : the kind is unknown, or the address can't be used.
    """
    if spec == EVIDENCE:
        return EvidenceReasoner().name
    if spec == BUILTIN:
        return "the small model that comes with anomalist, on this machine"
    kind, rest = _parts(spec)
    if kind == "hf":
        name, options = _options(rest)
        return ", ".join([name, *(f"{key} {value}" for key, value in options.items()), "on this machine"])
    if kind == "openai":
        from anomalist.agent.endpoint import parse_address

        address = parse_address(rest)
        return f"{address.model} at {address.host}" + ("" if address.local else ", off this machine")
    return f"replies replayed from {rest}"


def choose(asked: str = AUTO) -> Choice:
    """Settle who reasons.

    A model that is asked for by name is taken, whatever comes of it. ``auto`` takes the one that
    ``ANOMALIST_MODEL`` names if it is there, and else reasons by measurement.
    """
    if asked != AUTO:
        return Choice(asked, f"Reasoning: {describe(asked)}.")
    configured = Settings().model
    if configured in (AUTO, EVIDENCE):
        return Choice(EVIDENCE, f"Reasoning: {describe(EVIDENCE)}.")
    missing = _missing(configured)
    if missing is None:
        return Choice(configured, f"Reasoning: {describe(configured)}.")
    return Choice(
        EVIDENCE, f"Reasoning: {describe(EVIDENCE)}; the model of ANOMALIST_MODEL is not there: {missing}"
    )


def reasoner_for(
    spec: str,
    *,
    guidance: Guidance | None = None,
    normal_crop: NormalCrop | None = None,
    listener: Callable[[str], None] | None = None,
) -> Reasoner:
    """Return who reasons by this name.

    Parameters
    ----------
    spec : ``evidence``, or a model as for `open_model`.
    guidance : what the user says in words; only a language model understands it.
    normal_crop : finds what is normal at the place of a region, for a language model to compare with.
    listener : hears a language model's replies as they are written.

    Raises
    ------
    ModelError : see `open_model`; or words were given to the evidence reasoner.
    """
    if spec == EVIDENCE:
        if guidance is not None and guidance != Guidance():
            raise ModelError("Only a language model understands words to watch for or to ignore.", FORMS)
        return EvidenceReasoner()
    model = open_model(spec)
    from anomalist.agent.looks import no_normal
    from anomalist.agent.vlm import ModelReasoner

    digest = getattr(model, "digest", None)  # of a local model's files
    name = f"{spec} (sha256 {digest[:12]})" if digest else spec
    return ModelReasoner(
        model,
        name,
        guidance=guidance or Guidance(),
        normal_crop=normal_crop or no_normal,
        listener=listener,
    )


def _parts(spec: str) -> tuple[str, str]:
    if spec == BUILTIN:  # a folder as any other
        return "hf", str(SHIPPED)
    kind, colon, rest = spec.partition(":")
    if kind not in KINDS or not colon:
        # Not repeated in full: what follows may be an address with a password.
        raise ModelError(f"There is no kind of model called {kind[:40]!r}.", FORMS)
    if not rest:
        raise ModelError(f"Which model? Nothing follows {kind}:.", FORMS)
    return kind, rest


def _options(rest: str) -> tuple[str, dict[str, Any]]:
    """Split ``NAME?quantisation=nf4&max_pixels=602112`` into the name and its options."""
    name, _, query = rest.partition("?")
    options: dict[str, Any] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in ("quantisation", "dtype", "max_pixels") or not value:
            raise ModelError(
                f"A local model has no option {key}={value}.", "It has quantisation, dtype and max_pixels."
            )
        if key == "max_pixels" and not (value.isascii() and value.isdigit() and int(value)):
            raise ModelError(f"max_pixels must be a whole number, got {value}.")
        options[key] = int(value) if key == "max_pixels" else value
    return name, options


def _missing(spec: str) -> str | None:
    """Say why a model can't be used right now; None if it seems to be there."""
    try:
        kind, rest = _parts(spec)
        if kind == "hf":
            from anomalist.agent.loading import local_folder

            local_folder(_options(rest)[0])
        elif kind == "openai":
            from anomalist.agent.chat_completions import connect
            from anomalist.agent.endpoint import find_key, parse_address

            address = parse_address(rest)
            connect(address, find_key(address)[0]).check()
        elif not Path(rest).is_file():
            return f"there is no file {rest}."
    except ModelError as error:
        return str(error)
    return None
