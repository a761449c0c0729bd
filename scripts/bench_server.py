"""Measure the server: clients that inspect at a time, memory, lists, first answers, and kill -9 under load.

    python scripts/bench_server.py load --seconds 300
    python scripts/bench_server.py lists
    python scripts/bench_server.py kill --times 20

Pictures are 512 × 512 crops of a photograph of scikit-image; a profile is learned of some of them first. The
rate of the command line is measured on the same pictures, alone, in a process of its own, before the server
and after it, so that one sees what else the machine did meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import skimage.data
from PIL import Image

SIDE = 512
COMMAND = [sys.executable, "-c", "from anomalist.cli.app import main; main()"]


def pictures(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Crops of a photograph, each with grain of its own."""
    photograph = np.asarray(skimage.data.brick())
    found = []
    for number in range(first, first + count):
        draw = np.random.default_rng(number)
        top, left = draw.integers(0, photograph.shape[0] - 256, 2)
        crop = (
            Image.fromarray(photograph[top : top + 256, left : left + 256])
            .resize((SIDE, SIDE))
            .convert("RGB")
        )
        grain = draw.normal(0, 3, (SIDE, SIDE, 3))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:04d}.png"
        Image.fromarray(np.clip(np.asarray(crop) + grain, 0, 255).astype(np.uint8)).save(path)
        found.append(path)
    return found


def run(home: Path, *arguments: str) -> None:
    """A command of the package."""
    subprocess.run([*COMMAND, *arguments], env=environment(home), check=True, capture_output=True)


def environment(home: Path) -> dict[str, str]:
    """Of a process that works in a home of its own."""
    return {**os.environ, "ANOMALIST_HOME": str(home)}


def serve(home: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """A server that answers, and its address."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *options], env=environment(home), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = next(line for line in process.stderr if "anomalist is at" in line)
    address = line.split()[-1].rstrip("/")
    threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
    for _ in range(300):
        try:
            httpx.get(f"{address}/healthz")
            break
        except httpx.TransportError:
            time.sleep(0.1)
    return process, address


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def command_line(home: Path, shown: list[Path]) -> tuple[float, float]:
    """Pictures a second of the command line, and its processor seconds a picture, without its start."""

    def spent(*paths: Path) -> tuple[float, float]:
        began, before = time.perf_counter(), os.times()
        run(home, "inspect", *map(str, paths), "--profile", "brick", "--json")
        after = os.times()
        processor = after.children_user + after.children_system
        processor -= before.children_user + before.children_system
        return time.perf_counter() - began, processor

    (start, started), (whole, worked) = spent(shown[0]), spent(*shown)
    count = len(shown) - 1
    return count / max(whole - start, 1e-6), (worked - started) / count


def load(home: Path, work: Path, clients: int, seconds: float) -> None:
    """Clients inspect one picture a request, again and again."""
    shown = pictures(work / "new", 96, 1000)
    before = command_line(home, shown)
    process, address = serve(home)
    statuses: Counter[int] = Counter()
    waits: list[float] = []
    stop = time.monotonic() + seconds
    contents = [path.read_bytes() for path in shown]

    def client(number: int) -> None:
        chance = random.Random(number)
        with httpx.Client(base_url=address, timeout=120) as http:
            while time.monotonic() < stop:
                which = chance.randrange(len(contents))
                files = [("files", (f"{which}.png", contents[which], "image/png"))]
                began = time.perf_counter()
                reply = http.post("/v1/inspections", files=files, data={"profile": "brick"})
                statuses[reply.status_code] += 1
                if reply.status_code == 429:
                    time.sleep(float(reply.headers["retry-after"]))
                else:
                    waits.append(time.perf_counter() - began)

    files = [("files", ("0.png", contents[0], "image/png"))]
    httpx.post(f"{address}/v1/inspections", files=files, data={"profile": "brick"}, timeout=120)
    memory, processor = [megabytes(process.pid)], processor_seconds(process.pid)
    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(5)
        memory.append(megabytes(process.pid))
    spent = time.perf_counter() - began
    processor = processor_seconds(process.pid) - processor
    process.terminate()
    process.wait()
    after = command_line(home, shown)
    alone = statistics.mean((before[0], after[0]))
    print(
        json.dumps(
            {
                "clients": clients,
                "seconds": round(spent),
                "statuses": statuses,
                "pictures_per_second": round(statuses[200] / spent, 2),
                "command_line_before_and_after": [round(each[0], 2) for each in (before, after)],
                "share_of_command_line": round(statuses[200] / spent / alone, 3),
                "processor_seconds_a_picture": round(processor / max(statuses[200], 1), 3),
                "of_the_command_line": [round(each[1], 3) for each in (before, after)],
                "median_wait": round(statistics.median(waits), 2),
                "megabytes_first_middle_last": [round(memory[i]) for i in (1, len(memory) // 2, -1)],
            }
        )
    )


def lists(home: Path) -> None:
    """Ten thousand records in the list; the first page, the first answer."""
    from anomalist.eval.run_examples import picture_records
    from anomalist.server.database import Database
    from anomalist.server.store import InspectionStore

    process, address = serve(home)
    with httpx.Client(base_url=address, timeout=120) as http:
        crop = pictures(home.parent / "one", 1, 2000)[0].read_bytes()
        files = [("files", ("one.png", crop, "image/png"))]
        id = http.post("/v1/inspections", files=files, data={"profile": "brick"}).json()["inspections"][0][
            "id"
        ]
        database = Database(f"sqlite:///{home / 'server' / 'server.sqlite'}")
        InspectionStore(database).add("big", picture_records(10_000), "bench")
        database.close()
        found = {}
        for name, path in (
            ("list", "/v1/inspections"),
            ("filtered", "/v1/inspections?outcome=anomalous&text=scratch"),
            ("page", "/"),
        ):
            spent = []
            for _ in range(7):
                began = time.perf_counter()
                http.get(path).raise_for_status()
                spent.append(time.perf_counter() - began)
            found[f"{name}_ms"] = round(1000 * statistics.median(spent))
        spent = []
        for number in range(6):
            place = f"/v1/conversations/bench {number}"
            began = time.perf_counter()
            http.post(place, json={"inspections": [id], "text": "Where is it?"}).raise_for_status()
            spent.append(time.perf_counter() - began)
        found |= {"first_answer_cold_ms": round(1000 * spent[0])}
        found |= {"first_answer_warm_ms": round(1000 * statistics.median(spent[1:]))}
    process.terminate()
    process.wait()
    print(json.dumps(found))


def kill(home: Path, work: Path, times: int) -> None:
    """A job is accepted, then the server is killed; in the end all are done, each decision once."""
    os.environ["ANOMALIST_HOME"] = str(home)
    from anomalist.audit.reading import read_entries, verify_log

    chance = random.Random(0)
    accepted = []
    for number in range(times):
        folder = work / "line" / str(number)
        pictures(folder, 3, 3000 + 10 * number)
        process, address = serve(home, "--root", str(work / "line"))
        body = {"paths": [str(folder)], "profile": "brick"}
        accepted.append(httpx.post(f"{address}/v1/jobs/inspect", json=body, timeout=60).json()["id"])
        time.sleep(chance.uniform(0, 3))
        process.kill()
        process.wait()
    process, address = serve(home, "--root", str(work / "line"))
    while True:
        jobs = {job["id"]: job for job in httpx.get(f"{address}/v1/jobs?limit=200").json()}
        if all(jobs[id]["state"] in ("done", "failed") for id in accepted):
            break
        time.sleep(0.5)
    process.terminate()
    process.wait()
    decided = Counter(entry.content["record"]["source"] for entry in read_entries(kinds=["inspection"]))
    print(
        json.dumps(
            {
                "killed": times,
                "jobs": Counter(jobs[id]["state"] for id in accepted),
                "pictures": 3 * times,
                "decided": len(decided),
                "decided_twice": sum(count > 1 for count in decided.values()),
                "log_sound": verify_log().sound,
            }
        )
    )


def main() -> None:
    """Measure one thing in a temporary folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("load", "lists", "kill"))
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--times", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="anomalist-") as folder:
        work = Path(folder)
        home = work / "home"
        pictures(work / "good", 24)
        run(home, "learn", str(work / "good"), "--profile", "brick", "--effort", "fast")
        if asked.what == "load":
            load(home, work, asked.clients, asked.seconds)
        elif asked.what == "lists":
            lists(home)
        else:
            kill(home, work, asked.times)


if __name__ == "__main__":
    main()
