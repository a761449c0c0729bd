"""Measuring for a server by Ray Serve: replicas on the cluster, pictures of several requests in one batch.

The server stays one process with one database and one log; what it would measure itself is sent to replicas,
of which Ray Serve keeps as many as there is work for. Its own HTTP is not used.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalist.cluster.connection import LOCAL, RayOptions, connected, most_actors, told_environment
from anomalist.cluster.measuring import MeasuringActor, measured_picture
from anomalist.errors import DataError
from anomalist.vision.detectors.base import MAX_BATCH_PICTURES
from anomalist.vision.evidence import EvidenceSource, MeasuredPicture
from anomalist.vision.parallel import EvidenceOpener, evidence_opener, watched

MAX_HELD_SOURCES = 4
"""Evidence sources that a replica keeps open."""
BATCH_WAIT = 0.02
"""Seconds that a picture waits for others, at most."""
_ON_THE_WAY = 4 * MAX_BATCH_PICTURES  # pictures of one request that replicas have or that wait for them
_REPLY_SECONDS = 600.0
_NAME = "anomalist"

Asked = tuple[EvidenceOpener, str, str]
"""What opens an evidence source, its digest, and where the picture is."""
Reply = tuple[bytes, str, str]
"""What was measured, serialised; or else what is wrong, and what to do about it."""


class MeasuringReplica:
    """Measures pictures with whatever evidence sources they ask for; the latest few stay open.

    Parameters
    ----------
    environment : variables that the server has.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._open: OrderedDict[str, MeasuringActor] = OrderedDict()

    def measure(self, asked: Sequence[Asked]) -> list[Reply]:
        """Measure the pictures of several requests; those of one source together."""
        replies: dict[int, Reply] = {}
        by_source: dict[str, list[int]] = {}
        for number, (_, digest, _) in enumerate(asked):
            by_source.setdefault(digest, []).append(number)
        for digest, numbers in by_source.items():
            actor = self._actor(asked[numbers[0]][0], digest)
            rows = actor({"number": numbers, "source": [asked[number][2] for number in numbers]})
            if rows["error"][0]:
                self._open.pop(digest).close()
                replies |= dict.fromkeys(numbers, (b"", rows["error"][0], rows["remedy"][0]))
            else:
                replies |= {
                    number: (row, "", "") for number, row in zip(numbers, rows["measured"], strict=True)
                }
        return [replies[number] for number in range(len(asked))]

    def _actor(self, opener: EvidenceOpener, digest: str) -> MeasuringActor:
        actor = self._open.pop(digest, None) or MeasuringActor(opener, digest, self._environment)
        self._open[digest] = actor
        if len(self._open) > MAX_HELD_SOURCES:
            self._open.popitem(last=False)[1].close()
        return actor


@dataclass(frozen=True, eq=False)
class ServedMeasuring:
    """Measures pictures with a source by the replicas; called as `InspectionSettings.measure` is."""

    handle: Any

    def __call__(self, source: EvidenceSource, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        """Measure in order; raises DataError where a replica can't, or none answers."""
        return watched(source, self._measure(source, paths))

    def _measure(self, source: EvidenceSource, paths: Iterable[str | Path]) -> Iterator[MeasuredPicture]:
        opener = evidence_opener(source)
        waiting: deque[tuple[str | Path, Any]] = deque()
        for path in paths:
            waiting.append((path, self.handle.remote((opener, source.digest, str(Path(path).absolute())))))
            if len(waiting) >= _ON_THE_WAY:
                yield _reply(*waiting.popleft())
        while waiting:
            yield _reply(*waiting.popleft())


def _reply(path: str | Path, response: Any) -> MeasuredPicture:  # noqa: ANN401
    import ray

    try:
        row, error, remedy = response.result(timeout_s=_REPLY_SECONDS)
    except (ray.exceptions.RayError, TimeoutError) as problem:
        raise DataError(
            f"The cluster gives no answer ({type(problem).__name__}).", "Try again; the log of Ray says more."
        ) from problem
    if error:
        raise DataError(error, remedy)
    return measured_picture(path, row)


@contextmanager
def served(options: RayOptions) -> Iterator[ServedMeasuring]:
    """What measures on a cluster for as long as the context lasts; raises DataError where none answers.

    There is one replica at first, and up to one a core (or ``options.actors``) while pictures wait.
    """
    with connected(options):
        import ray
        import ray.serve

        serve: Any = ray.serve
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        serve.start(proxy_location="Disabled")
        deployment = serve.deployment(
            name="measuring",
            max_ongoing_requests=2 * _ON_THE_WAY,
            autoscaling_config={
                "min_replicas": 1,
                "max_replicas": most_actors(options),
                "target_ongoing_requests": MAX_BATCH_PICTURES,
            },
            ray_actor_options={"num_cpus": 1, "num_gpus": options.gpus},
        )(_batching(serve))
        handle = serve.run(deployment.bind(told_environment()), name=_NAME, route_prefix=None)
        try:
            yield ServedMeasuring(handle)
        finally:
            handle.shutdown()
            serve.delete(_NAME)
            if options.address == LOCAL:
                serve.shutdown()
            # A thread of Serve may go on asking for a cluster that is gone, with a traceback each time.
            logging.getLogger("ray.serve").setLevel(logging.CRITICAL)


def _batching(serve: Any) -> type:  # noqa: ANN401
    """A replica that gathers what comes at the same time."""

    class Batching(MeasuringReplica):
        @serve.batch(max_batch_size=MAX_BATCH_PICTURES, batch_wait_timeout_s=BATCH_WAIT)  # type: ignore[untyped-decorator]
        async def together(self, asked: list[Asked]) -> list[Reply]:
            return await asyncio.to_thread(self.measure, asked)

        async def __call__(self, asked: Asked) -> Reply:
            reply: Reply = await self.together(asked)
            return reply

    return Batching
