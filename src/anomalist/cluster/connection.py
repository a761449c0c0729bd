"""Connection to a Ray cluster: which one, how much of it, and what its processes are told."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from anomalist.errors import DataError
from anomalist.vision.worker_pool import usable_cores

LOCAL = "local"
"""Address that starts a Ray of its own on this machine."""
_CONNECT_SECONDS = 5.0
_SECRETS = ("ANOMALIST_MEMORY", "ANOMALIST_PUBLISH", "ANOMALIST_WEBHOOK_SECRET", "ANOMALIST_MQTT_PASSWORD")


@dataclass(frozen=True)
class RayOptions:
    """Which cluster, and how much of it.

    Parameters
    ----------
    address : of the head node, "host:port"; "auto" for the cluster that this machine is in, "local" for one
        of its own.
    actors : at most; None takes one a core. Ray Data starts with one and adds more while there is work.
    gpus : that each actor takes, a fraction for several on one.
    """

    address: str = LOCAL
    actors: int | None = None
    gpus: float = 0.0


@contextmanager
def connected(options: RayOptions) -> Iterator[None]:
    """A connection to the cluster, that ends with the context if it began with it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent anywhere
    # Threads that Ray Serve leaves behind would start a Ray of their own at the end.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    import ray

    if ray.is_initialized():
        yield
        return
    if ":" in options.address:
        _check_reachable(options.address)
    own = options.address == LOCAL
    try:
        ray.init(
            address=options.address,
            num_cpus=(options.actors or usable_cores()) if own else None,
            include_dashboard=False if own else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(options.address, str(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def most_actors(options: RayOptions) -> int:
    """Actors at most, one a core of the cluster unless the options say; the connection is open."""
    import ray

    return options.actors or max(1, int(ray.cluster_resources().get("CPU", 1)))


def last_line(error: Exception) -> str:
    """The last line of what Ray says, which names the cause; the kind of error where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str, why: str) -> DataError:
    return DataError(
        f"No Ray cluster answers at {address} ({' '.join(why.split())[:160]}).",
        'Give the address of its head node, host:port, or "local" for one on this machine.',
    )


def told_environment() -> dict[str, str]:
    """The variables of this process that decide what others open, without those that hold passwords."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("ANOMALIST_") and name not in _SECRETS
    }
