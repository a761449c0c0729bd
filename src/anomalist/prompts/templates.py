"""Prompt templates: versioned Jinja files, rendered strictly, with untrusted text escaped and fenced.

Undefined and unknown values are refused. Text from files, pictures and users is data and goes into a prompt
inside a fence: ``<data kind="…">``, the text, ``</data>`` (a defence against prompt injection). Inside, ``<``
and ``>`` are written as ``&lt;`` and ``&gt;``, so that no text can close its fence, and that tokenizers never
see the control tokens of chat templates (``<|im_start|>``, ``<image>``, ``</s>``, ``[INST]``).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


MAX_FENCED_CHARACTERS = 4000
"""Longer data is cut, with a note of how many characters are missing."""

_BRACKET_TOKEN = re.compile(r"\[(?=/?[A-Z][A-Z_]*\])")


class EscapedText(str):
    """Text that is escaped already and goes into a prompt unchanged."""

    __slots__ = ()


def escape_text(text: str) -> EscapedText:
    """Escape control tokens, brackets and invisible characters; the rest stays as it is.

    Angle brackets and the bracket of ``[INST]``-like tokens become entities, invisible characters (except
    line feeds and tabs) become ``\\u`` codes. An `EscapedText` is returned unchanged.
    """
    if isinstance(text, EscapedText):
        return text
    plain = text.replace("\r\n", "\n").replace("<", "&lt;").replace(">", "&gt;")
    plain = _BRACKET_TOKEN.sub("&#91;", plain)
    return EscapedText("".join(char if _is_visible(char) else f"\\u{ord(char):04x}" for char in plain))


def fence(text: str, kind: str, limit: int = MAX_FENCED_CHARACTERS) -> EscapedText:
    """Fence text as data.

    Parameters
    ----------
    text : untrusted text; cut after ``limit`` characters.
    kind : what it is ("file name"), a literal of ours, never untrusted text.
    """
    cut = len(text) - limit
    shown = escape_text(text[:limit]) + (f" … ({cut} more characters)" if cut > 0 else "")
    return EscapedText(f'<data kind="{kind}">\n{shown}\n</data>')


def _is_visible(char: str) -> bool:
    category = unicodedata.category(char)  # C: control, format, surrogate, private, unassigned; Z: separators
    return char in "\n\t" or (category[0] != "C" and category not in ("Zl", "Zp"))


TEMPLATE_SUFFIX = ".txt.j2"


class PromptError(ValueError):
    """A prompt that doesn't exist, or values that don't fit it: a programming error."""


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt.

    Parameters
    ----------
    id : name and version of its template, "judge.v1".
    sha256 : hex digest of the template source.
    text : the rendered text.
    """

    id: str
    sha256: str
    text: str


def prompt_ids() -> tuple[str, ...]:
    """Ids of all prompts that ship. A released template is never changed; a new version gets a new number."""
    names = (entry.name for entry in files("anomalist.prompts").iterdir())
    return tuple(
        sorted(name.removesuffix(TEMPLATE_SUFFIX) for name in names if name.endswith(TEMPLATE_SUFFIX))
    )


def template_sha256(name: str) -> str:
    """Hex digest of a template, independent of the line ends of the file."""
    return hashlib.sha256(_template_source(name).encode()).hexdigest()


def template_text(name: str) -> str:
    """Source of a template, as its digest is made of. Raises PromptError where there is none of that name."""
    return _template_source(name)


def render(name: str, **values: object) -> Prompt:
    """Render the prompt ``name`` ("judge.v1").

    Every value is escaped (`escape_text`); the filter ``data("kind")`` also fences it.

    Raises
    ------
    PromptError : there is no such prompt, a value is missing, or a value is not used by it.
    """
    from jinja2 import TemplateError

    template, wanted = _compiled_template(name)
    missing, unknown = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
    if missing or unknown:
        raise PromptError(f"The prompt {name} misses {missing} and does not know {unknown}.")
    try:
        text = template.render(**values)
    except TemplateError as error:
        raise PromptError(f"The prompt {name} can't be filled in: {error}") from error
    return Prompt(name, template_sha256(name), text.strip())


@cache
def _template_source(name: str) -> str:
    """Read a template; only names of shipped prompts are looked up."""
    if name not in prompt_ids():
        raise PromptError(f"There is no prompt {name}; there are {', '.join(prompt_ids())}.")
    text = files("anomalist.prompts").joinpath(name + TEMPLATE_SUFFIX).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n")


@cache
def _compiled_template(name: str) -> tuple[Template, frozenset[str]]:
    """Return a template and the names of the values that it uses."""
    from jinja2 import Environment, StrictUndefined
    from jinja2.meta import find_undeclared_variables

    environment = Environment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Jinja's autoescape is for HTML; `finalize` sees every value, whether or not the template escapes it.
        finalize=lambda value: escape_text(value) if isinstance(value, str) else value,
    )
    environment.filters["data"] = fence
    source = _template_source(name)
    return environment.from_string(source), frozenset(find_undeclared_variables(environment.parse(source)))
