"""What a viewer shows and plays: access units in, sound and pictures out, all on the playout clock.

Sans-IO: the network's side calls `receive`, a display calls `draw`, and both say what time it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX
from core.errors import RemoteProtocolError
from core.limits import TICK_SAMPLES
from core.session.state import FaceState
from core.stream.playout_position import unwrap_timestamp
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit
from core.wire.feedback import Feedback
from core.wire.frame_codec import FrameDecoder
from core.wire.opus_padding import duration_samples
from loadtests.audio import VoiceDecoder
from loadtests.playout import Block, Playout
from loadtests.recording import Arrival, Drawn, Heard, Recording

__all__ = ["Screen"]

_JAW: Final = BLENDSHAPE_INDEX["jawOpen"]
_DUCK_GAIN: Final = 0.2
_TIMELINE_FRAMES_MAX: Final = 256
_SEQUENCE_NUMBERS: Final = 1 << 16


class Screen:
    """See the module docstring.

    Args:
        recording: everything is written down here; None keeps nothing but the state.

    Attributes:
        state: what the face does, by the newest access unit.
        units: access units received.
    """

    def __init__(self, recording: Recording | None) -> None:
        self._recording = recording
        self._playout = Playout()
        self._voice = VoiceDecoder()
        self._frames = FrameDecoder()
        self._timeline: deque[tuple[int, AnimationFrame]] = deque(maxlen=_TIMELINE_FRAMES_MAX)
        self._flags: dict[int, AccessUnitFlags] = {}
        self._newest_media: int | None = None
        self._acknowledged: int | None = None
        self._keyframe_wanted = False
        self._ducked_from: float | None = None
        self._muted_before = 0
        self.state = FaceState.IDLE
        self.units = 0

    def receive(self, payload: bytes, rtp_timestamp: int, now: float) -> AccessUnit | None:
        """One RTP payload, untouched.

        Args:
            rtp_timestamp: 32 bits.
            now: monotonic seconds of its arrival.
        Returns: the access unit; None when there is none in it (counted in the recording).
        """
        self.advance(now)
        try:
            duration = duration_samples(payload)
            unit = decode_access_unit(payload)
        except RemoteProtocolError:
            unit, duration = None, 0
        if duration <= 0:
            self._count_undecodable()
            return None
        media_time = unwrap_timestamp(rtp_timestamp, self._newest_media or rtp_timestamp)
        silent = unit is None or AccessUnitFlags.SPEECH not in unit.flags
        in_time = self._playout.push(payload, media_time, duration, silent=silent, arrival=now)
        if unit is None:
            self._count_undecodable()
            return None
        frame = self._decode_frame(unit)
        newest = self._newest_media is None or media_time > self._newest_media
        if newest:
            self._newest_media = media_time
            self.state = unit.state
            self._obey(unit.flags, media_time, now)
        self.units += 1
        if in_time:
            self._flags[media_time] = unit.flags
        if frame is not None:
            self._insert(media_time, frame)
        if self._recording is not None:
            self._recording.arrivals.append(
                Arrival(
                    at=now,
                    media_time=media_time,
                    duration=duration,
                    sequence_number=unit.sequence_number,
                    state=unit.state,
                    flags=unit.flags,
                    frame_bytes=len(unit.frame),
                    packet_bytes=len(payload),
                    frame=frame,
                )
            )
        return unit

    def _decode_frame(self, unit: AccessUnit) -> AnimationFrame | None:
        try:
            decoded = self._frames.decode(unit.frame, unit.sequence_number)
        except RemoteProtocolError:
            self._count_undecodable()
            return None
        if not isinstance(decoded, AnimationFrame):
            self._keyframe_wanted = True
            if self._recording is not None:
                self._recording.baseline_missing += 1
            return None
        known = self._acknowledged
        if known is None or (unit.sequence_number - known) % _SEQUENCE_NUMBERS < _SEQUENCE_NUMBERS // 2:
            self._acknowledged = unit.sequence_number
        return decoded

    def _obey(self, flags: AccessUnitFlags, media_time: int, now: float) -> None:
        """DUCK and CUT act on what is already buffered, so they count from their arrival, not from their turn."""
        if AccessUnitFlags.CUT in flags:
            self._muted_before = media_time
            self._ducked_from = None
        elif AccessUnitFlags.DUCK in flags:
            self._ducked_from = self._ducked_from if self._ducked_from is not None else now
        else:
            self._ducked_from = None

    def _insert(self, media_time: int, frame: AnimationFrame) -> None:
        if not self._timeline or media_time > self._timeline[-1][0]:
            self._timeline.append((media_time, frame))
            return
        items = list(self._timeline)
        index = bisect_right([time for time, _ in items], media_time)
        items.insert(index, (media_time, frame))
        self._timeline = deque(items[-_TIMELINE_FRAMES_MAX:], maxlen=_TIMELINE_FRAMES_MAX)

    def _count_undecodable(self) -> None:
        if self._recording is not None:
            self._recording.undecodable += 1

    def advance(self, now: float) -> None:
        """Play what is due."""
        for block in self._playout.advance(now):
            self._play(block)
        if self._recording is not None:
            self._recording.late_packets = self._playout.late
            self._recording.stalls = self._playout.stalls

    def _play(self, block: Block) -> None:
        flags = self._flags.pop(block.media_time, AccessUnitFlags(0))
        if self._recording is None:
            return
        source = self._decode_voice(block)
        if block.media_time < self._muted_before:
            samples = np.zeros_like(source)
        elif self._ducked_from is not None and block.at >= self._ducked_from:
            samples = source * np.float32(_DUCK_GAIN)
        else:
            samples = source
        voice = AccessUnitFlags.SPEECH in flags and block.payload is not None
        self._recording.heard.append(Heard(block.at, block.media_time, samples, voice, source))

    def _decode_voice(self, block: Block) -> NDArray[np.float32]:
        decoded = self._voice.decode(block.payload) if block.payload is not None else None
        if decoded is None or decoded.size != block.duration:
            return np.zeros(block.duration, dtype=np.float32)
        return decoded

    def position(self, now: float) -> int | None:
        """Media time audible now; None before the first packet."""
        self.advance(now)
        return self._playout.position(now)

    def draw(self, now: float) -> AnimationFrame | None:
        """The face of the media time that is audible now; None before the first frame."""
        position = self.position(now)
        if position is None or not self._timeline:
            return None
        frame = self._frame_at(position)
        if self._recording is not None:
            self._recording.drawn.append(Drawn(now, float(frame.weights[_JAW])))
        return frame

    def _frame_at(self, position: int) -> AnimationFrame:
        while len(self._timeline) > 2 and self._timeline[1][0] <= position:
            self._timeline.popleft()
        (start, first), *rest = (self._timeline[index] for index in range(min(2, len(self._timeline))))
        if not rest or position <= start:
            return first
        end, second = rest[0]
        share = min(1.0, (position - start) / min(end - start, 4 * TICK_SAMPLES))
        weights = first.weights + np.float32(share) * (second.weights - first.weights)
        return AnimationFrame(weights=weights, joints=second.joints, sync_score=second.sync_score)

    def feedback(self, now: float) -> Feedback:
        """What the POP should know: the newest frame decoded and what is audible now."""
        position = self.position(now)
        feedback = Feedback(
            acknowledged=self._acknowledged,
            playout_timestamp=position & 0xFFFFFFFF if position is not None else None,
            keyframe_request=self._keyframe_wanted,
        )
        self._keyframe_wanted = False
        return feedback

    @property
    def playout_delay_s(self) -> float:
        """How long sound waits in this viewer before it is audible."""
        return self._playout.delay_s
