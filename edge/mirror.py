"""A session in which the viewer performs the character: its microphone's packets are the character's voice.

The Opus packets are not touched but for the feedback in their padding. A stretch of packets without a long gap is one
utterance; what the microphone does not send (it hears nothing, or the network lost it) ends it, and the next packet
begins another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from core.errors import RemoteProtocolError
from core.limits import LIVE_QUEUE_PACKETS_MAX, LIVE_SILENCE_S, TICK_SAMPLES
from core.speech.messages import DownMessage, SpeechEnd, SpeechPacket, SpeechStart
from core.wire.opus_padding import strip
from edge.transports.link import MicrophoneUnit

__all__ = ["Mirror"]

_DTX_SIZE_BYTES_MAX: Final = 3
"""A packet that says no more than that there is nothing to hear."""
_GAP_PACKETS_MAX: Final = 10


class Mirror:
    """One session's microphone as its voice. What it says is what an origin would say, without log-mel and phonemes.

    Args:
        on_dropped: told why a packet is left out: `bad-opus` or `live-too-late`.

    Attributes:
        utterance_id: of the newest utterance, 0 before the first.
    """

    def __init__(self, on_dropped: Callable[[str], None]) -> None:
        self._on_dropped = on_dropped
        self.utterance_id = 0
        self._begin: int | None = None
        """Microphone media time of the utterance's first packet; None between utterances."""
        self._sent = 0
        self._received_at = 0.0

    def receive(self, unit: MicrophoneUnit, now: float, *, queued: int) -> list[DownMessage]:
        """A microphone packet.

        Args:
            now: monotonic seconds.
            queued: packets that wait to be played. Beyond limits.LIVE_QUEUE_PACKETS_MAX one is left out: who speaks
                live must not hear or see itself ever later.
        Returns: what is said now.
        """
        try:
            opus = strip(unit.payload)
        except RemoteProtocolError as error:
            self._on_dropped(error.code)
            return []
        said: list[DownMessage] = []
        index = self._index(unit.timestamp)
        if index is None:
            said += self._end()
            if len(opus) <= _DTX_SIZE_BYTES_MAX:
                return said
            self.utterance_id += 1
            self._begin, self._sent, index = unit.timestamp, 0, 0
            said.append(SpeechStart(utterance_id=self.utterance_id, turn_id=self.utterance_id))
        self._received_at = now
        if queued > LIVE_QUEUE_PACKETS_MAX and self._begin is not None:
            self._begin += TICK_SAMPLES  # the next one takes its place
            self._on_dropped("live-too-late")
            return said
        self._sent = max(self._sent, index + 1)
        said.append(SpeechPacket(utterance_id=self.utterance_id, index=index, opus=opus))
        return said

    def _index(self, timestamp: int) -> int | None:
        """Number of a packet in this utterance; None: it belongs to another one."""
        if self._begin is None:
            return None
        index = round((timestamp - self._begin) / TICK_SAMPLES)
        return index if 0 <= index <= self._sent + _GAP_PACKETS_MAX else None

    def handle_timer(self, now: float) -> list[DownMessage]:
        """Call every 20 ms. Returns: the end of an utterance whose microphone has fallen silent."""
        return self._end() if now - self._received_at > LIVE_SILENCE_S else []

    def _end(self) -> list[DownMessage]:
        if self._begin is None:
            return []
        self._begin = None
        return [SpeechEnd(utterance_id=self.utterance_id, packets=self._sent)]
