"""How long a question takes with a warm profile: the first one, with and without looking again, and others.

python scripts/bench_asking.py PROFILE PICTURE
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch

from anomalist.pipeline import Inspector

QUESTIONS = (
    "Is anything wrong?",
    "Where is the defect?",
    "What kind of defect is it?",
    "How bad is it?",
    "Why did you flag it?",
    "How sure are you?",
    "How large is it?",
    "Compare it with a normal one.",
    "What if the false-alarm rate were 0.1?",
    "Which rules apply?",
    "Have we seen this before?",
    "What is it made of?",
)


def main() -> None:
    """Print one JSON object: seconds."""
    profile, picture = sys.argv[1:]
    start = time.perf_counter()
    inspector = Inspector(profile)
    loaded = time.perf_counter()
    inspection = inspector.inspect(picture)
    inspected = time.perf_counter()
    inspection.ask(QUESTIONS[0])
    first = time.perf_counter()
    seconds = {}
    for question in QUESTIONS:
        began = time.perf_counter()
        inspection.ask(question)
        seconds[question] = round(time.perf_counter() - began, 3)
    result = {
        "load_profile": round(loaded - start, 3),
        "first_inspection": round(inspected - loaded, 3),
        "first_answer": round(first - inspected, 3),
        "median": statistics.median(seconds.values()),
        "slowest": max(seconds.values()),
        "threads": torch.get_num_threads(),
        "questions": seconds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
