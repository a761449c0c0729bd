"""Measure the audit log: what tampering is found, how fast it is, what survives kill -9, what drift is seen.

    python scripts/bench_audit.py tamper|cost|speed|kills|drift|causes|clips
    ANOMALIST_HOME=HOME python scripts/bench_audit.py replay

``tamper`` makes 10,000 single-byte changes and 1,000 each of deletions, swaps, insertions and truncations;
``speed`` verifies 1,000,000 entries; ``kills`` kills two writers 200 times; ``drift`` runs the test on 1,000
undisturbed runs of 1,000 pictures. ``clips`` triages ten drawn clips and takes them again; ``replay`` takes
all decisions of the log in HOME. A number behind the name replaces the number of tries.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from anomalist.audit.canonical import canonical_json
from anomalist.audit.drift import drift_test, online_p_values
from anomalist.audit.entries import FIRST_PREVIOUS, FORMAT, HEAD_FILE, join_line
from anomalist.audit.keys import signature_fits
from anomalist.audit.log import AuditLog, segment_name
from anomalist.audit.reading import read_entries, verify_log
from anomalist.audit.verification import Verifier
from tests.audit.kills import check_log, kill_writers
from tests.audit.logs import write_log
from tests.audit.tampering import TAMPERINGS, read_segments, write_segments


def tamper(tries: int = 1000) -> Iterator[str]:
    """How much of what is done to a log of 100 entries is found, called by its name, and placed."""
    with tempfile.TemporaryDirectory() as folder:
        lines = write_log(Path(folder), 100, segment_bytes=8000) / "log"
        files, head = read_segments(lines), (lines / HEAD_FILE).read_bytes()
        for name, change in TAMPERINGS.items():
            chance = random.Random(name)
            count = 10 * tries if name == "single-byte changes" else tries
            found = placed = 0
            for _ in range(count):
                tampered = change(files, chance)
                write_segments(lines, tampered.files, head)
                findings = Verifier(lines, signature_fits).run().findings
                found += bool(findings)
                placed += tampered.found_by(findings)
            yield f"{name}: {count:,} tried, {found:,} found, {placed:,} named and placed"


def row(number: int) -> dict[str, object]:
    """A body of about the size of a record with two regions."""
    regions = [
        {"id": f"R{n}", "box": [n, 2, 30, 40], "peak": number / 7 + n, "text": "a small dark spot " * 8}
        for n in range(12)
    ]
    return {"record": {"source": f"line-3/{number:07d}.png", "score": number / 3, "regions": regions}}


def cost(count: int = 2000) -> Iterator[str]:
    """What an entry costs, on the disk of the temporary folder, at batches of 16."""
    with tempfile.TemporaryDirectory() as folder, AuditLog(Path(folder)) as log:
        log.append("inspection", row(0))
        began, worked = time.perf_counter(), time.process_time()
        for number in range(count):
            log.append("inspection", row(number))
        log.close()
        each, work = (time.perf_counter() - began) / count, (time.process_time() - worked) / count
        size = len(canonical_json(row(1)))
    yield f"{count:,} entries of {size:,} bytes: {1000 * each:.2f} ms each, {1000 * work:.2f} ms of CPU time"


def speed(count: int = 1_000_000) -> Iterator[str]:
    """How long verification of many entries takes."""
    with tempfile.TemporaryDirectory() as folder:
        write_log(Path(folder), 1)
        size = write_fast(Path(folder) / "log", count)
        with AuditLog(Path(folder)) as log:  # signs the end
            log.append("setting", {"what": "the end"})
        began = time.perf_counter()
        result = verify_log(Path(folder))
        took = time.perf_counter() - began
    yield f"{result.entries:,} entries, {size / 1e9:.2f} GB: verified in {took:.1f} s, sound: {result.sound}"


def write_fast(lines: Path, count: int) -> int:
    """Write a chain in place of a log without signing and syncing each entry; returns its bytes."""
    for file in lines.glob("segment-*"):
        file.unlink()
    (lines / HEAD_FILE).unlink()
    previous, total, file = FIRST_PREVIOUS, 0, None
    bodies = [canonical_json(row(number)) for number in range(997)]
    digests = [hashlib.sha256(body).hexdigest() for body in bodies]
    for position in range(count):
        if file is None or position % 20_000 == 0:
            if file is not None:
                file.close()
            file = (lines / segment_name(position)).open("wb")
        head = (
            f'{{"body":"{digests[position % 997]}","format":{FORMAT},"kind":"inspection","log":"speed",'
            f'"position":{position},"previous":"{previous}","time":"2026-01-01T00:00:00.000000Z"}}'
        ).encode()
        previous = hashlib.sha256(head).hexdigest()
        total += file.write(join_line(bodies[position % 997], previous, head) + b"\n")
    if file is not None:
        file.close()
    return total


def kills(times: int = 200) -> Iterator[str]:
    """What is left of a log whose two writers are killed again and again."""
    with tempfile.TemporaryDirectory() as folder:
        reported = kill_writers(Path(folder), times, random.Random(1))
        entries, lost, doubled, findings = check_log(Path(folder), reported)
    yield (
        f"{times} kills of two writers: {len(reported):,} entries reported, {entries:,} in the log, "
        f"{lost} lost, {doubled} doubled, {len(findings)} findings {findings[:3]}"
    )


def drift(runs: int = 1000) -> Iterator[str]:
    """False alarms of the drift test on undisturbed runs, and delay after a shift, in pictures."""
    for normals in (20, 50, 200):
        alarms = sum(_alarm(normals, seed) is not None for seed in range(runs))
        yield f"{normals} normals: {alarms} false alarms in {runs:,} runs of 1,000 pictures"
    for shift in (0.5, 1.0, 2.0, 3.0):
        delays = [_alarm(50, seed, shift) for seed in range(200)]
        seen = sorted(1000 if delay is None else delay - 300 for delay in delays)
        yield (
            f"scores {shift:g} σ higher from picture 300 on: seen after {seen[100]} pictures in the median, "
            f"{seen[190]} in 95 % of 200 runs"
        )


def _alarm(normals: int, seed: int, shift: float = 0.0) -> int | None:
    chance = np.random.default_rng(seed)
    scores = chance.gumbel(size=1000)
    scores[300:] += shift * np.pi / np.sqrt(6)
    return drift_test(online_p_values(chance.gumbel(size=normals).tolist(), scores.tolist(), seed)).alarm


def replay(_: int = 0) -> Iterator[str]:
    """How many decisions of a log are the same again, and by how much scores differ."""
    from anomalist.audit.replay import Replayer

    replayer = Replayer()
    done = [replayer.replay(entry) for entry in read_entries(kinds=("inspection", "clip"))]
    off = max((abs(each.score_difference) for each in done if each.score_difference is not None), default=0.0)
    equal, failed = sum(each.equal for each in done), sum(bool(each.failed) for each in done)
    yield f"{len(done)} decisions: {equal} the same again, {failed} not taken again, scores off by {off:.2g}"


def clips(count: int = 10) -> Iterator[str]:
    """How many decisions on clips of a drawn street are the same again; in half of them somebody runs."""
    from anomalist.audit.recording import AuditTrail, RunTrail
    from anomalist.audit.replay import Replayer
    from anomalist.composition import TriageSettings
    from anomalist.triage import Triage
    from anomalist.vision.motion.learning import learn_scene
    from tests.street import make_film, walker
    from tests.street_files import write_film

    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        scene = learn_scene([make_film(18, people=seed) for seed in range(1, 6)], root / "street")
        paths = []
        for number in range(count):
            runner = (walker(2.0, 60.0, speed=4.0, seed=number),) if number % 2 else ()
            paths.append(root / f"clip-{number}.mp4")
            write_film(paths[-1], make_film(7, *runner, people=100 + number))
        with AuditTrail(root / "audit", "all") as trail:
            trail.begin_triage(triage := Triage(TriageSettings(scene, model="evidence")), "triage")
            with RunTrail(trail, None) as kept:
                labels = [record.label for record in kept.keep(triage.clips(paths))]
        replayer = Replayer(root / "audit")
        entries = read_entries(root / "audit", kinds=["clip"])
        done = [replayer.replay(entry) for entry in entries]
    off = max((abs(each.score_difference) for each in done if each.score_difference is not None), default=0.0)
    yield (
        f"{len(done)} clips, {labels.count('anomalous')} of them anomalous: "
        f"{sum(each.equal for each in done)} the same again, scores off by {off:.2g}"
    )


def causes(tries: int = 50) -> Iterator[str]:
    """How often what was changed since a decision is named, and nothing else."""
    import os
    import shutil

    from anomalist.audit.changes import changes_since
    from anomalist.audit.recording import AuditTrail
    from anomalist.audit.replay import decision_record
    from anomalist.memory.rules.rule import Rule
    from anomalist.memory.rules.store import RuleStore, adopt_shipped_rules
    from anomalist.pipeline import Inspector, learn
    from anomalist.types.common import PromptUsed
    from tests.pictures import holed, write, write_tiles

    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["ANOMALIST_HOME"] = str(root / "home")
        write_tiles(root / "good", 20)
        learned = learn(root / "good", profile="plates", effort="fast", detector="surface")
        inspector = Inspector(learned, model="evidence")
        with AuditTrail() as trail:
            trail.begin_inspection(inspector, "inspect")
            trail.decision(inspector.inspect(write(root / "hole.png", holed(1))).record)
        profiles, kept = root / "home" / "profiles" / "plates", root / "kept"
        shutil.copytree(profiles, kept)
        right = 0
        session, entry = read_entries()
        for number in range(tries):
            record, policy = decision_record(entry), None
            what = ("policy", "rules", "prompt", "profile")[number % 4]
            if what == "policy":
                policy = root / "policy.toml"
                policy.write_text(f"max_instability = {chance.uniform(0.31, 0.9):.3f}\n")
            elif what == "rules":
                with RuleStore() as store:
                    adopt_shipped_rules(store, "plates")
                    rule = Rule(
                        id="rule:new-1",
                        text=f"a mark of kind {number}",
                        polarity=chance.choice(("normal", "anomalous")),
                        kind="object",
                        origin="person",
                    )
                    (stored,) = store.add("plates", [rule])
            elif what == "prompt":
                record = record.replace(prompts=(PromptUsed(id="judge.v1", sha256=f"{number:064x}"),))
            else:
                write_tiles(root / "good", 20 + number)
                learn(
                    root / "good",
                    profile="plates",
                    effort="fast",
                    detector="surface",
                    seed=number,
                    force=True,
                )
            named = {each.part for each in changes_since(trail.folder, session, record, policy)}
            right += named == {what}
            if what == "rules":
                with RuleStore() as store:
                    store.change(stored.replace(enabled=False))
            elif what == "profile":
                shutil.rmtree(profiles)
                shutil.copytree(kept, profiles)
    yield f"{tries} changes of policy, rules, prompt or profile: {right} named, and nothing else with them"


MEASURES = {
    "causes": causes,
    "clips": clips,
    "tamper": tamper,
    "cost": cost,
    "speed": speed,
    "kills": kills,
    "drift": drift,
    "replay": replay,
}


def main() -> None:
    """Measure what is named."""
    measure = MEASURES[sys.argv[1]]
    for line in measure(int(sys.argv[2])) if len(sys.argv) > 2 else measure():
        print(line, flush=True)


if __name__ == "__main__":
    main()
