"""Which face is drawn at which instant. Sans-IO; mirrors edge/client/src/stream/timeline.ts, constants and all.

While there is voice, the frame of the media time **audible now** is drawn: the audio clock is the master. In silence
nobody hears a difference and waiting would only make the face slow, so frames are drawn on arrival plus the jitter
seen lately. The change between the two moves the playhead with bounded velocity. Between frames motion is
interpolated; where the next frame is late it is extrapolated by at most two frames, damped, and from there eases into
the idle layer, which is never a frozen face. Whatever happens, the drawn pose moves no quicker than a face can
(`core.stream.pose`), so truth that arrives after a guess is joined, not jumped to.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from math import exp
from typing import Final

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.errors import Dropped
from core.limits import PLAYOUT_FRAMES_MAX, PTIME_MS
from core.stream.idle import idle_pose
from core.stream.playhead import TICKS_PER_MS, ArrivalClock, Playhead
from core.stream.pose import limit_motion, mix_poses, smoothstep

__all__ = ["MotionFrame", "MotionSample", "MotionSource", "MotionTimeline"]

_EXTRAPOLATION_MS_MAX: Final = 40.0
"""Two frames; more would be invention: three gain nothing over holding still."""
_EXTRAPOLATION_DAMPING_MS: Final = 24.0
_HISTORY_MS: Final = 1_000.0
"""Frames are kept this long after they were drawn, and late ones with them: an audio clock that is set back, because
everything has become late, plays their sound again or for the first time."""
_IDLE_IN_MS: Final = 450.0
_IDLE_OUT_MS: Final = 260.0
_CROSSFADE_MS: Final = 110.0
_SPEECH_TAIL_MS: Final = 100.0
"""Sound rings on this long after the last speech packet's time."""
_ASSUMED_BUFFER_MS: Final = 45.0
"""Where nobody can say what is audible, speech is drawn this much later than silence: a usual jitter buffer."""
_ABSURD_MS: Final = 5_000.0
_ABSURD_IN_A_ROW: Final = 5
"""A media time this far from what the clocks say is absurd; that many in a row are a new clock."""
_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionFrame:
    """One decoded frame on the media timeline.

    Attributes:
        ticks: unwrapped 48 kHz media time.
        frame: the face.
        sequence_number: of its unit.
        speech: voice is in its packet.
        arrival_ms: local monotonic time at which it came.
    """

    ticks: int
    frame: AnimationFrame
    sequence_number: int
    speech: bool
    arrival_ms: float


class MotionSource(StrEnum):
    """What a sample was made of."""

    AUDIBLE = "audible"
    ARRIVAL = "arrival"
    EXTRAPOLATED = "extrapolated"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class MotionSample:
    """What to draw.

    Attributes:
        pose: the face.
        source: what it was made of.
        ticks: media time drawn; None when the face lives by itself.
        sequence_number: of the sent frame at or before `ticks`.
        idle: 0 = all from the network … 1 = all from the idle layer.
    """

    pose: AnimationFrame
    source: MotionSource
    ticks: float | None
    sequence_number: int | None
    idle: float


class MotionTimeline:
    """See the module docstring.

    Args:
        liveliness: 0 to 1, how lively the idle layer is.

    Attributes:
        dropped: frames of no use, by reason: `late` (a newer one is drawn already: it is drawn only if the clock is set
            back), `duplicate`, `overflow`, `absurd` (its media time is far from what all others say).
    """

    def __init__(self, *, liveliness: float = 1.0) -> None:
        self.liveliness = liveliness
        self.dropped: Counter[str] = Counter()
        self._frames: list[MotionFrame] = []
        self._arrivals = ArrivalClock()
        self._playhead = Playhead()
        self._network: AnimationFrame = REST_FRAME
        self._drawn: AnimationFrame = REST_FRAME
        self._fade_from: AnimationFrame = REST_FRAME
        self._fade_start_ms = _NEVER
        self._speech_end = _NEVER
        self._cut = _NEVER
        self._past: int | None = None
        self._absurd = 0
        self._idle = 1.0
        self._starved = True
        self._sampled_ms: float | None = None

    @property
    def frames(self) -> int:
        """Frames that are kept."""
        return len(self._frames)

    @property
    def newest_ticks(self) -> int | None:
        """Media time of the newest frame."""
        return self._frames[-1].ticks if self._frames else None

    def push(self, frame: MotionFrame) -> Dropped | None:
        """Add a decoded frame, in any order. Returns: why it was of no use, if so; counted in `dropped`."""
        if abs(self._arrivals.lateness_ms(frame.ticks, frame.arrival_ms)) > _ABSURD_MS:
            self._absurd += 1
            if self._absurd < _ABSURD_IN_A_ROW:
                return self._drop("absurd")
            self.reset(frame.arrival_ms)
        self._absurd = 0
        self._arrivals.observe(frame.ticks, frame.arrival_ms)
        frames, late = self._frames, self._past is not None and frame.ticks < self._past
        place = len(frames)
        while place > 0 and frames[place - 1].ticks > frame.ticks:
            place -= 1
        if place > 0 and frames[place - 1].ticks == frame.ticks:
            return self._drop("duplicate")
        if place == 0 and len(frames) == PLAYOUT_FRAMES_MAX:
            return self._drop("overflow")
        frames.insert(place, frame)
        if len(frames) > PLAYOUT_FRAMES_MAX:
            frames.pop(0)
            self.dropped["overflow"] += 1
        if frame.speech and frame.ticks >= self._cut:
            self._speech_end = max(self._speech_end, frame.ticks + PTIME_MS * TICKS_PER_MS)
        return self._drop("late") if late else None

    def cut(self, ticks: int, now_ms: float) -> None:
        """The voice before `ticks` was cut: its motion is not worth waiting for; go to the newest and fade."""
        self._cut = max(self._cut, ticks)
        if self._speech_end > ticks:
            return
        self._speech_end = _NEVER
        target = self._arrivals.ticks_at(now_ms)
        if target is None:
            return
        self._start_fade(now_ms)
        self._playhead.jump(now_ms, max(target, ticks))

    def speaking(self, audible_ticks: float | None) -> bool:
        """True while voice is in the frames that are, or soon will be, audible."""
        if self._speech_end == _NEVER:
            return False
        heard = audible_ticks if audible_ticks is not None else self._playhead.ticks
        return (_NEVER if heard is None else heard) < self._speech_end + _SPEECH_TAIL_MS * TICKS_PER_MS

    def sample(self, now_ms: float, audible_ticks: float | None) -> MotionSample:
        """The face at `now_ms`.

        Args:
            now_ms: local monotonic time; must not decrease.
            audible_ticks: media time audible at `now_ms`; None where nobody can say.
        """
        elapsed_ms = None if self._sampled_ms is None else max(0.0, now_ms - self._sampled_ms)
        self._sampled_ms = now_ms
        speaking = self.speaking(audible_ticks)
        source, number = MotionSource.IDLE, None
        target = self._target(now_ms, speaking, audible_ticks)
        if target is None or not self._frames:
            self._starved = True
        else:
            if self._playhead.advance(now_ms, target):
                self._start_fade(now_ms)
            number, over_ms = self._interpolate(self._playhead.ticks or 0.0)
            self._starved = over_ms > _EXTRAPOLATION_MS_MAX
            if over_ms > 0.0:
                source = MotionSource.EXTRAPOLATED
            else:
                heard = speaking and audible_ticks is not None
                source = MotionSource.AUDIBLE if heard else MotionSource.ARRIVAL
        wish = self._blend_idle(now_ms, elapsed_ms or 0.0)
        if self._idle >= 1.0:
            source, number = MotionSource.IDLE, None
        fade = (now_ms - self._fade_start_ms) / _CROSSFADE_MS
        if fade < 1.0:
            wish = mix_poses(self._fade_from, wish, smoothstep(fade))
        self._drawn = wish if elapsed_ms is None else limit_motion(wish, self._drawn, elapsed_ms)
        ticks = None if source is MotionSource.IDLE else self._playhead.ticks
        return MotionSample(self._drawn, source, ticks, number, self._idle)

    def reset(self, now_ms: float) -> None:
        """Forget all frames (a new connection counts its media time anew). The drawn pose stays and fades over."""
        self._frames.clear()
        self._arrivals.reset()
        self._playhead.reset()
        self._speech_end = self._cut = _NEVER
        self._past = None
        self._start_fade(now_ms)

    def _drop(self, reason: str) -> Dropped:
        self.dropped[reason] += 1
        return Dropped(reason)

    def _target(self, now_ms: float, speaking: bool, audible_ticks: float | None) -> float | None:
        arrival = self._arrivals.ticks_at(now_ms)
        if arrival is None or not speaking:
            return arrival
        return audible_ticks if audible_ticks is not None else arrival - _ASSUMED_BUFFER_MS * TICKS_PER_MS

    def _start_fade(self, now_ms: float) -> None:
        self._fade_from = self._drawn
        self._fade_start_ms = now_ms

    def _interpolate(self, ticks: float) -> tuple[int, float]:
        """Put the network's pose at `ticks` into `_network`, let go of frames that lie far behind.

        Returns: the sequence number of the frame at or before `ticks`, and milliseconds beyond the newest frame, or
        before the oldest if that is further than a guess may reach.
        """
        frames = self._frames
        following = len(frames)
        while following > 0 and frames[following - 1].ticks > ticks:
            following -= 1
        while following > 2 and frames[0].ticks < ticks - _HISTORY_MS * TICKS_PER_MS:
            frames.pop(0)
            following -= 1
        if following == 0:
            self._past = None
            self._network = frames[0].frame
            early_ms = (frames[0].ticks - ticks) / TICKS_PER_MS
            return frames[0].sequence_number, early_ms if early_ms > _EXTRAPOLATION_MS_MAX else 0.0
        before = frames[following - 1]
        self._past = before.ticks
        if following < len(frames):
            after = frames[following]
            self._network = mix_poses(before.frame, after.frame, (ticks - before.ticks) / (after.ticks - before.ticks))
            return before.sequence_number, 0.0
        over_ms = (ticks - before.ticks) / TICKS_PER_MS
        if following < 2 or over_ms <= 0.0:
            self._network = before.frame
        else:
            previous = frames[following - 2]
            run_ms = min(over_ms, _EXTRAPOLATION_MS_MAX)
            damped = _EXTRAPOLATION_DAMPING_MS * (1.0 - exp(-run_ms / _EXTRAPOLATION_DAMPING_MS))
            interval_ms = (before.ticks - previous.ticks) / TICKS_PER_MS
            self._network = mix_poses(previous.frame, before.frame, 1.0 + damped / interval_ms)
        return before.sequence_number, over_ms

    def _blend_idle(self, now_ms: float, elapsed_ms: float) -> AnimationFrame:
        step = elapsed_ms / _IDLE_IN_MS if self._starved else -elapsed_ms / _IDLE_OUT_MS
        self._idle = min(1.0, max(0.0, self._idle + step))
        if self._idle == 0.0:
            return self._network
        return mix_poses(self._network, idle_pose(now_ms, self.liveliness), smoothstep(self._idle))
