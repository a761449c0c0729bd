"""Clusters for tests: several Ray nodes as processes of this machine, of which some are killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

WHAT_RAY_LEAVES = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
"""Warnings about what Ray itself leaves open when it ends."""


@contextmanager
def cluster_of(nodes: int) -> Iterator[Any]:
    """A head without cores, and so many nodes of one core; each with a Ray of its own processes."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100 << 20})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@contextmanager
def one_node(cores: int) -> Iterator[None]:
    """A Ray of so many cores on this machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(
        address="local",
        num_cpus=cores,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 << 20,
    )
    try:
        yield
    finally:
        ray.shutdown()


def kill_node(cluster: Any, node: str) -> None:
    """Kill all processes of a node, by its id, at once, as when a machine loses its power.

    Ray kills what starts the workers, and the workers answer until they have noticed.
    """
    import psutil

    found = next(each for each in cluster.worker_nodes if each.node_id == node)
    for each in (own for kind in found.all_processes.values() for own in kind):
        with suppress(psutil.NoSuchProcess):
            for worker in psutil.Process(each.process.pid).children(recursive=True):
                worker.kill()
    cluster.remove_node(found, allow_graceful=False)
