"""What a POP counts (names shared by all dashboards). Never a token, never a word anybody said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from edge.counting import Distribution, Total

__all__ = ["PopMetrics"]

_STAGE_BUCKETS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0)


class PopMetrics:
    """Every metric of one POP on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sessions_active = Gauge("edge_sessions_active", "Sessions with a connected viewer", registry=registry)
        self.setups = Counter(
            "edge_session_setup", "Sessions that were asked for", ["result", "reason"], registry=registry
        )
        self.setup_seconds = Histogram(
            "edge_session_setup_seconds", "From the viewer's offer to media", registry=registry
        )
        self.resumes = Counter("edge_session_resumes", "Sessions that moved to another link", registry=registry)
        self.stage_edge = Distribution(
            "edge_stage_seconds",
            "Time per stage",
            buckets=_STAGE_BUCKETS_S,
            registry=registry,
            labels={"stage": "edge"},
        )
        self.stage_fabric = self.stage_edge.sibling(stage="fabric")
        self.mouth_to_ear_seconds = Histogram(
            "edge_mouth_to_ear_seconds", "From sending sound to hearing it at the viewer", registry=registry
        )
        self.tick_lateness_seconds = Distribution(
            "edge_tick_lateness_seconds", "How late a phase began", buckets=_STAGE_BUCKETS_S, registry=registry
        )
        self.packets_sent = Total("edge_packets_sent", "Access units sent", registry=registry)
        self.packets_lost = Total("edge_packets_lost", "Access units that viewers say they missed", registry=registry)
        self.feedback = Total("edge_feedback", "Times that viewers said how their links are", registry=registry)
        self.fec_tier = Gauge("edge_fec_tier", "Connected sessions by tier of redundancy", ["tier"], registry=registry)
        self.packets_received = Total("edge_packets_received", "Microphone packets received", registry=registry)
        self.speech_underruns = Counter(
            "edge_speech_underruns", "Ticks on which an unfinished answer had nothing to say", registry=registry
        )
        self.speech_holes = Counter("edge_speech_holes", "Packets of answers that never came", registry=registry)
        self._registry = registry
        self._dropped = Counter("edge_dropped", "Inputs dropped on purpose", ["reason"], registry=registry)

    def follow(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Export a total that somebody else counts; read at every scrape."""
        self._registry.register(_Followed(name, documentation, read))

    def follow_levels(self, name: str, documentation: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Export levels that somebody else knows, one per value of a label; read at every scrape."""
        self._registry.register(_Levels(name, documentation, label, read))

    def dropped(self, reason: str) -> None:
        """One input was dropped on purpose."""
        self._dropped.labels(reason).inc()


class _Followed(Collector):
    def __init__(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        self._name = name
        self._documentation = documentation
        self._read = read

    def collect(self) -> Iterable[CounterMetricFamily]:
        """See Collector."""
        yield CounterMetricFamily(self._name, self._documentation, value=self._read())


class _Levels(Collector):
    def __init__(self, name: str, documentation: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """See Collector."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, level in self._read().items():
            family.add_metric([value], level)
        yield family
