"""What the viewer has heard of the character: what an interruption cuts, and what the origin is told of it."""

from __future__ import annotations

import math

from core.limits import PLAYOUT_REPORT_S
from core.speech.messages import Playout
from core.stream.playout_position import PlayoutPosition
from core.stream.speech_track import Placed, SpeechTrack

__all__ = ["Heard"]


class Heard:
    """Of one session.

    Args:
        track: the voice on the track, which knows what of it lies where.

    All `sent` are media times up to which the track was sent, all `now` monotonic seconds.
    """

    def __init__(self, track: SpeechTrack) -> None:
        self._track = track
        self._playout = PlayoutPosition()
        self._last: Placed | None = None
        self._voice_until = 0
        self._reported_at = -math.inf

    @property
    def utterance_id(self) -> int:
        """The utterance whose voice was sent last and may not all be heard; 0 = none."""
        return self._last.utterance_id if self._last is not None else 0

    @property
    def voice(self) -> tuple[int, int]:
        """The utterance whose voice was sent last, 0 = none, and the media time at which it ends."""
        return self.utterance_id, self._voice_until

    def go_on(self, utterance_id: int, voice_until: int) -> None:
        """Another POP has sent that; see `voice`."""
        self._last = Placed(utterance_id, 0) if utterance_id else None
        self._voice_until = voice_until

    def sent(self, placed: Placed, until: int) -> None:
        """A piece of voice was sent that ends at media time `until`."""
        self._last = placed
        self._voice_until = until

    def report(self, rtp_timestamp: int, *, sent: int, now: float) -> bool:
        """The viewer says what is audible. Returns: False when that is absurd and was ignored."""
        return self._playout.report(rtp_timestamp, sent=sent, now=now)

    def audible(self, *, sent: int, now: float) -> int:
        """Media time that is audible now."""
        return self._playout.audible(sent=sent, now=now)

    def latency_s(self, *, sent: int, now: float) -> float | None:
        """Seconds from sending a media time to hearing it; None before the first report."""
        return self._playout.latency_s(sent=sent, now=now)

    def progress(self, *, sent: int, now: float, speaking: bool) -> Playout | None:
        """What the origin should be told now: every limits.PLAYOUT_REPORT_S while something is heard, and its end once.

        Args:
            speaking: more voice follows.
        """
        if self._last is None or now - self._reported_at < PLAYOUT_REPORT_S:
            return None
        self._reported_at = now
        utterance_id = self._last.utterance_id
        audible = self.audible(sent=sent, now=now)
        if not speaking and audible >= self._voice_until:
            self._last = None  # the viewer has heard it all
        return Playout(utterance_id=utterance_id, heard_until=self._track.heard_until(utterance_id, audible))

    def interrupted(self, *, sent: int, now: float) -> tuple[int, int]:
        """What an interruption now cuts. Returns: the utterance, 0 when none is audible or under way to the viewer, and
        how many ticks of it were heard."""
        utterance_id = self._track.current_utterance_id
        audible = self.audible(sent=sent, now=now)
        if not utterance_id and self._last is not None and audible < self._voice_until:
            utterance_id = self._last.utterance_id  # all of it was sent, but the viewer still hears it
        return utterance_id, self._track.heard_until(utterance_id, audible) if utterance_id else 0
