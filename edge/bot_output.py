"""RTVI 2's `bot-output`: each clause, what of it has been spoken, and when it is over. No socket, no clock.

A clause is a segment: `new` before it sounds, `in-progress` with each of its words as the viewer hears it, `completed`
with its last one. Words must be heard in the order in which they were announced.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.limits import WORDS_PENDING_MAX

__all__ = ["BotOutput"]

_Send = Callable[[Mapping[str, Any]], None]


@dataclass(slots=True)
class _Segment:
    number: int
    text: str
    words_left: int
    spoken: int = 0
    """Characters of the text."""


class BotOutput:
    """One viewer's segments.

    Args:
        keep: sends what a viewer without a link must be told later; takes the content of a `bot-output`.
        send: sends what is of no use later.
    """

    def __init__(self, *, keep: _Send, send: _Send) -> None:
        self._keep = keep
        self._send = send
        self._segments: deque[_Segment] = deque(maxlen=WORDS_PENDING_MAX)
        self._count = 0

    def clause(self, text: str, words: int) -> None:
        """A clause was announced.

        Args:
            text: all of it.
            words: how many words `word` will be called for; 0 where the voice gives no times: it stays `new`.
        """
        self._count += 1
        segment = _Segment(self._count, text, words)
        if words:
            self._segments.append(segment)
        self._keep(_content(segment, "new"))

    def word(self, text: str, *, heard: bool = True) -> None:
        """The next word. Heard, or passed over because its utterance never sounded."""
        if not self._segments:
            return
        segment = self._segments[0]
        found = segment.text.find(text, segment.spoken)
        if found >= 0:
            segment.spoken = found + len(text)
        segment.words_left -= 1
        if not segment.words_left:
            self._segments.popleft()
            segment.spoken = len(segment.text)
        if heard:
            self._send(_content(segment, "in-progress" if segment.words_left else "completed"))

    def cut(self) -> None:
        """The voice was cut: nothing announced so far goes on."""
        self._segments.clear()


def _content(segment: _Segment, status: str) -> Mapping[str, Any]:
    return {
        "text": segment.text,
        "output_type": "sentence",
        "aggregated_by": "sentence",
        "segment_id": segment.number,
        "will_be_spoken": True,
        "spoken_status": status,
        "spoken_progress": {
            "accumulated_text": segment.text[: segment.spoken],
            "remaining_text": segment.text[segment.spoken :],
        },
    }
