"""Figures about the server for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counts of one server, in a registry of its own."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "anomalist_requests",
            "Requests by method, route and status",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "anomalist_request_seconds",
            "Seconds until a request is answered",
            ("route",),
            registry=self.registry,
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
        )
        self._inspected = Counter(
            "anomalist_pictures", "Inspected pictures by verdict", ("verdict",), registry=self.registry
        )
        self._jobs = Counter(
            "anomalist_jobs", "Jobs that ended, by kind and state", ("kind", "state"), registry=self.registry
        )
        self.waiting = Gauge(
            "anomalist_waiting_requests", "Requests that wait to be inspected", registry=self.registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def inspected(self, outcome: str) -> None:
        """Count an inspected picture."""
        self._inspected.labels(outcome).inc()

    def job(self, kind: str, state: str) -> None:
        """Count a job that ended."""
        self._jobs.labels(kind, state).inc()

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
