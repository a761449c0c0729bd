"""Embed the rules and usual clauses that ship, so that no start has to.

    python scripts/build_rules.py

Run it after every change of ``anomalies.csv`` or ``usual.txt`` in ``memory/data``; a test says when it was
forgotten.
"""

from __future__ import annotations

from anomalist.memory.rules.matching import VECTORS, write_rule_vectors

if __name__ == "__main__":
    print(f"{VECTORS.name}: {write_rule_vectors()} sentences")
