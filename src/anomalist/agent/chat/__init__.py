"""A conversation about what was seen: with a language model, or by measurement alone."""

from __future__ import annotations
