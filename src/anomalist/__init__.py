"""anomalist looks at pictures and videos, finds what is wrong, and explains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["Inspector", "__version__", "learn"]

if TYPE_CHECKING:
    from anomalist.pipeline import Inspector, learn


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import the pipeline when it is first asked for: ``import anomalist`` stays fast."""
    if name in ("Inspector", "learn"):
        from anomalist import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'anomalist' has no attribute {name!r}")
