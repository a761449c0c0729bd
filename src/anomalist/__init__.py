"""anomalist looks at pictures and videos, finds what is wrong, and explains it.

Pictures: `learn` what good ones look like, then `Inspector` judges new ones. Video of a camera that stands
still: `learn_scene` from normal footage, then `Triage` finds what is worth watching.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = [
    "AnomalistError",
    "Answer",
    "Claim",
    "ClipRecord",
    "Event",
    "Evidence",
    "Inspection",
    "InspectionSettings",
    "Inspector",
    "LearnOptions",
    "Measured",
    "Media",
    "MixedProfile",
    "Profile",
    "Query",
    "QueryResult",
    "Record",
    "Region",
    "Scene",
    "Track",
    "Triage",
    "TriageSettings",
    "Verdict",
    "Zone",
    "__version__",
    "check_normals",
    "learn",
    "learn_products",
    "learn_scene",
    "query",
]

if TYPE_CHECKING:
    from anomalist.composition import InspectionSettings, TriageSettings
    from anomalist.errors import AnomalistError
    from anomalist.pipeline import Inspector, LearnOptions, check_normals, learn, learn_products
    from anomalist.querying.query import Query, QueryResult
    from anomalist.querying.runs import query
    from anomalist.triage import Triage
    from anomalist.types.clip import ClipRecord, Event, Measured, Track
    from anomalist.types.common import Answer, Claim, Verdict
    from anomalist.types.image import Evidence, Inspection, Media, Record, Region
    from anomalist.vision.motion.learning import learn_scene
    from anomalist.vision.motion.scene import Scene, Zone
    from anomalist.vision.profile import MixedProfile, Profile

_MODULES = {
    "AnomalistError": "anomalist.errors",
    "Answer": "anomalist.types.common",
    "Claim": "anomalist.types.common",
    "ClipRecord": "anomalist.types.clip",
    "Event": "anomalist.types.clip",
    "Evidence": "anomalist.types.image",
    "Inspection": "anomalist.types.image",
    "InspectionSettings": "anomalist.composition",
    "Inspector": "anomalist.pipeline",
    "LearnOptions": "anomalist.pipeline",
    "Measured": "anomalist.types.clip",
    "Media": "anomalist.types.image",
    "MixedProfile": "anomalist.vision.profile",
    "Profile": "anomalist.vision.profile",
    "Query": "anomalist.querying.query",
    "QueryResult": "anomalist.querying.query",
    "Record": "anomalist.types.image",
    "Region": "anomalist.types.image",
    "Scene": "anomalist.vision.motion.scene",
    "Track": "anomalist.types.clip",
    "Triage": "anomalist.triage",
    "TriageSettings": "anomalist.composition",
    "Verdict": "anomalist.types.common",
    "Zone": "anomalist.vision.motion.scene",
    "check_normals": "anomalist.pipeline",
    "learn": "anomalist.pipeline",
    "learn_products": "anomalist.pipeline",
    "learn_scene": "anomalist.vision.motion.learning",
    "query": "anomalist.querying.runs",
}
"""Public name → module, imported when it is first asked for: ``import anomalist`` stays fast."""


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _MODULES:
        raise AttributeError(f"module 'anomalist' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
