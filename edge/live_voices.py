"""Voices that come without log-mel: a performer's microphone, or an origin that sends sound alone.

Each packet is decoded when it comes; the log-mel of all that came is computed in one batch per phase. A frame of it
reaches 5 ms into the next packet, so a packet is handed on, complete, once the next one is there. From then on it is
speech like any other: it waits in its session's track until the student has heard enough of what follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.limits import LIVE_JITTER_PACKETS
from core.speech.features import log_mel, window_samples
from core.speech.messages import SpeechPacket
from core.speech.student_layout import LOOKAHEAD_FRAMES
from core.stream.speech_track import SpeechTrack
from edge.ear_sound import MicrophoneDecoder

__all__ = ["LIVE_LEAD_PACKETS", "LiveSpeech", "LiveVoice", "LiveVoices"]

_RATE_HZ: Final = 16_000
_HOP, _WINDOW = window_samples(_RATE_HZ)
_LEAD: Final = _WINDOW - _HOP
LIVE_LEAD_PACKETS: Final = LOOKAHEAD_FRAMES + LIVE_JITTER_PACKETS
"""Packets that follow one before it plays; the last of them is complete when one more has come: 100 ms in all."""
_CAPACITY: Final = 64


class LiveVoices:
    """One per POP.

    Attributes:
        failures: packets that the decoder refused; they are silence.
    """

    def __init__(self) -> None:
        self._windows = np.zeros((_CAPACITY, _WINDOW), dtype=np.float32)
        self._waiting: list[tuple[Callable[[SpeechPacket], None], SpeechPacket]] = []
        self.failures = 0

    def open(self, deliver: Callable[[SpeechPacket], None]) -> LiveVoice:
        """A voice.

        Args:
            deliver: takes its packets, in order, with their log-mel.
        """
        return LiveVoice(self, deliver)

    def add(self, deliver: Callable[[SpeechPacket], None], packet: SpeechPacket) -> NDArray[np.float32]:
        """A packet that is complete. Returns: float32[window] to be filled with its sound."""
        count = len(self._waiting)
        if count == len(self._windows):
            self._windows = np.concatenate([self._windows, np.zeros_like(self._windows)])
        self._waiting.append((deliver, packet))
        return cast("NDArray[np.float32]", self._windows[count])

    def flush(self) -> None:
        """Hand on what is complete; call before each phase."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        windows = self._windows[: len(waiting)]
        # A sound card's direct current would shine through the window into the lowest bands.
        windows -= windows.mean(axis=1, keepdims=True)
        frames = log_mel(windows, _RATE_HZ)
        for (deliver, packet), frame in zip(waiting, frames, strict=True):
            deliver(msgspec.structs.replace(packet, log_mel=frame.tobytes()))


class LiveVoice:
    """One utterance without log-mel; from `LiveVoices.open`."""

    def __init__(self, voices: LiveVoices, deliver: Callable[[SpeechPacket], None]) -> None:
        self._voices = voices
        self._deliver = deliver
        self._decoder = MicrophoneDecoder()
        self._packet: SpeechPacket | None = None
        self._sound = np.zeros(_HOP, dtype=np.float32)

    def push(self, packet: SpeechPacket) -> None:
        """The next packet, 20 ms of Opus. After a lost one the sound is joined as if nothing were missing."""
        sound = self._decode(packet.opus)
        self._complete(sound[:_LEAD])
        self._packet, self._sound = packet, sound

    def end(self) -> None:
        """No packet follows: the last one is complete."""
        self._complete(np.zeros(_LEAD, dtype=np.float32))
        self._packet = None

    def _complete(self, lead: NDArray[np.float32]) -> None:
        if self._packet is not None:
            window = self._voices.add(self._deliver, self._packet)
            window[:_HOP] = self._sound
            window[_HOP:] = lead

    def _decode(self, opus: bytes) -> NDArray[np.float32]:
        sound = self._decoder.decode(opus)
        if len(sound) != _HOP:
            self._voices.failures += 1
            return np.zeros(_HOP, dtype=np.float32)
        return sound


class LiveSpeech:
    """What one session says without log-mel.

    Args:
        voices: of the POP.
        track: of the session; it is told to let packets wait until the student has heard enough of what follows them.
        deliver: takes the packets, complete.
    """

    def __init__(self, voices: LiveVoices, track: SpeechTrack, deliver: Callable[[SpeechPacket], None]) -> None:
        self._voices = voices
        self._track = track
        self._deliver = deliver
        self._utterance_id = 0
        self._voice: LiveVoice | None = None

    def push(self, packet: SpeechPacket) -> None:
        """A packet without log-mel."""
        if self._voice is None or packet.utterance_id != self._utterance_id:
            self._utterance_id = packet.utterance_id
            self._voice = self._voices.open(self._deliver)
            self._track.hold(packet.utterance_id, LIVE_LEAD_PACKETS)
        self._voice.push(packet)

    def end(self, utterance_id: int) -> None:
        """The utterance is over; its last packet is handed on at once. Others may be over, too."""
        if self._voice is not None and utterance_id == self._utterance_id:
            self._voice.end()
            self._voice = None
            self._voices.flush()
