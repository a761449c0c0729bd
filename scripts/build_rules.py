"""Embed the rules and usual clauses that ship, so that no start has to.

    python scripts/build_rules.py

Run it after every change of ``anomalies.csv`` or ``usual.txt`` in ``memory/data``; a test says when it was
forgotten.
"""

from __future__ import annotations

from anomalist.memory.rules.shipped_vectors import VECTORS, write

if __name__ == "__main__":
    print(f"{VECTORS.name}: {write()} sentences")
