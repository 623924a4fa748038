"""What a viewer shows and plays: access units in, sound and pictures out, all on the playout clock.

Sans-IO: the network's side calls `receive`, a display calls `draw`, and both say what time it is. It is made of the
same parts as every other receiver: core.stream's receiver, jitter buffer and timeline.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import JITTER_BUFFER_PACKETS_MAX
from core.session.state import FaceState
from core.stream.jitter_buffer import Block, JitterBuffer
from core.stream.playout import MotionFrame, MotionTimeline
from core.stream.receiver import ReceivedUnit, UnitReceiver
from core.stream.succession import Succession
from core.wire.access_unit import AccessUnitFlags
from core.wire.feedback import Feedback
from loadtests.audio import VoiceDecoder
from loadtests.recording import Arrival, Drawn, Heard, Recording

__all__ = ["Screen"]

_JAW: Final = BLENDSHAPE_INDEX["jawOpen"]
_DUCK_GAIN: Final = 0.2
_UNDECODABLE: Final = ("bad-opus", "too-short", "unknown-version", "unknown-flags", "bad-length", "plain", "bad-frame")


class Screen:
    """See the module docstring.

    Args:
        recording: everything is written down here; None keeps nothing but the state.
        protects_sound: redundancy brings back sound too (WebTransport).

    Attributes:
        state: what the face does, by the newest access unit.
        units: access units received or restored.
        drawn_media_time: 48 kHz ticks of what was drawn last; None while the face lives by itself.
    """

    def __init__(self, recording: Recording | None, *, protects_sound: bool = False) -> None:
        self._recording = recording
        self._receiver = UnitReceiver(protects_sound=protects_sound)
        self._protects_sound = protects_sound
        self._succession: Succession | None = None
        self._former: tuple[Succession, UnitReceiver] | None = None
        self._sound = JitterBuffer()
        self._timeline = MotionTimeline()
        self._voice = VoiceDecoder()
        self._voiced: deque[int] = deque(maxlen=JITTER_BUFFER_PACKETS_MAX)
        self._newest_media: int | None = None
        self._ducked_from: float | None = None
        self._muted_before = 0
        self._before: dict[str, int] = {}
        self.state = FaceState.IDLE
        self.units = 0
        self.drawn_media_time: float | None = None

    def on_new_link(self, *, protects_sound: bool) -> None:
        """Another link carries the track from now on."""
        if protects_sound == self._protects_sound:
            self._receiver.on_new_link()
            return
        self._before = self.fec
        self._receiver = UnitReceiver(protects_sound=protects_sound)
        self._protects_sound = protects_sound

    def invite(self, epoch: int, *, protects_sound: bool) -> None:
        """The session is about to move: another link will bring a preview of this epoch."""
        self._succession = Succession(self._receiver, epoch, protects_sound=protects_sound)

    def stay(self) -> None:
        """It does not move."""
        self._succession = None

    @property
    def decodable(self) -> bool:
        """A face of the preview could be decoded."""
        return self._succession is not None and self._succession.decodable

    @property
    def behind_s(self) -> float:
        """How much later the preview comes than what is played."""
        return self._succession.behind_s if self._succession is not None else 0.0

    def preview(self, payload: bytes, timestamp: int, now: float) -> bool:
        """One packet of the link that the viewer was invited to. Returns: that link's epoch counts from now on."""
        succession = self._succession
        if succession is None:
            return False
        self.advance(now)
        units = succession.receive(payload, timestamp, now)
        return self._succeed(succession, units, len(payload), now)

    def commit(self, epoch: int, now: float) -> bool:
        """The POP says that this epoch counts. Returns: True once, if it is the one that the viewer was invited to."""
        succession = self._succession
        if succession is None:
            return False
        self.advance(now)
        return self._succeed(succession, succession.commit(epoch), 0, now)

    def _succeed(self, succession: Succession, units: list[ReceivedUnit], packet_bytes: int, now: float) -> bool:
        if not succession.committed:
            return False
        self._before, self._former = self.fec, (succession, self._receiver)
        self._receiver, self._protects_sound = succession.receiver, succession.receiver.protects_sound
        self._before["lost"] -= self._receiver.lost
        self._before["repaired"] -= self._receiver.restored
        self._succession = None
        for unit in units:
            self._take(unit, packet_bytes, now)
        return True

    def late(self, payload: bytes, timestamp: int, now: float) -> None:
        """One packet of the link that carried the track before it moved."""
        if self._former is not None:
            succession, receiver = self._former
            for unit in succession.late(receiver.receive(payload, timestamp, now)):
                self._take(unit, len(payload), now)

    @property
    def waits(self) -> bool:
        """The former link still has something to bring."""
        return self._former is not None and self._former[0].waits()

    def preview_feedback(self, now: float) -> Feedback | None:
        """What the POP of the preview should know now; None without one, and when it was told a moment ago."""
        if self._succession is None or not self._succession.receiver.feedback_due(now):
            return None
        position = self.position(now)
        delay_ms = None if position is None else self._sound.delay_ms
        return self._succession.receiver.feedback(None if position is None else int(position), delay_ms, now)

    def receive(self, payload: bytes, timestamp: int, now: float) -> None:
        """One packet, untouched. What is no access unit is counted in the recording.

        Args:
            timestamp: 48 kHz media time, 32 bits.
            now: monotonic seconds of its arrival.
        """
        self.advance(now)
        units = self._receiver.receive(payload, timestamp, now)
        if self._succession is not None:
            self._succession.played(units, now)
        for unit in units:
            self._take(unit, len(payload), now)
        if self._recording is not None:
            dropped = self._receiver.dropped
            self._recording.undecodable = sum(dropped[reason] for reason in _UNDECODABLE)
            self._recording.baseline_missing = dropped["baseline-missing"] + dropped["diverged"]

    def _take(self, unit: ReceivedUnit, packet_bytes: int, now: float) -> None:
        speech = AccessUnitFlags.SPEECH in unit.flags
        if unit.opus is not None:
            self._sound.push(
                unit.opus,
                unit.media_time,
                unit.span_ticks,
                silent=not speech,
                arrival_ms=now * 1e3,
                repaired=unit.repaired,
            )
            if speech:
                self._voiced.append(unit.media_time)
        if unit.frame is not None:
            self._timeline.push(
                MotionFrame(
                    ticks=unit.media_time,
                    frame=unit.frame,
                    sequence_number=unit.sequence_number,
                    speech=speech,
                    arrival_ms=now * 1e3,
                )
            )
        if self._newest_media is None or unit.media_time > self._newest_media:
            self._newest_media = unit.media_time
            self.state = unit.state
            self._obey(unit.flags, unit.media_time, now)
        self.units += 1
        if self._recording is not None:
            self._recording.arrivals.append(
                Arrival(
                    at=now,
                    media_time=unit.media_time,
                    duration=unit.span_ticks,
                    sequence_number=unit.sequence_number,
                    state=unit.state,
                    flags=unit.flags,
                    frame_bytes=unit.frame_bytes,
                    packet_bytes=0 if unit.repaired else packet_bytes,
                    frame=unit.frame,
                    repaired=unit.repaired,
                )
            )

    def _obey(self, flags: AccessUnitFlags, media_time: int, now: float) -> None:
        """DUCK and CUT act on what is already buffered, so they count from their arrival, not from their turn."""
        if AccessUnitFlags.CUT in flags:
            self._muted_before = media_time
            self._ducked_from = None
            self._timeline.cut(media_time, now * 1e3)
        elif AccessUnitFlags.DUCK in flags:
            self._ducked_from = self._ducked_from if self._ducked_from is not None else now
        else:
            self._ducked_from = None

    def advance(self, now: float) -> None:
        """Play what is due."""
        for block in self._sound.advance(now * 1e3):
            self._play(block)

    def _play(self, block: Block) -> None:
        if self._recording is None:
            return
        source, at = self._decode_voice(block), block.at_ms / 1e3
        if block.ticks < self._muted_before:
            samples = np.zeros_like(source)
        elif self._ducked_from is not None and at >= self._ducked_from:
            samples = source * np.float32(_DUCK_GAIN)
        else:
            samples = source
        voice = block.payload is not None and block.ticks in self._voiced
        self._recording.heard.append(Heard(at, block.ticks, samples, voice, source))

    def _decode_voice(self, block: Block) -> NDArray[np.float32]:
        decoded = self._voice.decode(block.payload) if block.payload is not None else None
        if decoded is None or decoded.size != block.duration_ticks:
            return np.zeros(block.duration_ticks, dtype=np.float32)
        return decoded

    def position(self, now: float) -> float | None:
        """Media ticks audible now; None before the first packet's turn."""
        self.advance(now)
        return self._sound.position(now * 1e3)

    def draw(self, now: float) -> AnimationFrame:
        """The face of now: of the media time that is audible while there is voice."""
        sample = self._timeline.sample(now * 1e3, self.position(now))
        self.drawn_media_time = sample.ticks
        if self._recording is not None and self.units:
            self._recording.drawn.append(Drawn(now, float(sample.pose.weights[_JAW]), sample.source))
        return sample.pose

    @property
    def keyframe_request(self) -> bool:
        """See UnitReceiver.keyframe_request."""
        return self._receiver.keyframe_request

    def feedback_due(self, now: float) -> bool:
        """See UnitReceiver.feedback_due."""
        return self._receiver.feedback_due(now)

    def feedback(self, now: float) -> Feedback:
        """What the POP should know now."""
        position = self.position(now)
        return self._receiver.feedback(
            None if position is None else int(position), None if position is None else self._sound.delay_ms, now
        )

    @property
    def fec(self) -> dict[str, int]:
        """Units so far: `lost` on the way, `repaired` by forward error correction, `late` for their turn to sound."""
        before, receiver = self._before, self._receiver
        return {
            "lost": before.get("lost", 0) + receiver.lost,
            "repaired": before.get("repaired", 0) + receiver.restored,
            "late": self._sound.dropped["late"],
        }
