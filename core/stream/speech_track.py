"""The character's voice on the track: which 20 ms of which utterance play at which media time.

Packets arrive from the origin ahead of time, in order, through a bus that may lose the oldest under overload. A lost
packet becomes 20 ms of silence (the mouth goes on), a late one is waited for (the clock of the utterance stands still),
though not for ever, an utterance that was cut stays cut whatever still arrives of it. An utterance whose end was lost
ends where the next one begins.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from core.errors import Dropped
from core.limits import LOG_MEL_BANDS, SPEECH_QUEUE_PACKETS_MAX, SPEECH_STALL_S_MAX, TICK_S, TICK_SAMPLES
from core.speech.messages import SpeechPacket

__all__ = ["Placed", "SpeechTrack", "TrackState", "UtteranceState"]

_TAIL_TICKS: Final = 8
"""Ticks for which an utterance's clock runs on after its last packet, so that the mouth closes as it was meant to."""
_STALL_TICKS_MAX: Final = round(SPEECH_STALL_S_MAX / TICK_S)
_SILENT_LOG_MEL: Final = bytes(LOG_MEL_BANDS)
_SEGMENTS_MAX: Final = 64
"""Contiguous pieces of past speech that can still be looked up."""


class Placed(msgspec.Struct, gc=False):
    """One tick of an utterance on the track.

    Attributes:
        utterance_id: which utterance.
        ticks: utterance position of this tick's first sample.
        opus: the voice; b"" where it was lost or is over (the tail).
        log_mel: its log-mel frame or b"".
        arrived_at: monotonic seconds of the packet's arrival, 0.0 without one.
        first: the utterance begins with this tick.
    """

    utterance_id: int
    ticks: int
    opus: bytes = b""
    log_mel: bytes = b""
    arrived_at: float = 0.0
    first: bool = False


class _Segment(msgspec.Struct, gc=False):
    utterance_id: int
    media_time: int
    ticks: int
    count: int


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    """A packet that waits, and when it came (monotonic seconds). Nothing here can be part of a cycle, and a collector
    that need not look at all that waits at a POP keeps phases in time."""

    packet: SpeechPacket
    arrived_at: float


class _Utterance:
    __slots__ = ("filling", "heard", "lead", "log_mel", "next_index", "packets", "total", "utterance_id")

    def __init__(self, utterance_id: int) -> None:
        self.utterance_id = utterance_id
        self.packets: dict[int, _Waiting] = {}
        self.next_index = 0
        self.total: int | None = None
        self.lead = 0
        """Packets that have to follow the one with which it begins, or goes on after it ran dry."""
        self.filling = True
        self.heard = 0
        """Index of the first frame of log-mel that nobody asked for yet."""
        self.log_mel = _SILENT_LOG_MEL
        """The newest frame that was given."""

    def save(self, *, packets: bool = True) -> UtteranceState:
        waiting = [(index, item.packet.opus, item.packet.log_mel) for index, item in self.packets.items()]
        return UtteranceState(
            self.utterance_id,
            self.next_index,
            self.total,
            self.lead,
            self.filling,
            self.heard,
            self.log_mel,
            waiting if packets else [],
        )

    @classmethod
    def load(cls, state: UtteranceState, now: float) -> _Utterance:
        utterance = cls(state.utterance_id)
        utterance.next_index, utterance.total, utterance.lead = state.next_index, state.total, state.lead
        utterance.filling, utterance.heard, utterance.log_mel = state.filling, state.heard, state.log_mel
        for index, opus, log_mel in state.packets:
            packet = SpeechPacket(utterance_id=state.utterance_id, index=index, opus=opus, log_mel=log_mel)
            utterance.packets[index] = _Waiting(packet, now)
        return utterance

    def starves(self) -> bool:
        """Whether nothing of it may play now."""
        if not self.packets:
            self.filling = True
        elif self.total is not None or len(self.packets) > self.lead:
            self.filling = False
        return self.filling


class UtteranceState(msgspec.Struct, frozen=True, array_like=True):
    """An utterance that is not over: see `_Utterance`. `packets`: index, Opus, log-mel; their phonemes are known to
    the animator."""

    utterance_id: int
    next_index: int
    total: int | None
    lead: int
    filling: bool
    heard: int
    log_mel: bytes
    packets: list[tuple[int, bytes, bytes]]


class TrackState(msgspec.Struct, frozen=True, array_like=True):
    """Everything a `SpeechTrack` knows."""

    utterances: list[UtteranceState]
    cancelled_through: int
    tail: tuple[int, int, int] | None
    sounding: tuple[UtteranceState, int, bytes] | None
    segments: list[tuple[int, int, int, int]]
    stalled_ticks: int


class SpeechTrack:
    """See the module docstring.

    Attributes:
        underruns: ticks on which an unfinished utterance had nothing to play.
        holes: packets that never came.
    """

    __slots__ = (
        "_cancelled_through", "_segments", "_sounding", "_stalled_ticks", "_tail", "_utterances", "holes", "underruns",
    )  # fmt: skip

    def __init__(self) -> None:
        self._utterances: deque[_Utterance] = deque()
        self._cancelled_through = 0
        self._tail: tuple[int, int, int] | None = None  # utterance id, next ticks, ticks left
        self._sounding: tuple[_Utterance, int, bytes] | None = None  # what was popped last: index, log-mel
        self._segments: deque[_Segment] = deque(maxlen=_SEGMENTS_MAX)
        self._stalled_ticks = 0
        self.underruns = 0
        self.holes = 0

    @property
    def active(self) -> bool:
        """An utterance is playing or waits to play."""
        return bool(self._utterances)

    @property
    def stalled_at(self) -> int | None:
        """Media time at which the voice stopped because nothing more of it was there; None: it has not."""
        if not self._stalled_ticks or not self._segments:
            return None
        newest = self._segments[-1]
        return newest.media_time + newest.count * TICK_SAMPLES

    @property
    def current_utterance_id(self) -> int:
        """The utterance that plays now, 0 when none has begun."""
        if self._utterances and self._utterances[0].next_index > 0:
            return self._utterances[0].utterance_id
        return 0

    @property
    def latest_utterance_id(self) -> int:
        """The newest utterance that is not over, 0 when there is none."""
        return self._utterances[-1].utterance_id if self._utterances else 0

    @property
    def queued_packets(self) -> int:
        """Packets that wait."""
        queued = 0
        for utterance in self._utterances:
            queued += len(utterance.packets)
        return queued

    def start(self, utterance_id: int, first: int = 0) -> Dropped | None:
        """A new utterance begins; ids must increase. `first`: packets before this one never come."""
        newest = self._utterances[-1].utterance_id if self._utterances else 0
        if utterance_id <= max(newest, self._cancelled_through):
            return Dropped("old-utterance")
        if self._utterances and self._utterances[-1].total is None:
            former = self._utterances[-1]
            self.end(former.utterance_id, max(former.next_index, max(former.packets, default=-1) + 1))
        utterance = _Utterance(utterance_id)
        utterance.next_index = utterance.heard = max(0, first)
        self._utterances.append(utterance)
        return None

    def push(self, packet: SpeechPacket, now: float) -> Dropped | None:
        """One packet has arrived. Dropped reasons: `cut-utterance`, `unknown-utterance`, `late`,
        `too-far-ahead`, `duplicate`, `queue-full`."""
        if packet.utterance_id <= self._cancelled_through:
            return Dropped("cut-utterance")
        utterances, utterance_id = self._utterances, packet.utterance_id
        for utterance in utterances:
            if utterance.utterance_id == utterance_id:
                break
        else:
            return Dropped("unknown-utterance")
        index, packets = packet.index, utterance.packets
        if index < utterance.next_index:
            return Dropped("late")
        if index >= utterance.next_index + SPEECH_QUEUE_PACKETS_MAX:
            return Dropped("too-far-ahead")
        if index in packets:
            return Dropped("duplicate")
        if (len(packets) if len(utterances) == 1 else self.queued_packets) >= SPEECH_QUEUE_PACKETS_MAX:
            return Dropped("queue-full")
        packets[index] = _Waiting(packet, now)
        return None

    def hold(self, utterance_id: int, packets: int) -> None:
        """The utterance comes as it is spoken: it begins, and goes on after it ran dry, when so many packets follow the
        next one. So they can be heard ahead, and what comes a little late is no gap."""
        for utterance in self._utterances:
            if utterance.utterance_id == utterance_id:
                utterance.lead = packets

    def end(self, utterance_id: int, packets: int) -> None:
        """The utterance has `packets` packets in all."""
        for utterance in self._utterances:
            if utterance.utterance_id == utterance_id:
                utterance.total = max(0, packets)
                if utterance.total == 0:
                    self._utterances.remove(utterance)
                return

    def close_newest(self) -> tuple[int, int]:
        """Whoever sent the newest utterance is gone: what is there of it without a gap is all of it.

        Returns: its id and how many packets it has; 0 and 0 when no utterance was incomplete.
        """
        if not self._utterances or self._utterances[-1].total is not None:
            return 0, 0
        utterance = self._utterances[-1]
        packets = utterance.next_index
        while packets in utterance.packets:
            packets += 1
        self.end(utterance.utterance_id, packets)
        return utterance.utterance_id, packets

    def is_cancelled(self, utterance_id: int) -> bool:
        """The utterance was cut: nothing of it will play any more."""
        return utterance_id <= self._cancelled_through

    def cancel(self, through: int) -> None:
        """Forget every utterance up to and including `through`; what still arrives of them is dropped."""
        self._cancelled_through = max(self._cancelled_through, through)
        while self._utterances and self._utterances[0].utterance_id <= self._cancelled_through:
            self._utterances.popleft()
            self._stalled_ticks = 0
        if self._tail is not None and self._tail[0] <= self._cancelled_through:
            self._tail = None
        if self._sounding is not None and self._sounding[0].utterance_id <= self._cancelled_through:
            self._sounding = None

    def next_opus(self, utterance_id: int) -> bytes:
        """The voice that `pop` would give next if it is this utterance's; b"" where there is none (yet)."""
        if not self._utterances or self._utterances[0].utterance_id != utterance_id:
            return b""
        utterance = self._utterances[0]
        item = None if utterance.starves() else utterance.packets.get(utterance.next_index)
        return item.packet.opus if item else b""

    def hear(self, ahead: int) -> bytes:
        """The sound of what was popped last and of what follows it, as an animator that looks ahead wants to hear it.

        Args:
            ahead: frames after the popped one.
        Returns: log-mel, LOG_MEL_BANDS bytes per frame, of all frames through `ahead` that no call gave before, in
            order: usually one, more where an utterance begins, none where its clock stands still. Past its end there is
            the next one, if that is there already, or silence; for a packet that is late or lost the frame before it
            stands in.
        """
        if self._sounding is None:
            return b""
        utterance, index, log_mel = self._sounding
        if utterance.heard == index + ahead:  # the usual case
            item = utterance.packets.get(index + ahead)
            if item is not None and len(item.packet.log_mel) == LOG_MEL_BANDS:
                utterance.heard += 1
                utterance.log_mel = log_mel = item.packet.log_mel
                return log_mel
        frames: list[bytes] = []
        for number in range(max(utterance.heard, index), index + ahead + 1):
            if number > index:
                log_mel = self._log_mel(utterance, number)
            if len(log_mel) == LOG_MEL_BANDS:
                utterance.log_mel = log_mel
            frames.append(utterance.log_mel)
        utterance.heard = max(utterance.heard, index + ahead + 1)
        return b"".join(frames)

    def _log_mel(self, utterance: _Utterance, index: int) -> bytes:
        """What a frame that has not played sounds like: of an utterance, or of what follows it; b"": nobody knows."""
        item = utterance.packets.get(index)
        if item is not None:
            return item.packet.log_mel
        if utterance.total is None or index < utterance.total:
            return b""
        later = self._following(utterance)
        item = later.packets.get(index - utterance.total) if later is not None else None
        if later is None or item is None:
            return _SILENT_LOG_MEL
        later.heard, later.log_mel = max(later.heard, index - utterance.total + 1), item.packet.log_mel or later.log_mel
        return item.packet.log_mel

    def _following(self, utterance: _Utterance) -> _Utterance | None:
        """The utterance that begins when this one ends; None: a pause does."""
        place = 1 if self._utterances and self._utterances[0] is utterance else 0
        later = self._utterances[place] if len(self._utterances) > place else None
        return later if later is not None and not later.starves() else None

    def pop(self, media_time: int) -> Placed | None:
        """What plays at this media time (ticks, strictly increasing from call to call); None = silence."""
        if not self._utterances:
            return self._pop_tail()
        utterance = self._utterances[0]
        index, total = utterance.next_index, utterance.total
        if total is not None and index >= total:  # its end was announced only after its last packet had left
            return self._finish(utterance, index * TICK_SAMPLES)
        if utterance.starves():
            if total is None and self._stalled_ticks < _STALL_TICKS_MAX:
                self._stalled_ticks += 1
                if index > 0:
                    self.underruns += 1
                    return Placed(utterance.utterance_id, index * TICK_SAMPLES)
                return self._pop_tail()
            if total is not None:
                self.holes += total - index
            return self._finish(utterance, index * TICK_SAMPLES)
        self._tail = None
        self._stalled_ticks = 0
        utterance.next_index = index + 1
        ticks = index * TICK_SAMPLES
        self._place(utterance.utterance_id, media_time, ticks)
        if index + 1 == total:
            self._utterances.popleft()
            self._tail = (utterance.utterance_id, ticks + TICK_SAMPLES, _TAIL_TICKS)
        item = utterance.packets.pop(index, None)
        if item is None:
            self.holes += 1
            self._sounding = utterance, index, b""
            return Placed(utterance.utterance_id, ticks, first=index == 0)
        packet = item.packet
        self._sounding = utterance, index, packet.log_mel
        return Placed(utterance.utterance_id, ticks, packet.opus, packet.log_mel, item.arrived_at, index == 0)

    def save(self) -> TrackState:
        """All of it, for another POP that goes on with it."""
        sounding = self._sounding
        over = sounding is not None and sounding[0] not in self._utterances
        return TrackState(
            utterances=[utterance.save() for utterance in self._utterances],
            cancelled_through=self._cancelled_through,
            tail=self._tail,
            sounding=None if sounding is None else (sounding[0].save(packets=over), sounding[1], sounding[2]),
            segments=[(piece.utterance_id, piece.media_time, piece.ticks, piece.count) for piece in self._segments],
            stalled_ticks=self._stalled_ticks,
        )

    def load(self, state: TrackState, now: float) -> None:
        """Go on where another track was. Args: now: monotonic seconds, taken for the arrival of what waits."""
        self._utterances = deque(_Utterance.load(saved, now) for saved in state.utterances)
        self._cancelled_through, self._tail = state.cancelled_through, state.tail
        self._segments = deque((_Segment(*piece) for piece in state.segments), maxlen=_SEGMENTS_MAX)
        self._stalled_ticks = state.stalled_ticks
        self._sounding = None
        if state.sounding is not None:
            saved, index, log_mel = state.sounding
            first = self._utterances[0] if self._utterances else None
            playing = first is not None and first.utterance_id == saved.utterance_id
            self._sounding = (first if playing and first else _Utterance.load(saved, now)), index, log_mel

    def _finish(self, utterance: _Utterance, ticks: int) -> Placed:
        self._utterances.popleft()
        self._stalled_ticks = 0
        utterance.total = ticks // TICK_SAMPLES
        self._tail = (utterance.utterance_id, ticks + TICK_SAMPLES, _TAIL_TICKS - 1)
        self._sounding = utterance, ticks // TICK_SAMPLES, _SILENT_LOG_MEL
        return Placed(utterance_id=utterance.utterance_id, ticks=ticks)

    def _pop_tail(self) -> Placed | None:
        if self._tail is None:
            self._sounding = None
            return None
        utterance_id, ticks, left = self._tail
        self._tail = (utterance_id, ticks + TICK_SAMPLES, left - 1) if left > 1 else None
        if self._sounding is not None:
            self._sounding = self._sounding[0], ticks // TICK_SAMPLES, _SILENT_LOG_MEL
        return Placed(utterance_id=utterance_id, ticks=ticks)

    def _place(self, utterance_id: int, media_time: int, ticks: int) -> None:
        if self._segments:
            segment = self._segments[-1]
            length = segment.count * TICK_SAMPLES
            if (
                segment.utterance_id == utterance_id
                and segment.media_time + length == media_time
                and segment.ticks + length == ticks
            ):
                segment.count += 1
                return
        self._segments.append(_Segment(utterance_id, media_time, ticks, 1))

    def start_of(self, utterance_id: int) -> int | None:
        """Media time at which utterance tick 0 plays or would have played, by its newest piece; None if unknown."""
        for segment in reversed(self._segments):
            if segment.utterance_id == utterance_id:
                return segment.media_time - segment.ticks
        return None

    def heard_until(self, utterance_id: int, media_time: int) -> int:
        """Ticks of the utterance that lie before `media_time` on the track (0 when none do)."""
        heard = 0
        for segment in self._segments:
            if segment.utterance_id == utterance_id and segment.media_time < media_time:
                heard = segment.ticks + min(media_time - segment.media_time, segment.count * TICK_SAMPLES)
        return heard
