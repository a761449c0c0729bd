"""How threads wait where a person waits for an answer."""

from __future__ import annotations

import os


def wait_asleep() -> None:
    """Let threads that wait for each other sleep; for what begins after this in the process.

    By default those of OpenMP keep their cores busy while they wait. Where other programs need the cores,
    too, a picture and a question take several times as long then: so do two runs at a time. Training is left
    as it is: alone on its cores it takes a third longer with threads asleep. Whoever set
    ``OMP_WAIT_POLICY`` knows better.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
