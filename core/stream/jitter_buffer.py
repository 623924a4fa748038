"""Our own playout of sound: an adaptive jitter buffer, and the audio clock that motion follows. Sans-IO.

Where the browser's NetEQ plays the sound this is not used. Packets come in with arrival times; blocks come out with the
exact times at which the sound card begins them. What a block's time says is what counts as audible.

The buffer holds as much as nearly all packets were late lately; where forward error correction is busy, as much as
every packet that it brought back. It gets there by stretching or shortening what it plays: silence by up to a quarter,
voice by up to a twentieth (whoever renders it keeps the pitch). When nothing
has come, the clock runs on over concealment, so that sound and motion stay where they belong and what comes too late
is dropped. Only when everything stays late is the clock set back.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

from core.errors import Dropped
from core.limits import JITTER_BUFFER_PACKETS_MAX, PLAYOUT_DELAY_MS_MAX, PTIME_MS
from core.stream.playhead import TICKS_PER_MS

__all__ = ["Block", "JitterBuffer"]

_DELAY_MS_FIRST: Final = 40.0
_DELAY_MS_MIN: Final = 20.0
_MARGIN_MS: Final = 10.0
_LATENESS_MS_WINDOW: Final = 5_000.0
_LATENESS_QUANTILE: Final = 0.98
_REPAIRS_AWAITED_FROM: Final = 5
"""So many repairs within the window, more than one run of losses needs, and each of them is worth waiting for."""
_STRETCH_SILENCE: Final = 0.25
_STRETCH_VOICE: Final = 0.05
_LATE_IN_A_ROW: Final = 5
"""So many late packets without one in time mean that the path has become slower for good."""
_AHEAD_MS_MAX: Final = 5_000.0
"""A media time further away than this is absurd."""
_ABSURD_IN_A_ROW: Final = 5
"""So many absurd ones without another are a new clock: the track went on elsewhere."""


@dataclass(frozen=True, slots=True)
class Block:
    """One packet's turn at the sound card.

    Attributes:
        at_ms: when its first sample is audible.
        ticks: unwrapped 48 kHz media time of that sample.
        duration_ticks: media time that it covers.
        length_ms: how long it plays: its duration, stretched or shortened.
        payload: the Opus packet; None where it must be concealed.
    """

    at_ms: float
    ticks: int
    duration_ticks: int
    length_ms: float
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    payload: bytes
    duration_ticks: int
    silent: bool


class JitterBuffer:
    """See the module docstring.

    Args:
        delay_ms_max: the most that packets wait; repairs that come later are useless.

    Attributes:
        dropped: packets of no use, by reason: `late`, `duplicate`, `overflow`, `absurd`.
        concealed: blocks that were missing.
    """

    def __init__(self, *, delay_ms_max: float = PLAYOUT_DELAY_MS_MAX) -> None:
        self.dropped: Counter[str] = Counter()
        self.concealed = 0
        self._delay_ms_max = delay_ms_max
        self._waiting: dict[int, _Waiting] = {}
        self._next_ticks = 0
        self._next_at_ms: float | None = None
        self._last: Block | None = None
        self._lateness: deque[tuple[float, float, bool]] = deque(maxlen=JITTER_BUFFER_PACKETS_MAX)
        self._late_in_a_row = 0
        self._absurd_in_a_row = 0

    @property
    def waiting(self) -> int:
        """Packets that wait for their turn."""
        return len(self._waiting)

    @property
    def target_ms(self) -> float:
        """How long the quickest packet lately ought to wait."""
        if not self._lateness:
            return _DELAY_MS_FIRST
        ordered = sorted(late for _, late, _ in self._lateness)
        latest = ordered[min(len(ordered) - 1, int(len(ordered) * _LATENESS_QUANTILE))]
        repairs = [late for _, late, repaired in self._lateness if repaired]
        if len(repairs) >= _REPAIRS_AWAITED_FROM:
            latest = max(latest, *repairs)
        return min(self._delay_ms_max, max(_DELAY_MS_MIN, latest - ordered[0] + _MARGIN_MS))

    @property
    def delay_ms(self) -> float:
        """How long the quickest packet lately waits; 0 before the first."""
        if self._next_at_ms is None:
            return 0.0
        return self._next_at_ms - self._next_ticks / TICKS_PER_MS - min(late for _, late, _ in self._lateness)

    def push(
        self,
        payload: bytes,
        ticks: int,
        duration_ticks: int,
        *,
        silent: bool,
        arrival_ms: float,
        repaired: bool = False,
    ) -> Dropped | None:
        """A packet has come. Call `advance(arrival_ms)` first.

        Args:
            ticks: unwrapped media time of its first sample.
            duration_ticks: above 0.
            silent: nobody's voice is in it.
            arrival_ms: local monotonic time, never decreasing.
            repaired: it came back by forward error correction; such a packet never sets the clock.
        Returns: why it will not be played, if so; counted in `dropped`.
        """
        late = arrival_ms - ticks / TICKS_PER_MS
        if self._next_at_ms is None:
            if repaired:
                return self._drop("late")
            self._anchor(ticks, arrival_ms + _DELAY_MS_FIRST)
        elif abs(ticks - self._next_ticks) > _AHEAD_MS_MAX * TICKS_PER_MS:
            self._absurd_in_a_row += not repaired
            if repaired or self._absurd_in_a_row < _ABSURD_IN_A_ROW:
                return self._drop("absurd")
            self._restart(ticks, arrival_ms)
        self._absurd_in_a_row = 0
        self._observe(arrival_ms, late, repaired)
        if ticks < self._next_ticks:
            self._late_in_a_row += not repaired
            if self._late_in_a_row < _LATE_IN_A_ROW:
                return self._drop("late")
            self._restart(ticks, arrival_ms)
            self._observe(arrival_ms, late, repaired)
        elif not repaired:
            self._late_in_a_row = 0
        if ticks in self._waiting:
            return self._drop("duplicate")
        if len(self._waiting) >= JITTER_BUFFER_PACKETS_MAX:
            return self._drop("overflow")
        self._waiting[ticks] = _Waiting(payload, duration_ticks, silent)
        return None

    def advance(self, now_ms: float) -> list[Block]:
        """The blocks whose turn has come by `now_ms`, in order, each with the time at which it really began."""
        blocks: list[Block] = []
        while self._next_at_ms is not None and self._next_at_ms <= now_ms:
            if not self._waiting and now_ms - self._next_at_ms > _AHEAD_MS_MAX:
                self._skip(now_ms)
            blocks.append(self._play(self._next_at_ms))
        return blocks

    def position(self, now_ms: float) -> float | None:
        """Media ticks audible at `now_ms` (after `advance(now_ms)`); None before the first packet's turn."""
        last = self._last
        if last is None:
            return None
        part = min(1.0, max(0.0, (now_ms - last.at_ms) / last.length_ms))
        return last.ticks + part * last.duration_ticks

    def _anchor(self, ticks: int, at_ms: float) -> None:
        self._next_ticks, self._next_at_ms = ticks, at_ms
        self._late_in_a_row = 0

    def _restart(self, ticks: int, arrival_ms: float) -> None:
        """Nothing that is known fits this packet: begin with it."""
        self._waiting.clear()
        self._lateness.clear()
        self._anchor(ticks, arrival_ms + _DELAY_MS_FIRST)

    def _observe(self, arrival_ms: float, late: float, repaired: bool) -> None:
        self._lateness.append((arrival_ms, late, repaired))
        while self._lateness[0][0] < arrival_ms - _LATENESS_MS_WINDOW:
            self._lateness.popleft()

    def _skip(self, now_ms: float) -> None:
        """Nothing has come for long: do not conceal it block by block."""
        whole = int((now_ms - (self._next_at_ms or 0.0)) / PTIME_MS)
        self._next_ticks += whole * PTIME_MS * TICKS_PER_MS
        self._next_at_ms = (self._next_at_ms or 0.0) + whole * PTIME_MS

    def _play(self, at_ms: float) -> Block:
        found = self._waiting.pop(self._next_ticks, None)
        if found is None:
            gap = min(self._waiting, default=self._next_ticks + PTIME_MS * TICKS_PER_MS) - self._next_ticks
            duration, payload, stretch = min(PTIME_MS * TICKS_PER_MS, gap), None, 0.0
            self.concealed += 1
        else:
            duration, payload = found.duration_ticks, found.payload
            stretch = _STRETCH_SILENCE if found.silent else _STRETCH_VOICE
        length = duration / TICKS_PER_MS
        most = min(length, PTIME_MS) * stretch
        length += max(-most, min(most, self.target_ms - self.delay_ms))
        block = Block(at_ms, self._next_ticks, duration, length, payload)
        self._next_ticks += duration
        self._next_at_ms = at_ms + length
        for overlapped in [ticks for ticks in self._waiting if ticks < self._next_ticks]:
            del self._waiting[overlapped]
            self.dropped["late"] += 1
        self._last = block
        return block

    def _drop(self, reason: str) -> Dropped:
        self.dropped[reason] += 1
        return Dropped(reason)
