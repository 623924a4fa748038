"""What to send over the link as it is now: redundancy, layers, bitrate and packet time of the voice, video bitrate.

A controller is told about the link about every 100 ms and answers with a `Decision`. Two come with us: `ladder` (the
default) climbs down while delay grows, and up again, one rung at a time, while it does not; `gcc` estimates a bitrate
from delay and loss and takes the richest rung that fits. Both save in the order of what is missed least: redundancy
first, which saves most, then the voice's bitrate and headers, then layers of motion. Loss without growing delay is
answered with redundancy.

A POP feeds one controller per viewer from `core.stream.reception.ReceptionMeter`:
```
reception = meter.on_feedback(feedback, now)
decision = controller.on_feedback(loss=reception.loss, …, ecn=0.0, now=now)
```
`decision.tier` goes to `FecEncoder.protect`; frames of layers above `decision.layer` are not sent in motion-only units;
bitrate and packet time are asked of the origin. Any object that follows `RateController` may take its place.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from core.stream.fec import FecTier
from core.wire.frame_codec import Layer

__all__ = ["CONTROLLERS", "Decision", "GccController", "LadderController", "RateController", "rate_bps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to send.

    Attributes:
        tier: redundancy in each packet.
        layer: highest layer of motion that is sent: T2 = 50, T1 = 25, T0 = 12.5 frames/s.
        opus_bitrate_bps: of the voice.
        ptime_ms: duration of a voice packet, 20, 40 or 60.
        video_bitrate_bps: where the POP draws and sends pictures.
    """

    tier: FecTier
    layer: Layer
    opus_bitrate_bps: int
    ptime_ms: int
    video_bitrate_bps: int


class RateController(Protocol):
    """Turns what is known about a link into what is sent over it."""

    @property
    def decision(self) -> Decision:
        """The newest decision; before any feedback the one to begin with."""
        ...

    def on_feedback(
        self, *, loss: float, burst: float, owd_gradient: float, rtt_s: float, ecn: float, now: float
    ) -> Decision:
        """Feedback came. No argument makes it raise: absurd ones count as the nearest possible, NaN as nothing known.

        Args:
            loss: share of packets that the link lost lately, 0 to 1, before any repair.
            burst: mean length of runs of losses, from 1.
            owd_gradient: growth of the one-way delay in seconds per second.
            rtt_s: round-trip time.
            ecn: share of packets marked "congestion experienced", 0 to 1.
            now: seconds, on any clock that does not go backwards.
        """
        ...


_START: Final = Decision(
    tier=FecTier.F3, layer=Layer.T2, opus_bitrate_bps=24_000, ptime_ms=20, video_bitrate_bps=1_500_000
)


def _ladder() -> tuple[Decision, ...]:
    """From everything to as little as still makes a face that speaks; `tier` is the most that a rung allows."""
    steps: tuple[Callable[[Decision], Decision], ...] = (
        lambda rung: replace(rung, tier=FecTier.F2),
        lambda rung: replace(rung, tier=FecTier.F1),
        lambda rung: replace(rung, tier=FecTier.F0),
        lambda rung: replace(rung, opus_bitrate_bps=18_000, ptime_ms=40),
        lambda rung: replace(rung, opus_bitrate_bps=12_000, ptime_ms=60),
        lambda rung: replace(rung, layer=Layer.T1),
        lambda rung: replace(rung, layer=Layer.T0),
    )
    rungs = [_START]
    for step in steps:
        rungs.append(replace(step(rungs[-1]), video_bitrate_bps=int(rungs[-1].video_bitrate_bps * 0.7)))
    return tuple(rungs)


_RUNGS: Final = _ladder()
_FRAME_BITS: Final = 8 * 25
_HEADER_BITS: Final = 8 * 65
"""IP, UDP, SRTP or QUIC, and the header of the unit."""
_FRAMES_HZ: Final = {Layer.T0: 12.5, Layer.T1: 25.0, Layer.T2: 50.0}
_COPIES: Final = {FecTier.F0: 0.0, FecTier.F1: 1.15, FecTier.F2: 2.15, FecTier.F3: 3.15}


def rate_bps(decision: Decision) -> float:
    """What a decision costs while the character speaks, with headers and without video; sizes as the benchmarks say."""
    packets = 1000 / decision.ptime_ms
    motion = min(_FRAMES_HZ[decision.layer], packets) * _FRAME_BITS  # one frame in each packet
    return packets * _HEADER_BITS + (decision.opus_bitrate_bps + motion) * (1 + _COPIES[decision.tier])


def _with_tier(rung: Decision, tier: FecTier) -> Decision:
    """The rung with no more redundancy than losses call for."""
    return rung if rung.tier <= tier else replace(rung, tier=tier)


def _next_rung(index: int, tier: FecTier, step: int) -> int:
    """The next rung in this direction that makes a difference: to forbid what is not sent anyway saves nothing."""
    before, last = rate_bps(_with_tier(_RUNGS[index], tier)), len(_RUNGS) - 1 if step > 0 else 0
    while index != last:
        index += step
        if rate_bps(_with_tier(_RUNGS[index], tier)) != before:
            break
    return index


def _passed_bps(decision: Decision, link: _Link) -> float:
    """What a link lets through whose delay grows so: a queue grows by what is sent beyond that."""
    return rate_bps(decision) / (1 + max(link.gradient, 0.0))


@dataclass(frozen=True, slots=True)
class _Link:
    """What was reported, within what is possible."""

    loss: float
    burst: float
    gradient: float
    rtt_s: float
    ecn: float


def _bounded(value: float, least: float, most: float, unknown: float) -> float:
    return unknown if math.isnan(value) else min(max(value, least), most)


class _TierDemand:
    """The tier that losses call for: up at once, down one tier after the link was that much better for a while."""

    _HOLD_S: Final = 6.0
    _CALM: Final = 0.5
    """Share of a threshold below which a loss must stay for the tier to fall: what comes and goes changes nothing."""

    def __init__(self) -> None:
        self.tier = FecTier.F1  # nobody knows the link yet
        self._calm_since: float | None = None

    def update(self, loss: float, burst: float, now: float) -> FecTier:
        wanted = self._wanted(loss, burst)
        if wanted > self.tier:
            self.tier, self._calm_since = wanted, None
        elif self._wanted(loss / self._CALM, burst) >= self.tier:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= self._HOLD_S:
            self.tier, self._calm_since = FecTier(self.tier - 1), None
        return self.tier

    @staticmethod
    def _wanted(loss: float, burst: float) -> FecTier:
        """Thresholds from the benchmark `fec`: what each tier leaves lost within 133 ms stays about below 0.1 %."""
        weight = loss * min(max(burst, 1.0), 4.0)
        if weight >= 0.25:
            return FecTier.F3
        if weight >= 0.03:
            return FecTier.F2
        return FecTier.F1 if weight >= 0.003 else FecTier.F0


class _Controller(ABC):
    """What both have: arguments within bounds, time that does not go back, the tier that losses call for."""

    def __init__(self) -> None:
        self._demand = _TierDemand()
        self._now = -math.inf
        self._base_rtt_s = math.inf
        self.decision = replace(_START, tier=self._demand.tier)
        """See `RateController`."""

    def on_feedback(
        self, *, loss: float, burst: float, owd_gradient: float, rtt_s: float, ecn: float, now: float
    ) -> Decision:
        """See `RateController`."""
        first = math.isinf(self._now)
        time = _bounded(now, 0.0 if first else self._now, 1e12, 0.0 if first else self._now)
        elapsed = 0.0 if first else min(time - self._now, 1.0)
        self._now = time
        link = _Link(
            _bounded(loss, 0.0, 1.0, 0.0),
            _bounded(burst, 1.0, 100.0, 1.0),
            _bounded(owd_gradient, -1.0, 4.0, 0.0),
            _bounded(rtt_s, 0.0, 10.0, 0.0),
            _bounded(ecn, 0.0, 1.0, 0.0),
        )
        if link.rtt_s > 0:
            # The least round trip is the link without a queue; it rises slowly, for links that change for good.
            self._base_rtt_s = min(link.rtt_s, self._base_rtt_s * (1 + 0.01 * elapsed) + 0.0002 * elapsed)
        tier = self._demand.update(link.loss, link.burst, time)
        rung = self._choose(link, tier, time, elapsed)
        self.decision = _with_tier(rung, tier)
        return self.decision

    def _queue_s(self, link: _Link) -> float:
        """Delay above that of the idle link: a queue that stands without growing is a queue."""
        return max(0.0, link.rtt_s - self._base_rtt_s) if link.rtt_s > 0 else 0.0

    @abstractmethod
    def _choose(self, link: _Link, tier: FecTier, now: float, elapsed: float) -> Decision: ...


class LadderController(_Controller):
    """Down while delay grows or a queue stands, a rung or as many as the growth calls for; one up while neither does.

    A rung that had to be left soon after it was climbed is tried again later and later (2 s to 64 s), so that a link
    between two rungs is not probed for ever; the wait shortens again while a rung holds.
    """

    _GROWS: Final = 0.020
    _CALM: Final = 0.010
    _QUEUE_S_MAX: Final = 0.120
    _QUEUE_S_CALM: Final = 0.040
    _MARKS_MAX: Final = 0.02
    _SMOOTHING_S: Final = 0.3
    _WAIT_S_MIN: Final = 2.0
    _WAIT_S_MAX: Final = 64.0

    def __init__(self) -> None:
        super().__init__()
        self._rung = 0
        self._gradient = 0.0
        self._calm_s = 0.0
        self._stepped_at = -math.inf
        self._climbed_at = -math.inf
        self._wait_s = self._WAIT_S_MIN

    def _choose(self, link: _Link, tier: FecTier, now: float, elapsed: float) -> Decision:
        self._gradient += (link.gradient - self._gradient) * (1 - math.exp(-elapsed / self._SMOOTHING_S))
        queue_s = self._queue_s(link)
        draining = self._gradient < -self._CALM
        crowded = self._gradient > self._GROWS or (queue_s > self._QUEUE_S_MAX and not draining)
        if crowded or link.ecn > self._MARKS_MAX:
            self._calm_s = 0.0
            # A step must have had the time to show before the next one follows.
            if now - self._stepped_at >= max(0.4, 2 * min(link.rtt_s, 1.0)):
                self._step_down(link, tier, now)
        elif self._gradient < self._CALM and queue_s < self._QUEUE_S_CALM:
            # Jitter makes some reports look worse than calm; they do not count, and undo nothing.
            self._calm_s += elapsed
            if self._calm_s >= self._wait_s:
                self._step_up(tier, now)
        return _RUNGS[self._rung]

    def _step_down(self, link: _Link, tier: FecTier, now: float) -> None:
        if now - self._climbed_at < 2 * self._wait_s:
            self._wait_s = min(2 * self._wait_s, self._WAIT_S_MAX)
            self._climbed_at = -math.inf
        passed_bps = _passed_bps(self.decision, link)
        self._rung = _next_rung(self._rung, tier, 1)
        while self._rung < len(_RUNGS) - 1 and rate_bps(_with_tier(_RUNGS[self._rung], tier)) > passed_bps:
            self._rung = _next_rung(self._rung, tier, 1)
        self._stepped_at = now

    def _step_up(self, tier: FecTier, now: float) -> None:
        if self._rung > 0:
            self._rung = _next_rung(self._rung, tier, -1)
            self._climbed_at = now
        else:
            self._wait_s = max(self._wait_s / 2, self._WAIT_S_MIN)
        self._calm_s = 0.0


class GccController(_Controller):
    """A bitrate from delay and loss after Google Congestion Control (draft-ietf-rmcat-gcc-02); the richest rung in it.

    Delay: growth above a threshold that adapts to the link's own jitter means overuse: down to 85 % of what is sent;
    else up by 8 % a second, or slowly near the rate at which overuse was last seen. Loss above 10 % with a queue: down
    by half of the loss.
    """

    _THRESHOLD: Final = (0.010, 0.060)
    _OVERUSE_S: Final = 0.2
    _DECREASE: Final = 0.85
    _GROWTH_PER_S: Final = 0.08
    _NEAR_GROWTH_PER_S: Final = 0.01
    _MARGIN: Final = 1.08

    def __init__(self) -> None:
        super().__init__()
        self._most_bps = 1.2 * rate_bps(_START)
        self._target_bps = self._most_bps
        self._threshold = 0.02
        self._overuse_since: float | None = None
        self._decreased_at = -math.inf
        self._ceiling_bps = math.inf
        self._rung = 0

    def _choose(self, link: _Link, tier: FecTier, now: float, elapsed: float) -> Decision:
        size = abs(link.gradient)
        if size < self._threshold + 0.1:  # a jump (an outage, a handover) says nothing about jitter
            self._threshold += (0.4 if size > self._threshold else 0.05) * (size - self._threshold) * elapsed
            self._threshold = min(max(self._threshold, self._THRESHOLD[0]), self._THRESHOLD[1])
        queue_s = self._queue_s(link)
        over = link.gradient > self._threshold or (queue_s > 0.12 and link.gradient > -0.005) or link.ecn > 0.02
        lossy = link.loss > 0.10 and queue_s > 0.03  # without a queue it is the radio, which no bitrate soothes
        sent_bps = rate_bps(self.decision)
        if not over:
            self._overuse_since = None
        elif self._overuse_since is None:
            self._overuse_since = now
        if over or lossy:
            sustained = self._overuse_since is not None and now - self._overuse_since >= self._OVERUSE_S
            if (sustained or lossy) and now - self._decreased_at >= max(0.4, 2 * min(link.rtt_s, 1.0)):
                factor = min(self._DECREASE if sustained else 1.0, 1 - 0.5 * link.loss if lossy else 1.0)
                self._ceiling_bps = sent_bps
                sent_bps = min(self._target_bps, factor * sent_bps, _passed_bps(self.decision, link))
                self._target_bps = max(sent_bps, rate_bps(_RUNGS[-1]))
                self._decreased_at = now
        elif queue_s < 0.04 and link.gradient < self._threshold / 2:
            # Near the rate that was too much the way up is slow; a link that changed for good is found in time.
            near = self._target_bps > 0.9 * self._ceiling_bps
            growth = self._NEAR_GROWTH_PER_S if near else self._GROWTH_PER_S
            self._target_bps = min(self._target_bps * (1 + growth * elapsed), self._most_bps)
            if self._target_bps > 1.3 * self._ceiling_bps:
                self._ceiling_bps = math.inf
        self._rung = self._fitting(tier)
        return _RUNGS[self._rung]

    def _fitting(self, tier: FecTier) -> int:
        """The richest rung within the target; a richer one than now must fit with some room."""
        for index, rung in enumerate(_RUNGS):
            cost = rate_bps(_with_tier(rung, tier))
            if cost * (self._MARGIN if index < self._rung else 1.0) <= self._target_bps:
                return index
        return len(_RUNGS) - 1


CONTROLLERS: Final[Mapping[str, Callable[[], RateController]]] = {"ladder": LadderController, "gcc": GccController}
"""Controllers by the name that configuration uses; the first is the default."""
