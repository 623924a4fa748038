"""What a headless viewer saw and heard, with monotonic times: plain records, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import AnimationFrame
from core.session.state import FaceState
from core.stream.playout import MotionSource
from core.wire.access_unit import AccessUnitFlags

__all__ = ["Arrival", "ControlEvent", "Drawn", "Heard", "Recording", "Spoken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One access unit as it came off the network.

    Attributes:
        at: monotonic seconds of its arrival.
        media_time: unwrapped 48 kHz ticks of its first sample.
        duration: ticks that its Opus packet covers.
        sequence_number: 16 bits, the access unit's own.
        frame_bytes: size of the encoded frame in it.
        packet_bytes: size of the whole RTP payload.
        frame: the decoded face; None when its baseline is missing.
        repaired: forward error correction brought it back; it has no packet of its own.
    """

    at: float
    media_time: int
    duration: int
    sequence_number: int
    state: FaceState
    flags: AccessUnitFlags
    frame_bytes: int
    packet_bytes: int
    frame: AnimationFrame | None
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """One block of sound as the imaginary loudspeaker played it.

    Attributes:
        at: monotonic seconds at which its first sample sounded.
        media_time: unwrapped ticks of that sample.
        samples: float32[n], 48 kHz, as played (ducked or muted where the POP asked for it).
        voice: the character's voice was in it.
        source: float32[n], as sent.
    """

    at: float
    media_time: int
    samples: NDArray[np.float32]
    voice: bool
    source: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture as an imaginary 60 Hz display showed it: monotonic seconds, how far the jaw was open, and whether
    what was drawn came from the network."""

    at: float
    jaw_open: float
    source: MotionSource = MotionSource.AUDIBLE


@dataclass(frozen=True, slots=True)
class ControlEvent:
    """One control message: when it came, its RTVI type and its data."""

    at: float
    type: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the user said, in the time in front of the microphone.

    Attributes:
        started_at: monotonic seconds of the recording's first sample.
        speech_from: monotonic seconds at which speech begins in it.
        speech_until: monotonic seconds at which speech ends in it (loadtests.signals.end_of_speech).
    """

    started_at: float
    speech_from: float
    speech_until: float


@dataclass(slots=True)
class Recording:
    """Everything in order of time.

    Attributes:
        undecodable: packets that were no access unit or whose frame could not be decoded.
        baseline_missing: frames that named a baseline which this viewer does not have.
    """

    arrivals: list[Arrival] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    control: list[ControlEvent] = field(default_factory=list)
    undecodable: int = 0
    baseline_missing: int = 0

    def clear(self) -> None:
        """Forget what was recorded so far; counters stay."""
        self.arrivals.clear()
        self.heard.clear()
        self.drawn.clear()
        self.control.clear()
