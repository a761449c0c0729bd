"""How long a question takes with a warm profile: the first one, with and without looking again, and others.

python scripts/bench_asking.py PROFILE PICTURE
"""

from __future__ import annotations

import json
import statistics
import sys
import time

from anomalist.cli.terminal import limit_threads

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
    """Print one JSON object: seconds by the clock, and of the processor (what a free machine takes)."""
    limit_threads()  # as ``anomalist ask`` does
    import torch

    from anomalist.pipeline import Inspector

    profile, picture = sys.argv[1:]
    start = time.perf_counter()
    inspector = Inspector(profile, model="evidence", memory=False)
    loaded = time.perf_counter()
    inspection = inspector.inspect(picture)
    inspected = time.perf_counter()
    before = time.process_time()
    inspection.ask(QUESTIONS[0])
    first, first_cpu = time.perf_counter(), time.process_time() - before
    seconds, cpu = {}, {}
    for question in QUESTIONS:
        began, before = time.perf_counter(), time.process_time()
        inspection.ask(question)
        seconds[question] = round(time.perf_counter() - began, 3)
        cpu[question] = round(time.process_time() - before, 3)
    result = {
        "load_profile": round(loaded - start, 3),
        "first_inspection": round(inspected - loaded, 3),
        "first_answer": round(first - inspected, 3),
        "first_answer_cpu": round(first_cpu, 3),
        "median": statistics.median(seconds.values()),
        "slowest": max(seconds.values()),
        "median_cpu": statistics.median(cpu.values()),
        "slowest_cpu": max(cpu.values()),
        "threads": torch.get_num_threads(),
        "questions": seconds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
