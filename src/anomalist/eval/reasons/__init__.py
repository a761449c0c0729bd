"""Evaluation of reasons: whether what a verdict says is so, and whether words move it."""
