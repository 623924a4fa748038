"""Both ends of a simulated session: the POP's sender with its rate control, and the viewer up to the drawn face."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.errors import RemoteProtocolError
from core.limits import TICK_SAMPLES
from core.session.state import FaceState
from core.stream.jitter_buffer import JitterBuffer
from core.stream.playout import MotionFrame, MotionTimeline
from core.stream.pose import motion_ratio
from core.stream.rate_control import CONTROLLERS
from core.stream.receiver import ReceivedUnit, UnitReceiver
from core.stream.sender import UnitSender
from core.wire.access_unit import AccessUnitFlags
from core.wire.feedback import Feedback, decode_feedback
from core.wire.frame_codec import FrameDecoder
from core.wire.opus_merge import merge
from core.wire.opus_padding import silence

__all__ = ["EPOCH", "Pop", "Sent", "Viewer"]

EPOCH: Final = 3
_WEIGHT_ERROR_MAX: Final = 0.02
"""Half of the coarsest step on the wire is 0.008 (SPEC.md section 4.4)."""
_IDLE_TICKS: Final = 4
_SILENCE_80_MS: Final = silence(_IDLE_TICKS)


@dataclass(frozen=True, slots=True)
class Sent:
    """A unit as it left."""

    media_time: int
    span_ticks: int
    opus: bytes
    weights: NDArray[np.float32]


class Pop:
    """Speaks and is silent at random; a part of its face moves all the time."""

    def __init__(self, random: Random) -> None:
        self._random = random
        controller = random.choice(list(CONTROLLERS.values()))
        self.plays_sound_itself = random.random() < 0.5
        self.sender = UnitSender(epoch=EPOCH, plays_sound_itself=self.plays_sound_itself, make_controller=controller)
        self.sender.sequence_number = random.choice((0, 65_500, random.randrange(65_536)))
        self.sender.restart(plays_sound_itself=self.plays_sound_itself)
        self.sent: dict[int, Sent] = {}
        self.rejected: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()
        self._phase = np.array([random.uniform(0.0, 6.3) for _ in range(52)], dtype=np.float32)
        moves = [random.random() < 0.3 for _ in range(52)]
        self._pace = np.array([random.uniform(0.5, 8.0) if one else 0.0 for one in moves], dtype=np.float32)
        self._units_left, self._speaks = 0, True
        self._media_time = random.choice((960_000, 0xFFFF_F000, random.getrandbits(32)))

    def next_unit(self, now_s: float) -> tuple[bytes, int, float]:
        """A packet, its media time, and seconds until the next one."""
        random = self._random
        if self._units_left == 0:
            self._speaks = not self._speaks
            self._units_left = random.randint(20, 80) if self._speaks else random.randint(1, 8)
        self._units_left -= 1
        frame = self._frame(now_s)
        number = self.sender.sequence_number
        if self._speaks:
            ticks = self.sender.decision.ptime_ms // 20
            voice = [b"\x78" + random.randbytes(30) for _ in range(ticks)]
            packet = self.sender.pack(
                frame=frame, opus=voice, state=FaceState.SPEAKING, flags=AccessUnitFlags(0), now=now_s
            )
            opus = voice[0] if ticks == 1 else merge(voice)
        else:
            ticks, opus = _IDLE_TICKS, _SILENCE_80_MS
            packet = self.sender.pack_idle(frame=frame, state=FaceState.IDLE, now=now_s)
        self.counters["sent"] += 1
        self.counters[f"sent-tier-{self.sender.decision.tier.name}"] += 1
        self.counters[f"sent-{ticks * 20}-ms"] += 1
        media_time = self._media_time
        self._media_time += ticks * TICK_SAMPLES
        self.sent[number] = Sent(media_time, ticks * TICK_SAMPLES, opus, frame.weights)
        return packet, media_time, ticks * 0.02

    def _frame(self, now_s: float) -> AnimationFrame:
        weights = np.float32(0.5) + np.float32(0.5) * np.sin(self._phase + self._pace * np.float32(now_s))
        joints = REST_FRAME.joints.copy()
        joints[1, 0] = 0.1 * math.sin(now_s)
        joints[1, 3] = math.sqrt(1.0 - float(joints[1, 0]) ** 2)
        return AnimationFrame(weights=weights, joints=joints)

    def hear(self, data: bytes, now_s: float) -> None:
        """Feedback came, whatever it is."""
        try:
            feedback = decode_feedback(data)
        except RemoteProtocolError as error:
            self.rejected[error.code] += 1
            return
        dropped = self.sender.receive_feedback(feedback, now_s)
        if dropped is not None:
            self.rejected[dropped.reason] += 1

    def change_link(self) -> None:
        """The viewer has moved to another network, perhaps to another transport."""
        if self._random.random() < 0.3:
            self.plays_sound_itself = not self.plays_sound_itself
        self.sender.restart(plays_sound_itself=self.plays_sound_itself)

    @property
    def size(self) -> int:
        """Things that the sender keeps."""
        sender = self.sender
        return len(sender._encoder._history) + len(sender._meter._sent_at) + len(sender._fec._sources)


class Viewer:
    """Receives, plays and draws; says where what it shows is not what it should be.

    Attributes:
        failures: broken promises.
        jump_ratio: the quickest that the drawn face moved, of what is plausible.
    """

    def __init__(self, pop: Pop) -> None:
        self.failures: list[str] = []
        self.jump_ratio = 0.0
        self.counters: Counter[str] = Counter()
        self.sound = JitterBuffer()
        self.timeline = MotionTimeline()
        self.receiver = UnitReceiver(protects_sound=pop.plays_sound_itself)
        self.played_ms = -math.inf
        self._pop = pop
        self._protects_sound = pop.plays_sound_itself
        self._former: AnimationFrame | None = None
        self._former_ms = 0.0

    def change_link(self, *, protects_sound: bool) -> None:
        """The first packet of another link has come."""
        if protects_sound == self._protects_sound:
            self.receiver.on_new_link()
            return
        self.take_counters()
        self._protects_sound = protects_sound
        self.receiver = UnitReceiver(protects_sound=protects_sound)

    def take_counters(self) -> None:
        """Keep what the receiver counted."""
        self.counters.update(self.receiver.dropped)
        self.counters["restored"] += self.receiver.restored

    def receive(self, packet: bytes, timestamp: int, now_ms: float, *, honest: bool) -> bool:
        """A packet came. Args: honest: nothing that ever came was forged. Returns: a face came of it."""
        self.advance(now_ms)
        face = False
        for unit in self.receiver.receive(packet, timestamp & 0xFFFFFFFF, now_ms / 1_000):
            if honest:
                self._compare(unit)
            speech = AccessUnitFlags.SPEECH in unit.flags
            if unit.opus is not None:
                self.sound.push(
                    unit.opus,
                    unit.media_time,
                    unit.span_ticks,
                    silent=not speech,
                    arrival_ms=now_ms,
                    repaired=unit.repaired,
                )
            if unit.frame is not None:
                face = face or not unit.repaired
                self.timeline.push(
                    MotionFrame(
                        ticks=unit.media_time,
                        frame=unit.frame,
                        sequence_number=unit.sequence_number,
                        speech=speech,
                        arrival_ms=now_ms,
                    )
                )
        return face

    def _compare(self, unit: ReceivedUnit) -> None:
        sent, number = self._pop.sent.get(unit.sequence_number), unit.sequence_number
        if sent is None:
            self.failures.append(f"unit {number} was never sent")
            return
        if (unit.media_time - sent.media_time) & 0xFFFFFFFF or unit.span_ticks != sent.span_ticks:
            self.failures.append(f"unit {number} is put at another time than it was sent for")
        if unit.opus is not None and unit.opus != sent.opus:
            self.failures.append(f"the sound of unit {number} is not what was sent")
        if unit.frame is not None and float(np.abs(unit.frame.weights - sent.weights).max()) > _WEIGHT_ERROR_MAX:
            self.failures.append(f"the face of unit {number} is not what was sent")

    def advance(self, now_ms: float) -> None:
        """Play what is due."""
        for block in self.sound.advance(now_ms):
            if block.payload is not None:
                self.played_ms = block.at_ms

    def draw(self, now_ms: float) -> None:
        """Draw the face of now, and judge it against the last one."""
        self.advance(now_ms)
        sample = self.timeline.sample(now_ms, self.sound.position(now_ms))
        if self._former is not None:
            self.jump_ratio = max(self.jump_ratio, motion_ratio(sample.pose, self._former, now_ms - self._former_ms))
            if not np.isfinite(sample.pose.weights).all() or not np.isfinite(sample.pose.joints).all():
                self.failures.append(f"a face that is no number at {now_ms:.1f} ms")
        self._former, self._former_ms = sample.pose, now_ms

    def feedback(self, now_ms: float) -> Feedback | None:
        """What it has to say now, if it is time."""
        now_s = now_ms / 1_000
        if not self.receiver.feedback_due(now_s):
            return None
        self.advance(now_ms)
        position = self.sound.position(now_ms)
        return self.receiver.feedback(None if position is None else int(position), self.sound.delay_ms, now_s)

    def forget(self) -> None:
        """The decoder loses its baselines."""
        self.receiver._decoder = FrameDecoder()
