"""What an origin counts of its workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.session.pool import Pool, SlotState

__all__ = ["WorkerMetrics"]


class _Levels(Collector):
    """Read when they are scraped."""

    def __init__(self, pool: Pool, missing: Callable[[], int], arrivals: Callable[[], float]) -> None:
        self._pool = pool
        self._missing = missing
        self._arrivals = arrivals

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        slots = GaugeMetricFamily("origin_pool_slots", "Slots of workers by state", labels=["state"])
        for state in SlotState:
            slots.add_metric([state], self._pool.count(state))
        yield slots
        yield GaugeMetricFamily("origin_pool_missing", "Warm slots that are missing; an alarm", self._missing())
        yield GaugeMetricFamily("origin_arrivals_per_second", "Conversations that begin", self._arrivals())


class WorkerMetrics:
    """See the module.

    Args:
        answer: told the stages of every spoken turn that was answered.
        count: told what workers have counted, and how often (`origin.workers.messages.Status.counts`).
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        answer: Callable[[Mapping[str, float]], None] = lambda stages: None,
        count: Callable[[str, int], None] = lambda name, times: None,
    ) -> None:
        self._registry = registry
        self._answer = answer
        self._count = count
        self._lost = Counter("origin_workers_lost_total", "Workers that ended unasked", registry=registry)
        self._moved = Counter("origin_sessions_moved_total", "Sessions moved between turns", registry=registry)
        self._taken_over = Histogram(
            "origin_takeover_seconds",
            "From the loss of a worker to its session's next one",
            buckets=(0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
            registry=registry,
        )

    def follow(self, pool: Pool, missing: Callable[[], int], arrivals: Callable[[], float]) -> None:
        """Read these when scraped."""
        self._registry.register(_Levels(pool, missing, arrivals))

    def answered(self, stages: Mapping[str, float]) -> None:
        """A spoken turn; milliseconds by the names of core.session.budget."""
        self._answer(stages)

    def counted(self, counts: Mapping[str, int]) -> None:
        """What a worker has counted since it was last heard of."""
        for name, times in counts.items():
            self._count(name, times)

    def lost(self) -> None:
        """A worker has ended unasked."""
        self._lost.inc()

    def moved(self) -> None:
        """A session was moved."""
        self._moved.inc()

    def taken_over(self, seconds: float) -> None:
        """A session goes on after the loss of its worker."""
        self._taken_over.observe(seconds)
