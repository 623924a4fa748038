"""One simulated session: a POP's track, a link each way, a viewer's playout, and faults. All of it from a seed.

The network is drawn at random, far beyond what carriers do. Faults: a decoder that loses its baselines, damaged bytes,
feedback that lies, outages. Near the end the link becomes clean: from then on the face must be right within one round
trip of the first unit that comes through.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

import numpy as np

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.errors import Dropped, RemoteProtocolError
from core.limits import (
    FEC_HISTORY_UNITS,
    JITTER_BUFFER_PACKETS_MAX,
    PLAYOUT_FRAMES_MAX,
    TICK_S,
    TICK_SAMPLES,
)
from core.session.state import FaceState
from core.stream.fec import FecEncoder, FecTier, decode_block, encode_block
from core.stream.fec_decoder import FecDecoder
from core.stream.jitter_buffer import JitterBuffer
from core.stream.playout import MotionFrame, MotionTimeline
from core.stream.pose import limit_motion, motion_ratio
from core.stream.reconciliation import MotionReceiver
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit, encode_access_unit
from core.wire.feedback import Feedback, decode_feedback, encode_feedback
from core.wire.frame_codec import FrameDecoder, FrameEncoder
from core.wire.opus_padding import silence, strip
from loadtests.link_model import LinkModel, LinkProfile

__all__ = ["DURATION_S", "Outcome", "simulate"]

DURATION_S: Final = 5.0
_CLEAN_S: Final = 3.8
"""From here on the link loses nothing and no fault happens."""
_DISPLAY_MS: Final = 1_000.0 / 60.0
_JUMP_RATIO_MAX: Final = 1.002
_IN_FLIGHT_MAX: Final = 4_096
_EPOCH: Final = 3
_PACKET_BYTES: Final = 220
_FIRST_MEDIA_TICKS: Final = 960_000
_VOICE: Final = b"\x78" + bytes(range(40, 80))
_SILENCE_20_MS: Final = silence(1)
_SILENCE_80_MS: Final = silence(4)


@dataclass(slots=True)
class Outcome:
    """What one seed did.

    Attributes:
        failures: broken promises, in words; empty = all kept.
        worst_jump_ratio: of the plausible pace.
        resync_ms: from the first unit after the faults' end to the first right face.
        rtt_ms: the longest round trip after the faults' end, one packet interval included.
        counters: what was dropped on the way.
    """

    seed: int
    failures: list[str] = field(default_factory=list)
    worst_jump_ratio: float = 0.0
    resync_ms: float | None = None
    rtt_ms: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)


def _random_profile(random: Random, name: str) -> LinkProfile:
    if random.random() < 0.15:
        return LinkProfile(name=name, delay_s=random.uniform(0.0, 0.1))
    return LinkProfile(
        name=name,
        loss_enter=random.choice((0.0, 0.01, 0.05, 0.2)),
        loss_leave=random.uniform(0.1, 0.9),
        delay_s=random.uniform(0.0, 0.15),
        jitter_s=random.choice((0.0, 0.005, 0.02, 0.06)),
        reorder=random.choice((0.0, 0.0, 0.05, 0.3)),
        reorder_s=random.uniform(0.0, 0.2),
        duplicate=random.choice((0.0, 0.0, 0.05, 0.5)),
        rate_bps=random.choice((None, None, 300_000.0, 60_000.0)),
        queue_s_max=random.uniform(0.05, 0.6),
        outage_every_s=random.choice((0.0, 1.0)),
        outage_s=(0.05, random.choice((0.1, 1.2))),
    )


class _Link:
    """A link that is bad until `_CLEAN_S` and clean afterwards."""

    def __init__(self, profile: LinkProfile, seed: int) -> None:
        clean = LinkProfile(name="clean", delay_s=profile.delay_s)
        self.delay_s = clean.delay_s
        self._bad, self._clean = LinkModel(profile, seed), LinkModel(clean, seed)

    def send(self, now_s: float, size_bytes: int) -> tuple[float, ...]:
        return (self._clean if now_s >= _CLEAN_S else self._bad).send(now_s, size_bytes)


class _Pop:
    """Sends: a plausible random face, packed, numbered and protected."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._encoder = FrameEncoder()
        self._fec = FecEncoder(sound=True)
        self._tier = FecTier(random.randrange(4))
        self._window = random.randint(1, 8)
        self._number = random.choice((0, 65_500, random.randrange(65_536)))
        self._phase = [random.uniform(0.0, 6.3) for _ in range(52)]
        self._pace = [random.uniform(0.5, 20.0) for _ in range(52)]
        self._face: AnimationFrame = REST_FRAME
        self._calm_until = 0.0

    def next_unit(self, now_s: float, elapsed_ms: float, *, idle: bool) -> bytes:
        weights = np.array(
            [0.5 + 0.5 * math.sin(phase + pace * now_s) for phase, pace in zip(self._phase, self._pace, strict=True)],
            dtype=np.float32,
        )
        joints = REST_FRAME.joints.copy()
        joints[1, 0] = 0.1 * math.sin(now_s)
        joints[1, 3] = math.sqrt(1.0 - float(joints[1, 0]) ** 2)
        self._face = limit_motion(AnimationFrame(weights=weights, joints=joints), self._face, elapsed_ms)
        number, self._number = self._number, (self._number + 1) & 0xFFFF
        opus = _SILENCE_80_MS if idle else _VOICE
        unit = AccessUnit(
            epoch=_EPOCH,
            sequence_number=number,
            flags=AccessUnitFlags(0) if idle else AccessUnitFlags.SPEECH,
            state=FaceState.IDLE if idle else FaceState.SPEAKING,
            frame=self._encoder.encode(self._face, number),
        )
        block = encode_block(unit, span_ticks=TICK_SAMPLES * (4 if idle else 1), opus=strip(opus))
        fec = self._fec.protect(number, block, tier=self._tier, window=self._window, size_bytes_max=600)
        return encode_access_unit(replace(unit, fec=fec), opus)

    def hear(self, data: bytes) -> None:
        feedback = decode_feedback(data)
        if feedback.acknowledged is not None:
            self._encoder.acknowledge(feedback.acknowledged)
        if feedback.keyframe_request:
            self._encoder.reset()


class _Viewer:
    def __init__(self, outcome: Outcome) -> None:
        self.sound = JitterBuffer()
        self.timeline = MotionTimeline()
        self.motion = MotionReceiver()
        self.fec = FecDecoder(sound=True)
        self._outcome = outcome
        self._former: AnimationFrame | None = None
        self._former_ms = 0.0

    def receive(self, packet: bytes, ticks: int, now_ms: float) -> bool:
        """Returns: a face came of it."""
        try:
            unit = decode_access_unit(packet)
        except RemoteProtocolError as error:
            self._outcome.counters[error.code] += 1
            return False
        if unit is None:
            self._outcome.counters["plain"] += 1
            return False
        idle = AccessUnitFlags.SPEECH not in unit.flags
        span = TICK_SAMPLES * (4 if idle else 1)
        self.sound.advance(now_ms)
        decoded = self._take(unit, ticks, span, now_ms, repaired=False)
        block = encode_block(unit, span_ticks=span, opus=strip(packet))
        result = self.fec.receive(unit.sequence_number, block, unit.fec)
        for number, restored in () if isinstance(result, Dropped) else result:
            try:
                back = decode_block(restored, epoch=unit.epoch, sequence_number=number, sound=True)
            except RemoteProtocolError as error:
                self._outcome.counters[error.code] += 1
                continue
            behind = (unit.sequence_number - number) & 0xFFFF
            if behind < 64:
                self._take(back.unit, ticks - behind * TICK_SAMPLES, back.span_ticks, now_ms, repaired=True)
        return decoded

    def _take(self, unit: AccessUnit, ticks: int, span: int, now_ms: float, *, repaired: bool) -> bool:
        speech = AccessUnitFlags.SPEECH in unit.flags
        self.sound.push(b"x", ticks, span, silent=not speech, arrival_ms=now_ms, repaired=repaired)
        decoded = self.motion.receive(unit, repaired=repaired)
        if isinstance(decoded, Dropped):
            return False
        frame = MotionFrame(
            ticks=ticks, frame=decoded, sequence_number=unit.sequence_number, speech=speech, arrival_ms=now_ms
        )
        self.timeline.push(frame)
        return True

    def draw(self, now_ms: float) -> None:
        self.sound.advance(now_ms)
        sample = self.timeline.sample(now_ms, self.sound.position(now_ms))
        if self._former is not None:
            ratio = motion_ratio(sample.pose, self._former, now_ms - self._former_ms)
            self._outcome.worst_jump_ratio = max(self._outcome.worst_jump_ratio, ratio)
            if not np.isfinite(sample.pose.weights).all() or not np.isfinite(sample.pose.joints).all():
                self._outcome.failures.append(f"a face that is no number at {now_ms:.1f} ms")
        self._former, self._former_ms = sample.pose, now_ms

    def forget(self) -> None:
        """The decoder loses its baselines."""
        self.motion._decoder = FrameDecoder()


_DRAW, _SEND, _ARRIVE, _HEAR, _FAULT = range(5)


class _World:
    def __init__(self, seed: int) -> None:
        self.random = Random(f"{seed}/world")
        self.outcome = Outcome(seed)
        self.pop = _Pop(self.random)
        self.viewer = _Viewer(self.outcome)
        profile = _random_profile(self.random, "down")
        self.down, self.up = _Link(profile, seed), _Link(_random_profile(self.random, "up"), seed + 1)
        self.damage = self.random.choice((0.0, 0.0, 0.02))
        self.lies = self.random.choice((0.0, 0.0, 0.1))
        self.events: list[tuple[float, int, int, bytes, int]] = []
        self.count = 0
        self.elapsed_ms = 20.0
        self.idle_left = 0
        self.first_clean_ms: float | None = None

    def at(self, now_s: float, kind: int, data: bytes = b"", ticks: int = 0) -> None:
        self.count += 1
        heapq.heappush(self.events, (now_s, kind, self.count, data, ticks))

    def run(self) -> Outcome:
        """Handle events in order of time; draws and sends come again by themselves."""
        random = self.random
        self.at(0.001, _DRAW)
        self.at(0.0, _SEND)
        for _ in range(random.randrange(4)):
            self.at(random.uniform(0.2, _CLEAN_S), _FAULT)
        self.at(_CLEAN_S, _FAULT)
        while self.events and self.events[0][0] < DURATION_S:
            now_s, kind, _, data, ticks = heapq.heappop(self.events)
            if kind == _DRAW:
                self.viewer.draw(now_s * 1_000)
                self.report(now_s)
                self.at(now_s + _DISPLAY_MS / 1_000, _DRAW)
            elif kind == _SEND:
                self.send(now_s)
            elif kind == _ARRIVE:
                self.arrive(now_s, data, ticks)
            elif kind == _HEAR:
                self.hear(data)
            else:
                self.viewer.forget()
            self.check_bounds(now_s)
        self.judge()
        return self.outcome

    def send(self, now_s: float) -> None:
        if self.idle_left == 0 and self.random.random() < 0.01:
            self.idle_left = self.random.randint(1, 10)
        idle = self.idle_left > 0
        self.idle_left -= idle
        packet = self.pop.next_unit(now_s, self.elapsed_ms, idle=idle)
        ticks = _FIRST_MEDIA_TICKS + round(now_s / TICK_S) * TICK_SAMPLES
        for arrival in self.down.send(now_s, _PACKET_BYTES):
            damaged = now_s < _CLEAN_S and self.random.random() < self.damage
            self.at(arrival, _ARRIVE, self._damaged(packet) if damaged else packet, ticks)
        span_s = TICK_S * (4 if idle else 1)
        self.elapsed_ms = span_s * 1_000
        self.at(now_s + span_s, _SEND)

    def _damaged(self, packet: bytes) -> bytes:
        data = bytearray(packet)
        data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        damaged = bytes(data[: self.random.randrange(1, len(data) + 1)] if self.random.random() < 0.3 else data)
        # Transports authenticate packets: a whole keyframe of another epoch is a new owner, whom viewers must believe.
        return packet if _is_other_owner(damaged) else damaged

    def arrive(self, now_s: float, packet: bytes, ticks: int) -> None:
        now_ms = now_s * 1_000
        face = self.viewer.receive(packet, ticks, now_ms)
        if ticks >= _FIRST_MEDIA_TICKS + round(_CLEAN_S / TICK_S) * TICK_SAMPLES:
            if self.first_clean_ms is None:
                self.first_clean_ms = now_ms
            if face and self.outcome.resync_ms is None:
                self.outcome.resync_ms = now_ms - self.first_clean_ms
        if not face and self.viewer.motion.keyframe_request:
            self.report(now_s)

    def report(self, now_s: float) -> None:
        feedback = self.viewer.motion.report(now_s * 1_000)
        if feedback is None:
            return
        if now_s < _CLEAN_S and self.random.random() < self.lies:
            feedback = Feedback(acknowledged=self.random.randrange(65_536), epoch=feedback.epoch)
        data = encode_feedback(feedback)
        for arrival in self.up.send(now_s, len(data) + 60):
            self.at(arrival, _HEAR, data)

    def hear(self, data: bytes) -> None:
        self.pop.hear(data)

    def check_bounds(self, now_s: float) -> None:
        viewer = self.viewer
        for name, size, most in (
            ("motion frames", viewer.timeline.frames, PLAYOUT_FRAMES_MAX),
            ("sound packets", viewer.sound.waiting, JITTER_BUFFER_PACKETS_MAX),
            ("equations", viewer.fec.rows, FEC_HISTORY_UNITS),
            ("blocks", viewer.fec.known, FEC_HISTORY_UNITS),
            ("packets under way", len(self.events), _IN_FLIGHT_MAX),
        ):
            if size > most:
                self.outcome.failures.append(f"{size} {name} at {now_s:.3f} s, at most {most}")

    def judge(self) -> None:
        outcome = self.outcome
        # One way up with the request, one way down with the keyframe, and the wait for a packet (80 ms when idle).
        outcome.rtt_ms = (self.up.delay_s + self.down.delay_s) * 1_000 + 80.0 + 20.0
        if outcome.worst_jump_ratio > _JUMP_RATIO_MAX:
            outcome.failures.append(f"the face popped: {outcome.worst_jump_ratio:.3f} times the plausible pace")
        if outcome.resync_ms is None:
            outcome.failures.append("no right face after the faults' end")
        elif outcome.resync_ms > outcome.rtt_ms:
            outcome.failures.append(f"right again only after {outcome.resync_ms:.0f} ms, {outcome.rtt_ms:.0f} allowed")
        outcome.counters.update(self.viewer.motion.dropped)
        outcome.counters.update({f"motion-{name}": n for name, n in self.viewer.timeline.dropped.items()})
        outcome.counters.update({f"sound-{name}": n for name, n in self.viewer.sound.dropped.items()})
        outcome.counters["restored"] = self.viewer.fec.restored


def _is_other_owner(packet: bytes) -> bool:
    try:
        unit = decode_access_unit(packet)
        if unit is None or unit.epoch == _EPOCH:
            return False
        return isinstance(FrameDecoder().decode(unit.frame, unit.sequence_number), AnimationFrame)
    except RemoteProtocolError:
        return False


def simulate(seed: int) -> Outcome:
    """One session. An exception inside becomes a failure, so that a run of many seeds ends."""
    world = _World(seed)
    try:
        return world.run()
    except Exception as error:  # any exception is what this looks for
        world.outcome.failures.append(f"{type(error).__name__}: {error}")
        return world.outcome
