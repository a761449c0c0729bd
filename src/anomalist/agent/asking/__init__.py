"""Questions in plain words, answered from measurements."""

from __future__ import annotations
