"""Counters and histograms for what happens every tick: the event loop alone counts, so nobody needs the locks that
Prometheus' own take with every packet. They look the same when scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

__all__ = ["Distribution", "Total"]


class Total(Collector):
    """Grows.

    Args:
        name: without `_total`.
        documentation: one line for whoever reads the scrape.
    """

    def __init__(self, name: str, documentation: str, *, registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._value = 0.0
        registry.register(self)

    def inc(self, amount: float = 1.0) -> None:
        """So many more."""
        self._value += amount

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See Collector."""
        yield CounterMetricFamily(self._name, self._documentation, value=self._value)


class Distribution(Collector):
    """Counts values by size.

    Args:
        name, documentation: as for Total.
        buckets: upper bounds, ascending; the infinite one is added.
        labels: label → value of this one series; `sibling` adds series of other values.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry | None,
        labels: dict[str, str] | None = None,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = tuple(buckets)
        self._labels = labels or {}
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._siblings: list[Distribution] = []
        if registry is not None:
            registry.register(self)

    def sibling(self, **labels: str) -> Distribution:
        """Another series of the same name."""
        made = Distribution(self._name, self._documentation, buckets=self._bounds, registry=None, labels=labels)
        self._siblings.append(made)
        return made

    def observe(self, value: float) -> None:
        """One more value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """See Collector."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=list(self._labels))
        for series in (self, *self._siblings):
            names = [*map(str, series._bounds), "+Inf"]
            buckets = list(zip(names, map(float, accumulate(series._counts)), strict=True))
            family.add_metric(list(series._labels.values()), buckets=buckets, sum_value=series._sum)
        yield family
