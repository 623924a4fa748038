"""What a session has sent and its viewer may not have heard: sent again when the viewer comes back at another POP.

A POP that dies takes with it the second of speech that lay there, and what the viewer has heard since it last said so.
The POP that goes on knows nothing; it gets the utterance from where the viewer was heard to be.
"""

from __future__ import annotations

from collections import deque

from core.limits import SPEECH_QUEUE_PACKETS_MAX, TICK_SAMPLES
from core.speech.messages import (
    DownMessage,
    Playout,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    WordSpan,
)

__all__ = ["SentAgain"]

_WORDS_MAX = 1_000


class _Utterance:
    def __init__(self, start: SpeechStart) -> None:
        self.start = start
        self.packets: deque[SpeechPacket] = deque(maxlen=SPEECH_QUEUE_PACKETS_MAX)
        self.words: deque[WordSpan] = deque(maxlen=_WORDS_MAX)
        self.end: SpeechEnd | None = None
        self.heard_until = 0

    @property
    def first(self) -> int:
        """Index of the packet that the viewer hears now or next, as far as is known."""
        return self.heard_until // TICK_SAMPLES

    def hear(self, until: int) -> None:
        """What was heard is not kept; but for one packet, which shows that the utterance has begun."""
        self.heard_until = max(self.heard_until, until)
        while len(self.packets) > 1 and self.packets[0].index < self.first:
            self.packets.popleft()
        while self.words and self.words[0].end <= self.first * TICK_SAMPLES:
            self.words.popleft()


class SentAgain:
    """Of one session: its newest utterance."""

    def __init__(self) -> None:
        self._utterance: _Utterance | None = None

    def sent(self, message: DownMessage) -> None:
        """The origin said this."""
        if isinstance(message, SpeechStart):
            self._utterance = _Utterance(message)
        utterance = self._utterance
        if utterance is None or getattr(message, "utterance_id", None) != utterance.start.utterance_id:
            return
        match message:
            case SpeechPacket():
                utterance.packets.append(message)
            case ReplyText():
                utterance.words.extend(message.words)
            case SpeechEnd():
                utterance.end = message
            case SpeechCancel():
                self._utterance = None
            case _:
                pass

    def heard(self, playout: Playout) -> None:
        """The viewer has heard this much."""
        utterance = self._utterance
        if utterance is not None and playout.utterance_id == utterance.start.utterance_id:
            utterance.hear(playout.heard_until)

    def rest(self) -> list[DownMessage]:
        """What the viewer has not heard of the newest utterance, as it was sent but for its beginning; nothing when it
        was heard to its end."""
        utterance = self._utterance
        if utterance is None or not utterance.packets:
            return []
        utterance_id = utterance.start.utterance_id
        first = max(utterance.first, utterance.packets[0].index)
        packets = [packet for packet in utterance.packets if packet.index >= first]
        if utterance.end is not None and first >= utterance.end.packets:
            return []
        words = tuple(word for word in utterance.words if word.end > first * TICK_SAMPLES)
        again: list[DownMessage] = [
            SpeechStart(utterance_id=utterance_id, turn_id=utterance.start.turn_id, first=first)
        ]
        if words:
            again.append(ReplyText(utterance_id=utterance_id, text="", words=words))
        again += packets
        if utterance.end is not None:
            again.append(utterance.end)
        return again
