"""Speech motion through every carrier profile, in virtual time: what a viewer sees, and how late.

espeak-ng speaks and the POP's animator moves the face (see `wire`). The frames go through the real sender, a seeded
link, the real receiver and a playout, and are drawn at 60 Hz. What is drawn is compared with the truth of the media
time that ought to be on screen. Four receivers see the same links:
- `playout`: core.stream.playout behind core.stream.jitter_buffer, with FEC as the ladder controller decides;
- `playout-no-fec`: the same without FEC;
- `jitter-buffer`: the same buffer, no FEC; between frames it interpolates, beyond them it holds the last frame;
- `hold-last`: no buffer, no FEC: the newest frame that has come is drawn.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.limits import MEDIA_CLOCK_HZ, TICK_S, TICK_SAMPLES
from core.session.state import FaceState
from core.stream.fec import FecTier
from core.stream.jitter_buffer import JitterBuffer
from core.stream.playhead import TICKS_PER_MS
from core.stream.playout import MotionFrame, MotionTimeline
from core.stream.pose import mix_poses, motion_ratio
from core.stream.rate_control import Decision, LadderController
from core.stream.receiver import UnitReceiver
from core.stream.sender import UnitSender
from core.wire.access_unit import AccessUnitFlags
from core.wire.feedback import Feedback
from loadtests.bench.harness import Result, percentile
from loadtests.bench.wire import _animate, _Motion, _spoken
from loadtests.link_model import LinkModel, LinkProfile
from loadtests.profiles import PROFILES

DESCRIPTION = "what a viewer sees of speech motion over every carrier: freezes, jumps, error, delay"

_DISPLAY_MS: Final = 1_000.0 / 60.0
_SETTLE_MS: Final = 1_500.0
"""The first moments of a connection are not judged: buffers and clocks settle."""
_HEADERS_BYTES: Final = 60
_FEEDBACK_BYTES: Final = 90
_FREEZE_MS: Final = 100.0
_STILL: Final = 0.5 / 1023
"""Half a step of a mouth weight on the wire: less is no drawn change."""
_MOVED: Final = 2.0 / 1023
"""Truth that changes by less than this within a freeze would not have been seen to move."""
_OPUS: Final = b"\x78" + bytes(range(60, 124))
"""A voice packet of usual size; what sounds in it does not matter here."""
_RECEIVERS: Final = ("playout", "playout-no-fec", "jitter-buffer", "hold-last")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--seed", type=int, default=1, help="of the links and the face (default 1)")
    parser.add_argument("--profile", choices=tuple(PROFILES), help="only this carrier")


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A unit at the viewer."""

    arrival_ms: float
    ticks: int
    packet: bytes


@dataclass(slots=True)
class _Seen:
    """What one receiver drew.

    Attributes:
        at_ms: display times.
        poses: what was drawn at them.
        wanted: media ticks that ought to have been drawn.
        lateness_ms: from sending a media time to drawing it, where the network's motion was drawn.
    """

    at_ms: list[float] = field(default_factory=list)
    poses: list[AnimationFrame] = field(default_factory=list)
    wanted: list[float | None] = field(default_factory=list)
    lateness_ms: list[float] = field(default_factory=list)
    idle_samples: int = 0
    counters: dict[str, int] = field(default_factory=dict)


class _Face(Protocol):
    """How a receiver decides what to draw."""

    def push(self, frame: MotionFrame) -> None: ...

    def draw(self, now_ms: float, audible: float | None) -> tuple[AnimationFrame, float | None]: ...


class _Playout:
    def __init__(self) -> None:
        self.timeline = MotionTimeline()

    def push(self, frame: MotionFrame) -> None:
        self.timeline.push(frame)

    def draw(self, now_ms: float, audible: float | None) -> tuple[AnimationFrame, float | None]:
        sample = self.timeline.sample(now_ms, audible)
        return sample.pose, sample.ticks


class _PlainBuffer:
    """Interpolates at the audible time; beyond the newest frame it holds."""

    def __init__(self) -> None:
        self._frames: list[MotionFrame] = []

    def push(self, frame: MotionFrame) -> None:
        self._frames.append(frame)
        self._frames.sort(key=lambda one: one.ticks)
        del self._frames[:-64]

    def draw(self, now_ms: float, audible: float | None) -> tuple[AnimationFrame, float | None]:
        if audible is None or not self._frames:
            return REST_FRAME, None
        before = [frame for frame in self._frames if frame.ticks <= audible]
        after = self._frames[len(before)] if len(before) < len(self._frames) else None
        if not before:
            return self._frames[0].frame, audible
        if after is None:
            return before[-1].frame, audible
        start = before[-1]
        return mix_poses(start.frame, after.frame, (audible - start.ticks) / (after.ticks - start.ticks)), audible


class _HoldLast:
    def __init__(self) -> None:
        self._newest: MotionFrame | None = None

    def push(self, frame: MotionFrame) -> None:
        if self._newest is None or frame.ticks > self._newest.ticks:
            self._newest = frame

    def draw(self, now_ms: float, audible: float | None) -> tuple[AnimationFrame, float | None]:
        return (REST_FRAME, None) if self._newest is None else (self._newest.frame, self._newest.ticks)


def _face(receiver: str) -> _Face:
    if receiver == "hold-last":
        return _HoldLast()
    return _PlainBuffer() if receiver == "jitter-buffer" else _Playout()


class _Bare:
    """A rate controller that sends everything and protects nothing."""

    def __init__(self) -> None:
        self.decision = replace(LadderController().decision, tier=FecTier.F0)

    def on_feedback(self, **_: float) -> Decision:
        return self.decision


class _Sender:
    """The POP's side: real frames, real deltas against what was acknowledged, protected as the viewer's link needs."""

    def __init__(self, motion: _Motion, *, protects: bool) -> None:
        self._motion = motion
        self._sender = UnitSender(
            epoch=1, plays_sound_itself=True, make_controller=LadderController if protects else _Bare
        )
        self.size_bytes = 0

    def packet(self, number: int, now_ms: float) -> bytes:
        speaks = bool(self._motion.speech[number])
        packet = self._sender.pack(
            frame=self._motion.frames[number],
            opus=[_OPUS] if speaks else [],
            state=FaceState.SPEAKING if speaks else FaceState.THINKING,
            flags=AccessUnitFlags(0),
            now=now_ms / 1_000,
        )
        self.size_bytes += len(packet)
        return packet

    def hear(self, feedback: Feedback, now_ms: float) -> None:
        self._sender.receive_feedback(feedback, now_ms / 1_000)


class _Viewer:
    """The viewer's side: receiver, sound buffer, face."""

    def __init__(self, receiver: str) -> None:
        self.face = _face(receiver)
        self.sound = JitterBuffer()
        self.receiver = UnitReceiver(protects_sound=True)

    def receive(self, delivery: _Delivery) -> None:
        arrival_ms = delivery.arrival_ms
        self.sound.advance(arrival_ms)
        for unit in self.receiver.receive(delivery.packet, delivery.ticks, arrival_ms / 1_000):
            speech = AccessUnitFlags.SPEECH in unit.flags
            if unit.opus is not None:
                self.sound.push(
                    unit.opus,
                    unit.media_time,
                    unit.span_ticks,
                    silent=not speech,
                    arrival_ms=arrival_ms,
                    repaired=unit.repaired,
                )
            if unit.frame is not None:
                self.face.push(
                    MotionFrame(
                        ticks=unit.media_time,
                        frame=unit.frame,
                        sequence_number=unit.sequence_number,
                        speech=speech,
                        arrival_ms=arrival_ms,
                    )
                )

    def report(self, now_ms: float, audible: float | None) -> Feedback | None:
        if not self.receiver.feedback_due(now_ms / 1_000):
            return None
        return self.receiver.feedback(None if audible is None else int(audible), self.sound.delay_ms, now_ms / 1_000)


def _watch(motion: _Motion, profile: LinkProfile, receiver: str, seed: int) -> tuple[_Seen, _Sender, LinkModel]:
    """One receiver on one link. Virtual time in milliseconds; frame n is sent at n * 20."""
    sender, viewer, seen = _Sender(motion, protects=receiver == "playout"), _Viewer(receiver), _Seen()
    down, up = LinkModel(profile, seed * 2), LinkModel(profile, seed * 2 + 1)
    arriving: list[_Delivery] = []
    reports: list[tuple[float, Feedback]] = []
    now_ms, number, end = 0.0, 0, len(motion.frames)
    while number < end:
        while number < end and number * 20.0 <= now_ms:
            sent_ms = number * 20.0
            while reports and reports[0][0] <= sent_ms:
                heard_ms, feedback = reports.pop(0)
                sender.hear(feedback, heard_ms)
            packet = sender.packet(number, sent_ms)
            arrivals = down.send(sent_ms / 1_000, len(packet) + _HEADERS_BYTES)
            arriving += [_Delivery(at * 1_000, number * TICK_SAMPLES, packet) for at in arrivals]
            number += 1
        arriving.sort(key=lambda delivery: delivery.arrival_ms)
        while arriving and arriving[0].arrival_ms <= now_ms:
            viewer.receive(arriving.pop(0))
        viewer.sound.advance(now_ms)
        audible = viewer.sound.position(now_ms)
        if (report := viewer.report(now_ms, audible)) is not None:
            reports += [(at * 1_000, report) for at in up.send(now_ms / 1_000, _FEEDBACK_BYTES)]
            reports.sort(key=lambda one: one[0])
        pose, ticks = viewer.face.draw(now_ms, audible)
        if now_ms >= _SETTLE_MS:
            seen.at_ms.append(now_ms)
            seen.poses.append(pose)
            seen.wanted.append(audible)
            seen.idle_samples += ticks is None
            if ticks is not None:
                seen.lateness_ms.append(now_ms - ticks / TICKS_PER_MS)
        now_ms += _DISPLAY_MS
    seen.counters = {"sound_concealed": viewer.sound.concealed, **viewer.receiver.dropped}
    seen.counters |= {f"sound_{reason}": count for reason, count in viewer.sound.dropped.items()}
    if isinstance(viewer.face, _Playout):
        seen.counters |= {f"motion_{reason}": count for reason, count in viewer.face.timeline.dropped.items()}
    return seen, sender, down


def _vector(pose: AnimationFrame) -> NDArray[np.float32]:
    return np.concatenate([pose.weights, pose.joints.ravel()])


def _true(motion: _Motion, ticks: float) -> AnimationFrame:
    at = min(max(ticks / TICK_SAMPLES, 0.0), len(motion.frames) - 1.0)
    first = min(int(at), len(motion.frames) - 2)
    return mix_poses(motion.frames[first], motion.frames[first + 1], at - first)


def _freezes(motion: _Motion, seen: _Seen, outages: list[tuple[float, float]]) -> tuple[float, float]:
    """Seconds of freezes outside and inside outages: nothing drawn changed for over 100 ms while the truth did."""
    drawn = [_vector(pose) for pose in seen.poses]
    outside = inside = 0.0
    start = 0
    for index in range(1, len(drawn) + 1):
        if index < len(drawn) and float(np.abs(drawn[index] - drawn[start]).max()) < _STILL:
            continue
        last = index - 1
        length_ms = seen.at_ms[last] - seen.at_ms[start]
        if length_ms > _FREEZE_MS and _truth_moved(motion, seen, start, last):
            # What an outage took is missing until its repairs would have been played, one playout delay later.
            hit = any(begin < seen.at_ms[last] and seen.at_ms[start] < end for begin, end in outages)
            inside += hit * length_ms / 1_000
            outside += (not hit) * length_ms / 1_000
        start = index
    return outside, inside


def _truth_moved(motion: _Motion, seen: _Seen, start: int, last: int) -> bool:
    first = seen.wanted[start]
    if first is None:
        return True
    origin = _vector(_true(motion, first))
    for wanted in seen.wanted[start + 1 : last + 1]:
        if wanted is not None and float(np.abs(_vector(_true(motion, wanted)) - origin).max()) > _MOVED:
            return True
    return False


def _judge(motion: _Motion, seen: _Seen, sender: _Sender, link: LinkModel) -> dict[str, Any]:
    span_s = len(motion.frames) * TICK_S
    delay_ms = percentile(seen.lateness_ms, 95) if seen.lateness_ms else 0.0
    outages = [(one.start_s * 1_000, one.end_s * 1_000 + delay_ms + _FREEZE_MS) for one in link.outages(span_s)]
    outside, inside = _freezes(motion, seen, outages)
    jumps = [motion_ratio(b, a, _DISPLAY_MS) for a, b in zip(seen.poses, seen.poses[1:], strict=False)]
    squared = []
    for pose, wanted in zip(seen.poses, seen.wanted, strict=True):
        if wanted is not None and motion.speech[min(int(wanted / TICK_SAMPLES), len(motion.speech) - 1)]:
            squared.append(float(np.square(pose.weights - _true(motion, wanted).weights, dtype=np.float64).mean()))
    sent = sum(link.fates[fate] for fate in ("delivered", "lost", "outage", "queue-full"))
    return {
        "freeze_s_outside_outages": round(outside, 3),
        "freeze_s_in_outages": round(inside, 3),
        "worst_jump_ratio": round(max(jumps), 4),
        "jumps_over_bound": sum(ratio > 1.001 for ratio in jumps),
        "rmse": round(math.sqrt(statistics.fmean(squared)), 5),
        "one_way_ms": {f"p{q}": round(percentile(seen.lateness_ms, q), 1) for q in (50, 95, 99)},
        "idle_share": round(seen.idle_samples / len(seen.poses), 5),
        "kbit_per_s": round(sender.size_bytes * 8 / 1_000 / span_s, 1),
        "lost_share": round(1.0 - link.fates["delivered"] / sent, 4),
        "outages": len(outages),
        "counters": dict(sorted(seen.counters.items())),
    }


def run(options: argparse.Namespace) -> Result:
    """Measure."""
    motion = _animate(_spoken(1 if options.quick else 3), options.seed)
    if options.quick:
        motion = replace(motion, frames=motion.frames[: 50 * 35], speech=motion.speech[: 50 * 35])
    names = [options.profile] if options.profile else [name for name in PROFILES if name != "perfect"]
    carriers: dict[str, dict[str, Any]] = {}
    for name in names:
        carriers[name] = {
            receiver: _judge(motion, *_watch(motion, PROFILES[name], receiver, options.seed)) for receiver in _RECEIVERS
        }
    ours = {name: receivers["playout"] for name, receivers in carriers.items()}
    ratios = [one["playout"]["rmse"] / one["hold-last"]["rmse"] for one in carriers.values()]
    figures = {
        "freeze_s_outside_outages": sum(one["freeze_s_outside_outages"] for one in ours.values()),
        "worst_jump_ratio": max(one["worst_jump_ratio"] for one in ours.values()),
        "rmse_ratio_vs_hold": max(ratios),
        "one_way_ms_p95_worst": max(one["one_way_ms"]["p95"] for one in ours.values()),
    }
    if "lte-moving" in ours:
        figures["one_way_ms_p95_lte_moving"] = ours["lte-moving"]["one_way_ms"]["p95"]
    details = {
        "motion": "espeak-ng speech, moved by edge.animator, 50 frames/s, drawn at 60 Hz",
        "motion_s": len(motion.frames) / 50,
        "fec": "playout: sound and motion, tier by the ladder controller, window by the viewer's delay; others: none",
        "truth": "the frame of the media time that is audible at the receiver; errors count while there is voice",
        "rmse_ratio_vs_hold": "of the carrier where it is worst",
        "media_clock_hz": MEDIA_CLOCK_HZ,
        "carriers": carriers,
    }
    return Result(figures=figures, details=details)
