"""Fill in a prompt. Anything undefined, unknown or unescaped is refused rather than sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from anomalist.prompts.fence import defuse, fence

if TYPE_CHECKING:
    from jinja2 import Template

SUFFIX = ".txt.j2"


class PromptError(ValueError):
    """A prompt that doesn't exist, or values that don't fit it: a mistake in the program."""


@dataclass(frozen=True)
class Prompt:
    """A filled-in prompt.

    Parameters
    ----------
    id : name and version of its template, "judge.v1".
    sha256 : hex digest of the template, before anything was filled in.
    text : what the model reads.
    """

    id: str
    sha256: str
    text: str


def prompt_ids() -> tuple[str, ...]:
    """Every prompt that ships, by id. A released version is never changed; a better one gets a new number."""
    names = (entry.name for entry in files("anomalist.prompts").iterdir())
    return tuple(sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)))


def template_sha256(name: str) -> str:
    """Hex digest of a template, the same whatever line ends the file was checked out with."""
    return hashlib.sha256(_source(name).encode()).hexdigest()


def render(name: str, **values: object) -> Prompt:
    """Fill in the prompt ``name`` ("judge.v1").

    Every value is made safe (`defuse`); the filter ``data("kind")`` also fences it.

    Raises
    ------
    PromptError : there is no such prompt, a value is missing or is not used by it.
    """
    from jinja2 import TemplateError

    template, wanted = _compiled(name)
    missing, unknown = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
    if missing or unknown:
        raise PromptError(f"The prompt {name} misses {missing} and does not know {unknown}.")
    try:
        text = template.render(**values)
    except TemplateError as error:
        raise PromptError(f"The prompt {name} can't be filled in: {error}") from error
    return Prompt(name, template_sha256(name), text.strip())


@cache
def _source(name: str) -> str:
    """Read a template; only names of shipped prompts are looked up."""
    if name not in prompt_ids():
        raise PromptError(f"There is no prompt {name}; there are {', '.join(prompt_ids())}.")
    text = files("anomalist.prompts").joinpath(name + SUFFIX).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


@cache
def _compiled(name: str) -> tuple[Template, frozenset[str]]:
    """Return a template and the names of the values that it uses."""
    from jinja2 import Environment, StrictUndefined
    from jinja2.meta import find_undeclared_variables

    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Not HTML: every value that a template shows passes through here, whether or not it thinks of it.
        finalize=lambda value: defuse(value) if isinstance(value, str) else value,
    )
    environment.filters["data"] = fence
    source = _source(name)
    return environment.from_string(source), frozenset(find_undeclared_variables(environment.parse(source)))
