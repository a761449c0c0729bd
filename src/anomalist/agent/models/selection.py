"""Model selection: from the text after ``--model`` (or ``ANOMALIST_MODEL``) to a chat model.

The prefix of a name (``hf:``, ``openai:``, ``scripted:``) selects the function that opens it, imported only
then. ``evidence`` takes none. Any other name is that of a reasoner of another package, see
`anomalist.plugins`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from anomalist.agent.models.text_only import takes_pictures
from anomalist.errors import ModelError
from anomalist.plugins import describe_plugin, load_plugin, names_plugin
from anomalist.settings import Settings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

AUTO, EVIDENCE = "auto", "evidence"

EVIDENCE_REASONER = "evidence (measurement only, no language model)"
"""What ``evidence`` is called in records."""

REMOVED_MODEL = "builtin"
"""Model that came with earlier versions. Its name is still known, so that nothing else is opened by it."""

MODEL_OPENERS: Mapping[str, str] = {
    "hf": "anomalist.agent.models.local:open_local",
    "openai": "anomalist.agent.models.openai_compatible:open_endpoint",
    "scripted": "anomalist.agent.models.scripted:open_scripted",
}
"""Prefix of a model's name → function that opens what follows it."""

MODEL_NAME_HELP = (
    "Name one as hf:NAME_OR_FOLDER, openai:URL#MODEL or scripted:FILE; evidence reasons without one."
)
REMOVED_REMEDY = (
    f"Leave it out: measurements are then put into words. Or take another model. {MODEL_NAME_HELP}"
)


@dataclass(frozen=True)
class ModelSelection:
    """The selected reasoner.

    Parameters
    ----------
    spec : ``evidence``, the name of a model with its prefix, or that of a reasoner of another package.
    why : one line for people.
    missing : why the model of ``ANOMALIST_MODEL`` can't be used, where that is so.
    """

    spec: str
    why: str
    missing: str | None = None


def open_model(spec: str) -> BaseChatModel:
    """Open a chat model: ``hf:<name or folder>``, ``openai:<url>#<model>``, ``scripted:<file>``.

    A local model may be followed by options, as in
    ``hf:Qwen/Qwen3-VL-2B-Instruct?quantisation=nf4&dtype=bfloat16&max_pixels=602112``. Nothing is downloaded.

    Raises
    ------
    ModelError : the kind is unknown, an option is, or the model is not there.
    """
    kind, rest = _split_spec(spec)
    module, _, function = MODEL_OPENERS[kind].partition(":")
    name, options = _parse_options(rest) if kind == "hf" else (rest, {})
    opened: BaseChatModel = getattr(import_module(module), function)(name, **options)
    return opened


def open_for_pictures(spec: str) -> BaseChatModel:
    """Open a chat model that is to look; where it reads text only, a line of the log (on stderr) says so.

    Raises ModelError, see `open_model`.
    """
    model = open_model(spec)
    if not takes_pictures(model):
        words = f"{spec} reads text only: no picture is shown to it, and what is seen is measured."
        logging.getLogger(__name__).warning("%s", words)
    return model


def record_name(spec: str, model: BaseChatModel) -> str:
    """What records call a model: its spec, with the digest of a local model's files."""
    digest = getattr(model, "digest", None)
    return f"{spec} (sha256 {digest[:12]})" if digest else spec


def describe_model(spec: str) -> str:
    """Put a model's name into words, without opening it.

    Raises
    ------
    ModelError : the kind is unknown, or the address can't be used.
    """
    if spec == EVIDENCE:
        return EVIDENCE_REASONER
    if is_plugin(spec):
        return describe_plugin("anomalist.reasoners", spec)
    kind, rest = _split_spec(spec)
    if kind == "hf":
        name, options = _parse_options(rest)
        return ", ".join([name, *(f"{key} {value}" for key, value in options.items()), "on this machine"])
    if kind == "openai":
        from anomalist.agent.models.openai_compatible import parse_address

        address = parse_address(rest)
        return f"{address.model} at {address.host}" + ("" if address.local else ", off this machine")
    return f"replies replayed from {rest}"


def select_model(asked: str = AUTO) -> ModelSelection:
    """Select who reasons.

    A model that is asked for by name is taken, whatever comes of it. ``auto`` takes the one that
    ``ANOMALIST_MODEL`` names if it is there, and else reasons by measurement.
    """
    if asked != AUTO:
        return ModelSelection(asked, f"Reasoning: {describe_model(asked)}.")
    configured = Settings().model
    if configured in (AUTO, EVIDENCE):
        return ModelSelection(EVIDENCE, f"Reasoning: {describe_model(EVIDENCE)}.")
    missing = _why_missing(configured)
    if missing is None:
        return ModelSelection(configured, f"Reasoning: {describe_model(configured)}.")
    return ModelSelection(
        EVIDENCE,
        f"Reasoning: {describe_model(EVIDENCE)}; the model of ANOMALIST_MODEL is not there: {missing}",
        missing,
    )


def is_plugin(spec: str) -> bool:
    """Whether a name is that of a plug-in; what has the prefix of a model never is."""
    prefix, colon, _ = spec.partition(":")
    return (
        not (colon and prefix in MODEL_OPENERS)
        and spec != REMOVED_MODEL
        and names_plugin("anomalist.reasoners", spec)
    )


def _split_spec(spec: str) -> tuple[str, str]:
    if spec == REMOVED_MODEL:
        raise ModelError("The small model builtin is no longer part of anomalist.", REMOVED_REMEDY)
    kind, colon, rest = spec.partition(":")
    if kind not in MODEL_OPENERS or not colon:
        # Not repeated in full: what follows may be an address with a password.
        remedy = f"{MODEL_NAME_HELP} A reasoner that is a plug-in judges pictures only, in inspect."
        raise ModelError(
            f"There is no kind of model called {kind[:40]!r}.",
            remedy if names_plugin("anomalist.reasoners", spec) else MODEL_NAME_HELP,
        )
    if not rest:
        raise ModelError(f"Which model? Nothing follows {kind}:.", MODEL_NAME_HELP)
    return kind, rest


def _parse_options(rest: str) -> tuple[str, dict[str, Any]]:
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


def _why_missing(spec: str) -> str | None:
    """Say why a model can't be used right now; None if it seems to be there."""
    try:
        if is_plugin(spec):
            load_plugin("anomalist.reasoners", spec)
            return None
        kind, rest = _split_spec(spec)
        if kind == "hf":
            from anomalist.agent.models.loading import local_folder

            local_folder(_parse_options(rest)[0])
        elif kind == "openai":
            from anomalist.agent.models.openai_compatible import (
                connect_model,
                find_key,
                parse_address,
            )

            address = parse_address(rest)
            connect_model(address, find_key(address)[0]).check()
        elif not Path(rest).is_file():
            return f"there is no file {rest}."
    except ModelError as error:
        return str(error)
    return None
