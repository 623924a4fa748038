"""What a POP counts is there to be scraped."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from edge.metrics import PopMetrics


def test_drops_are_counted_by_reason() -> None:
    registry = CollectorRegistry()
    metrics = PopMetrics(registry)
    metrics.dropped("late")
    metrics.dropped("late")
    metrics.dropped("duplicate")
    assert registry.get_sample_value("edge_dropped_total", {"reason": "late"}) == 2
    assert registry.get_sample_value("edge_dropped_total", {"reason": "duplicate"}) == 1


def test_a_total_that_somebody_else_counts_is_read_at_every_scrape() -> None:
    registry = CollectorRegistry()
    metrics = PopMetrics(registry)
    count = [3]
    metrics.follow("edge_ticks_skipped", "Ticks", lambda: count[0])
    assert registry.get_sample_value("edge_ticks_skipped_total") == 3
    count[0] = 5
    assert registry.get_sample_value("edge_ticks_skipped_total") == 5
