"""Plug-ins: detectors, feature extractors, reasoners and exporters by name, entry point or dotted path.

A name is one of the project's own or an entry point of an installed package; ``package.module:Object`` is any
object that can be imported. Nothing is imported but the object that was asked for.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from anomalist.errors import AnomalistError, DataError, DetectorError, ModelError

GroupName = Literal["anomalist.detectors", "anomalist.features", "anomalist.reasoners", "anomalist.exporters"]


@dataclass(frozen=True)
class PluginGroup:
    """One kind of plug-in.

    Parameters
    ----------
    kind : what it is called in messages.
    error : raised when one is missing or can't be used.
    members : names that the object must have; all that is checked of its protocol.
    own : names of the project's own, with their dotted paths.
    factory : whether what is named is called without arguments to get the object.
    others : what else may be named in the same place.
    """

    kind: str
    error: type[AnomalistError]
    members: tuple[str, ...]
    own: Mapping[str, str] = field(default_factory=dict)
    factory: bool = False
    others: str = ""


GROUPS: Mapping[GroupName, PluginGroup] = {
    "anomalist.detectors": PluginGroup(
        "detector",
        DetectorError,
        (
            "name",
            "folds",
            "prepare",
            "learn",
            "score",
            "nearest_normal_patch",
            "name_regions",
            "save",
            "load",
        ),
        own={
            "anomalib": "anomalist.vision.detectors.anomalib:AnomalibDetector",
            "ensemble": "anomalist.vision.detectors.ensemble:EnsembleDetector",
            "surface": "anomalist.vision.detectors.surface:SurfaceDetector",
        },
    ),
    "anomalist.features": PluginGroup(
        "feature extractor",
        DetectorError,
        ("describe",),
        factory=True,
        others="a vision backbone of transformers",
    ),
    "anomalist.reasoners": PluginGroup(
        "reasoner",
        ModelError,
        ("name", "digest", "judge"),
        own={"evidence": "anomalist.agent.reasoning.evidence_reasoner:EvidenceReasoner"},
        factory=True,
        others="hf:NAME_OR_FOLDER, openai:URL#MODEL, scripted:FILE",
    ),
    "anomalist.exporters": PluginGroup("exporter", DataError, ("__call__",)),
}
"""Entry point group → what belongs into it. The protocols stand beside the code that calls them:
`vision.detectors.base.Detector`, `vision.features.backbones.Backbone`,
`agent.reasoning.evidence_reasoner.Reasoner` and `report.exports.Exporter`."""

_DOTTED_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def load_plugin(group: GroupName, name: str, *, stored_in: str | None = None) -> Any:  # noqa: ANN401
    """Import a plug-in and check that it has what its protocol asks for.

    Parameters
    ----------
    group : entry point group.
    name : one of the project's own, the name of an entry point, or ``package.module:Object``.
    stored_in : "the profile housing" when the name was read from there and not given by the user. A dotted
        path is then refused unless an installed package offers it as an entry point or its module has been
        imported already: opening somebody else's file must not run code.

    Raises
    ------
    DetectorError, ModelError, DataError : by group; it is unknown, can't be imported, or is something else.
    """
    path = _find_path(group, name, stored_in)
    found = _import_object(group, name, path)
    if GROUPS[group].factory:
        try:
            found = found()
        except AnomalistError:
            raise
        except Exception as error:
            raise _unusable(
                group, name, f"it can't be called without arguments ({_reason(error)})"
            ) from error
    missing = [member for member in GROUPS[group].members if not hasattr(found, member)]
    if missing:
        kind = GROUPS[group].kind
        raise GROUPS[group].error(
            f"{name} is no {kind}: {type(found).__name__} {_repr_name(found)} has no {', '.join(missing)}.",
            "docs/plug-ins.md lists what a plug-in must have.",
        )
    return found


def names_plugin(group: GroupName, name: str) -> bool:
    """Whether a name is that of an installed plug-in, or reads like a dotted path; imports nothing."""
    known = name in GROUPS[group].own or _DOTTED_PATH.fullmatch(name) is not None
    return known or any(point.name == name for point in entry_points(group=group))


def describe_plugin(group: GroupName, name: str) -> str:
    """Say which package a plug-in comes from: "brightness (anomalist-brightness 1.0)"; imports nothing."""
    points = [point for point in entry_points(group=group) if point.name == name and point.dist is not None]
    packages = (f"{point.dist.name} {point.dist.version}" for point in points if point.dist is not None)
    return f"{name} ({', '.join(packages)})" if points else name


def _find_path(group: GroupName, name: str, stored_in: str | None) -> str:
    """The dotted path of a name; raises where there is none, or where it may not be imported."""
    own = GROUPS[group].own
    if name in own:
        return own[name]
    points = entry_points(group=group)
    paths = dict.fromkeys(_path_of(point) for point in points if point.name == name)
    if len(paths) > 1:
        raise _unusable(group, name, f"several packages offer one: {', '.join(paths)}")
    if paths:
        return next(iter(paths))
    kind = GROUPS[group].kind
    if not _DOTTED_PATH.fullmatch(name):
        known = ", ".join(sorted({*own, *(point.name for point in points)}))
        remedy = f"Known: {', '.join(filter(None, (known, GROUPS[group].others)))}, or module:Object."
        if stored_in is not None:
            raise GROUPS[group].error(
                f"The {kind} {name!r} of {stored_in} is not installed.",
                f"Install the package that offers it. {remedy}",
            )
        raise GROUPS[group].error(f"There is no {kind} {name!r}.", remedy)
    trusted = name in map(_path_of, points) or name.partition(":")[0] in sys.modules
    if stored_in is not None and not trusted:
        raise GROUPS[group].error(
            f"The {kind} {name} of {stored_in} is not installed as a plug-in, so its code is not run.",
            f"Install a package that offers it as an entry point of {group}, "
            f"or import {name.partition(':')[0]} in Python first.",
        )
    return name


def _path_of(point: EntryPoint) -> str:
    return f"{point.module}:{point.attr}"


def _import_object(group: GroupName, name: str, path: str) -> Any:  # noqa: ANN401
    module, _, attributes = path.partition(":")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        absent = module == missing or module.startswith(f"{missing}.")
        needs = f"there is no module {missing}" if absent else f"{module} needs {missing}, which is missing"
        raise _unusable(group, name, needs) from error
    except AnomalistError:
        raise
    except Exception as error:
        raise _unusable(group, name, f"{module} can't be imported ({_reason(error)})") from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise _unusable(group, name, f"{module} has no {attributes}") from error
    return found


def _unusable(group: GroupName, name: str, why: str) -> AnomalistError:
    return GROUPS[group].error(f"The {GROUPS[group].kind} {name} can't be loaded: {why}.")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": .")


def _repr_name(found: object) -> str:
    return getattr(found, "__qualname__", "") or getattr(found, "__name__", "") or "object"
