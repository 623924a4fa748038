"""What an agent has sent and nobody has spoken yet: utterances in order, bounded in number and in seconds of sound."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import RemoteProtocolError
from core.limits import AGENT_SOUND_S_MAX, AGENT_SPANS_MAX, AGENT_UTTERANCES_MAX, MEDIA_CLOCK_HZ

__all__ = ["Inbox", "Incoming", "Sound"]


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of 16-bit PCM and how long it lasts."""

    audio: bytes
    rate_hz: int
    channels: int

    @property
    def ticks(self) -> int:
        """Its length on the 48 kHz clock."""
        return len(self.audio) * MEDIA_CLOCK_HZ // (2 * self.channels * self.rate_hz)


@dataclass(slots=True)
class Incoming:
    """One utterance on its way in.

    Attributes:
        name: the agent's own.
        ticks: sound that came so far.
        ended: no more will come.
        dropped: nobody wants it any more.
        utterance_id: once it is being spoken, 0 before.
        tell: what else was said about it before it was spoken, to be done when that begins.
        warned: the agent knows that what it says comes too late.
        spans: words and phonemes that came so far.
        phonetic: the agent says itself how its words sound.
        pronouncing: texts of it whose phonemes are being looked for.
    """

    name: str
    ticks: int = 0
    ended: bool = False
    dropped: bool = False
    utterance_id: int = 0
    tell: list[Callable[[], None]] = field(default_factory=list)
    warned: bool = False
    spans: int = 0
    phonetic: bool = False
    pronouncing: int = 0
    _items: deque[Sound | str] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, item: Sound | str) -> None:
        """More sound, or the text of the sound that follows."""
        if isinstance(item, Sound):
            self.ticks += item.ticks
        self._items.append(item)
        self._changed.set()

    def count(self, spans: int) -> None:
        """So many words or phonemes more. Raises: RemoteProtocolError: `flood`."""
        self.spans += spans
        if self.spans > AGENT_SPANS_MAX:
            raise RemoteProtocolError("flood", f"An utterance has at most {AGENT_SPANS_MAX} words and phonemes.")

    def end(self) -> None:
        """No more will come."""
        self.ended = True
        self._changed.set()

    def drop(self) -> int:
        """Forget it. Returns: the ticks of sound that it still held."""
        self.dropped = True
        left = sum(item.ticks for item in self._items if isinstance(item, Sound))
        self._items.clear()
        self._changed.set()
        return left

    def pronounced(self) -> None:
        """The phonemes of one text are there."""
        self.pronouncing -= 1
        self._changed.set()

    async def news(self) -> None:
        """Wait until anything about it changes."""
        self._changed.clear()
        await self._changed.wait()

    async def pop(self, stall_s: float) -> Sound | str | None:
        """The next piece; None at its end. Raises: TimeoutError: nothing came for so long."""
        while not self._items:
            if self.ended or self.dropped:
                return None
            async with asyncio.timeout(stall_s):
                await self.news()
        return self._items.popleft()


class Inbox:
    """Of one session. Raises where a bound is passed: RemoteProtocolError `flood`."""

    def __init__(self) -> None:
        self._waiting: deque[Incoming] = deque()
        self._arrived = asyncio.Event()
        self._ticks = 0
        self._speaking: Incoming | None = None
        self.newest: Incoming | None = None

    def begin(self, name: str) -> Incoming:
        """A new utterance; the one before it has ended."""
        if len(self._waiting) >= AGENT_UTTERANCES_MAX:
            raise RemoteProtocolError("flood", f"More than {AGENT_UTTERANCES_MAX} utterances wait to be spoken.")
        self.end()
        self.newest = Incoming(name)
        self._waiting.append(self.newest)
        self._arrived.set()
        return self.newest

    @property
    def open(self) -> Incoming | None:
        """The utterance whose sound is coming in."""
        newest = self.newest
        return None if newest is None or newest.ended or newest.dropped else newest

    @property
    def idle(self) -> bool:
        """Nothing waits to be spoken."""
        return not self._waiting

    def push(self, sound: Sound) -> None:
        """More sound of the open utterance."""
        assert self.open is not None
        if self._ticks + sound.ticks > AGENT_SOUND_S_MAX * MEDIA_CLOCK_HZ:
            raise RemoteProtocolError(
                "flood", f"More than {AGENT_SOUND_S_MAX:.0f} s of sound wait to be spoken; follow the playout events."
            )
        self._ticks += sound.ticks
        self.open.push(sound)

    def end(self) -> None:
        """The open utterance is complete."""
        if self.open is not None:
            self.open.end()

    def clear(self) -> None:
        """Forget everything that waits, and the rest of what is being spoken."""
        for incoming in (*self._waiting, *([] if self._speaking is None else [self._speaking])):
            self._ticks -= incoming.drop()
        self._waiting.clear()

    async def next(self) -> Incoming:
        """The next utterance to speak, when there is one."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        self._speaking = self._waiting.popleft()
        return self._speaking

    async def pop(self, incoming: Incoming, stall_s: float) -> Sound | str | None:
        """See Incoming.pop."""
        item = await incoming.pop(stall_s)
        if isinstance(item, Sound):
            self._ticks -= item.ticks
        return item
