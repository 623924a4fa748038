"""Our own counters look like Prometheus' when scraped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from edge.counting import Distribution, Total

_BUCKETS = (0.001, 0.01, 0.1, 1.0)


def scraped(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.floats(0.0, 5.0) | st.sampled_from(_BUCKETS), max_size=20))
def test_they_look_like_prometheus_own(values: list[float]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    counter = Counter("edge_things", "Things", registry=theirs)
    histogram = Histogram("edge_seconds", "Seconds", ["stage"], buckets=_BUCKETS, registry=theirs)
    total = Total("edge_things", "Things", registry=ours)
    first = Distribution("edge_seconds", "Seconds", buckets=_BUCKETS, registry=ours, labels={"stage": "a"})
    second = first.sibling(stage="b")
    histogram.labels("a")
    histogram.labels("b")
    for value in values:
        counter.inc()
        counter.inc(2)
        total.inc()
        total.inc(2)
        histogram.labels("a").observe(value)
        first.observe(value)
    second.observe(0.01)
    histogram.labels("b").observe(0.01)
    assert sorted(scraped(ours)) == sorted(scraped(theirs))


def test_without_labels() -> None:
    registry = CollectorRegistry()
    distribution = Distribution("edge_seconds", "Seconds", buckets=_BUCKETS, registry=registry)
    distribution.observe(0.05)
    assert registry.get_sample_value("edge_seconds_bucket", {"le": "0.1"}) == 1
    assert registry.get_sample_value("edge_seconds_bucket", {"le": "0.01"}) == 0
    assert registry.get_sample_value("edge_seconds_count") == 1
    assert registry.get_sample_value("edge_seconds_sum") == 0.05
