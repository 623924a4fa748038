"""Controllers on a simulated bottleneck in virtual time: they fit in, leave no queue, do not swing, and come back."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.stream.fec import FecTier
from core.stream.rate_control import CONTROLLERS, Decision, RateController, rate_bps
from core.wire.frame_codec import Layer

_EVERYONE = pytest.mark.parametrize("name", list(CONTROLLERS))
_STEP_S = 0.1


@dataclass
class _Bottleneck:
    """A queue in front of a link; every 100 ms the viewer reports what it saw.

    Reports are a round trip old, slopes are taken over half a second, and jitter is added to what they are taken from.
    """

    controller: RateController
    capacity_bps: Callable[[float], float]
    loss: Callable[[float], float] = lambda now: 0.0
    burst: float = 1.0
    jitter_s: float = 0.003
    rtt_s: float = 0.06
    now: float = 0.0
    queue_bits: float = 0.0
    decisions: list[tuple[float, Decision]] = field(default_factory=list)
    queues_s: list[tuple[float, float]] = field(default_factory=list)
    random: Random = field(default_factory=lambda: Random(5))
    delays: deque[float] = field(default_factory=lambda: deque([0.0] * 6, maxlen=6))

    def run(self, until: float) -> _Bottleneck:
        while self.now < until:
            capacity = self.capacity_bps(self.now)
            arriving = (rate_bps(self.controller.decision) - capacity) * _STEP_S
            self.queue_bits = min(max(0.0, self.queue_bits + arriving), 2.0 * capacity)
            queue_s = self.queue_bits / capacity
            self.delays.append(queue_s + self.random.gauss(0, self.jitter_s / 5))  # the mean of five packets
            gradient = (self.delays[-1] - self.delays[0]) / (_STEP_S * (len(self.delays) - 1))
            self.now += _STEP_S
            decision = self.controller.on_feedback(
                loss=self.loss(self.now), burst=self.burst, owd_gradient=gradient,
                rtt_s=self.rtt_s + max(0.0, self.delays[-1]), ecn=0.0, now=self.now,
            )  # fmt: skip
            self.decisions.append((self.now, decision))
            self.queues_s.append((self.now, queue_s))
        return self

    def changes(self, since: float) -> int:
        late = [decision for now, decision in self.decisions if now >= since]
        return sum(before != after for before, after in pairwise(late))

    def queue_s(self, since: float, share: float) -> float:
        late = sorted(queue for now, queue in self.queues_s if now >= since)
        return late[int(share * (len(late) - 1))]


def _enough(now: float) -> float:
    return 2e6


@_EVERYONE
def test_a_good_link_gets_everything_and_stops_paying_for_repairs(name: str) -> None:
    link = _Bottleneck(CONTROLLERS[name](), _enough)
    first = link.controller.decision
    assert (first.tier, first.layer, first.opus_bitrate_bps, first.ptime_ms) == (FecTier.F1, Layer.T2, 24_000, 20)
    link.run(60)
    last = link.decisions[-1][1]
    assert (last.tier, last.layer, last.opus_bitrate_bps, last.ptime_ms) == (FecTier.F0, Layer.T2, 24_000, 20)
    assert link.changes(0) == 1


@_EVERYONE
@pytest.mark.parametrize(
    ("loss", "burst", "tier"),
    [(0.005, 1.0, FecTier.F1), (0.05, 1.0, FecTier.F2), (0.02, 2.0, FecTier.F2), (0.1, 3.0, FecTier.F3)],
)
def test_loss_without_delay_is_answered_with_redundancy(name: str, loss: float, burst: float, tier: FecTier) -> None:
    link = _Bottleneck(CONTROLLERS[name](), _enough, loss=lambda now: loss, burst=burst).run(40)
    last = link.decisions[-1][1]
    assert (last.tier, last.layer, last.opus_bitrate_bps) == (tier, Layer.T2, 24_000)
    assert link.changes(10) == 0


@_EVERYONE
def test_loss_that_wavers_about_a_threshold_changes_nothing(name: str) -> None:
    link = _Bottleneck(CONTROLLERS[name](), _enough, loss=lambda now: 0.03 + 0.012 * math.sin(now)).run(120)
    assert {decision.tier for now, decision in link.decisions if now > 10} == {FecTier.F2}


@_EVERYONE
def test_redundancy_goes_when_the_losses_have_gone(name: str) -> None:
    link = _Bottleneck(CONTROLLERS[name](), _enough, loss=lambda now: 0.2 if now < 10 else 0.0, burst=2.0).run(60)
    tiers = [decision.tier for _, decision in link.decisions]
    assert max(tiers) is FecTier.F3
    assert tiers[-1] is FecTier.F0
    falls = [now for (now, after), before in zip(link.decisions[1:], tiers, strict=False) if after.tier < before]
    assert all(later - sooner >= 5 for sooner, later in pairwise(falls))


@_EVERYONE
@pytest.mark.parametrize("jitter_s", [0.003, 0.02])
@pytest.mark.parametrize("capacity_kbps", [35, 45, 62, 75, 90, 130])
def test_a_narrow_link_is_filled_without_a_queue_and_without_swinging(
    name: str, capacity_kbps: int, jitter_s: float
) -> None:
    """The most that fits of what can be chosen here: 23, 36, 60, 99 and 133 kbit/s."""
    fits = max(rate for rate in (23e3, 36e3, 60e3, 99e3, 133e3) if rate < capacity_kbps * 1e3)
    link = _Bottleneck(
        CONTROLLERS[name](), lambda now: capacity_kbps * 1e3, loss=lambda now: 0.05, jitter_s=jitter_s
    ).run(300)
    assert link.queue_s(60, 0.95) < 0.25
    mean = sum(rate_bps(decision) for now, decision in link.decisions if now >= 60) / (240 / _STEP_S)
    assert 0.7 * fits < mean < 1.1 * fits
    assert link.changes(120) <= 24, "at most one probe up and down in a quarter of a minute"


@_EVERYONE
def test_it_saves_redundancy_first_then_voice_then_motion(name: str) -> None:
    link = _Bottleneck(CONTROLLERS[name](), lambda now: max(20e3, 200e3 - 3e3 * now), loss=lambda now: 0.3).run(80)
    seen = [decision for now, decision in link.decisions if now > 1]
    cheapest = min(seen, key=rate_bps)
    assert (cheapest.opus_bitrate_bps, cheapest.ptime_ms, cheapest.tier) == (12_000, 60, FecTier.F0)
    for decision in seen:
        if decision.opus_bitrate_bps < 24_000:
            assert decision.tier is FecTier.F0
        if decision.layer < Layer.T2:
            assert decision.opus_bitrate_bps == 12_000
        assert (decision.video_bitrate_bps == 1_500_000) == (decision.tier is FecTier.F3)


@_EVERYONE
@pytest.mark.parametrize("jitter_s", [0.001, 0.02])
def test_it_comes_back_when_the_link_does(name: str, jitter_s: float) -> None:
    link = _Bottleneck(CONTROLLERS[name](), lambda now: 2e6 if not 20 <= now < 50 else 40e3, jitter_s=jitter_s)
    link.run(200)
    assert link.queue_s(30, 1.0) < 2.5
    during = [decision for now, decision in link.decisions if 30 <= now < 50]
    assert min(map(rate_bps, during)) < 45e3
    last = link.decisions[-1][1]
    assert (last.opus_bitrate_bps, last.ptime_ms, last.layer) == (24_000, 20, Layer.T2)


@_EVERYONE
def test_the_steeper_the_delay_grows_the_deeper_the_step(name: str) -> None:
    """A link that lets a third of it through must not be asked for the next rung, and the next, and the next."""
    link = _Bottleneck(CONTROLLERS[name](), _enough, loss=lambda now: 0.3).run(5)
    before = rate_bps(link.controller.decision)
    for step in range(4):
        decision = link.controller.on_feedback(
            loss=0.3, burst=1.0, owd_gradient=2.0, rtt_s=0.1 + 0.2 * step, ecn=0.0, now=5.1 + 0.1 * step
        )
    assert rate_bps(decision) <= before / 2.5


@_EVERYONE
def test_marks_count_as_delay(name: str) -> None:
    controller = CONTROLLERS[name]()
    for step in range(100):
        decision = controller.on_feedback(
            loss=0.0, burst=1.0, owd_gradient=0.0, rtt_s=0.05, ecn=0.2, now=step * _STEP_S
        )
    assert rate_bps(decision) < 40e3


@_EVERYONE
def test_a_rest_without_feedback_is_no_calm_link(name: str) -> None:
    """After a 30 s outage the first report changes at most one thing."""
    link = _Bottleneck(CONTROLLERS[name](), lambda now: 45e3, loss=lambda now: 0.05).run(60)
    before = link.controller.decision
    link.now += 30
    after = link.controller.on_feedback(loss=0.05, burst=1.0, owd_gradient=0.0, rtt_s=0.06, ecn=0.0, now=link.now)
    assert rate_bps(after) < 2.2 * rate_bps(before)


_ANY = st.floats(allow_nan=True, allow_infinity=True)


@_EVERYONE
@given(st.lists(st.tuples(_ANY, _ANY, _ANY, _ANY, _ANY, _ANY), max_size=40))
def test_absurd_reports_are_survived(name: str, reports: list[tuple[float, ...]]) -> None:
    controller = CONTROLLERS[name]()
    for loss, burst, gradient, rtt_s, ecn, now in reports:
        decision = controller.on_feedback(loss=loss, burst=burst, owd_gradient=gradient, rtt_s=rtt_s, ecn=ecn, now=now)
        assert decision == controller.decision
        assert 20e3 < rate_bps(decision) < 400e3
        assert decision.ptime_ms in (20, 40, 60)
    for step in range(10):
        again = controller.on_feedback(loss=0.0, burst=1.0, owd_gradient=0.0, rtt_s=0.05, ecn=0.0, now=2e12 + step)
    assert 20e3 < rate_bps(again) < 400e3


@_EVERYONE
def test_the_same_reports_give_the_same_decisions(name: str) -> None:
    def decisions() -> list[tuple[float, Decision]]:
        return _Bottleneck(CONTROLLERS[name](), lambda now: 70e3, loss=lambda now: 0.04).run(60).decisions

    assert decisions() == decisions()


@_EVERYONE
@pytest.mark.parametrize("seed", range(8))
def test_any_link_keeps_its_queue_short_but_for_the_moments_after_it_narrowed(name: str, seed: int) -> None:
    random = Random(seed)
    capacities = [random.choice((30e3, 45e3, 80e3, 120e3, 250e3, 2e6)) for _ in range(10)]
    losses = [random.choice((0.0, 0.0, 0.01, 0.05, 0.15)) for _ in range(10)]
    link = _Bottleneck(
        CONTROLLERS[name](), lambda now: capacities[int(now / 30) % 10], loss=lambda now: losses[int(now / 30) % 10],
        jitter_s=0.01, random=random,
    ).run(300)  # fmt: skip
    settled = sorted(queue for now, queue in link.queues_s if now % 30 > 8)
    assert settled[int(0.95 * len(settled))] < 0.3, f"seed {seed}"
    assert link.changes(0) < 100, f"seed {seed}"
