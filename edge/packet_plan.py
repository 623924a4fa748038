"""Which ticks of a session share its next packet: voice that is there already, silence, or an idle face."""

from __future__ import annotations

from collections import deque

from core.errors import RemoteProtocolError
from core.limits import IDLE_FRAMES_PER_PACKET, TICK_SAMPLES, VOICE_PACKET_SIZE_BYTES_MAX
from core.stream.speech_track import Placed, SpeechTrack
from core.wire.opus_merge import can_merge
from core.wire.opus_padding import duration_samples

__all__ = ["PacketPlan", "is_voice"]


class PacketPlan:
    """The track's timeline, tick by tick. A packet leaves at the start of what it covers; the ticks after it pass.

    Args:
        track: the voice.

    Attributes:
        media_time: unwrapped 48 kHz ticks of the tick that is served now.
        placed: what the track says of that tick; None = silence.
        voice: the pieces of voice in its packet; none = silence.
        ticks: how many ticks its packet covers.
    """

    def __init__(self, track: SpeechTrack) -> None:
        self.media_time = 0
        self.placed: Placed | None = None
        self.voice: list[Placed] = []
        self.ticks = 1
        self._track = track
        self._covered: deque[Placed | None] = deque()

    @property
    def covered(self) -> bool:
        """This tick is in a packet that has left."""
        return bool(self._covered)

    @property
    def covered_ticks(self) -> int:
        """Ticks from now on that are in a packet which has left."""
        return len(self._covered)

    def go_on(self, media_time: int, covered: int) -> None:
        """Another POP has served the ticks before this one, and sent `covered` ticks from here on."""
        self.media_time = media_time
        self._covered = deque([None] * min(max(0, covered), IDLE_FRAMES_PER_PACKET))

    @property
    def idle(self) -> bool:
        """The packet is that of an idle face."""
        return self.ticks == IDLE_FRAMES_PER_PACKET

    def pass_tick(self) -> Placed | None:
        """A tick passes without a packet. Returns: the voice of it, in a packet that has left."""
        self.media_time += TICK_SAMPLES
        return self._covered.popleft() if self._covered else None

    def pass_unsent(self) -> None:
        """A tick passes whose packet another POP has sent."""
        if self.covered:
            self.pass_tick()
        else:
            self.begin()
            self.leave()

    def begin(self) -> Placed | None:
        """A tick that needs a packet: `placed`."""
        self.placed = self._track.pop(self.media_time)
        self.voice = [self.placed] if self.placed is not None and self.placed.opus else []
        self.ticks = 1
        return self.placed

    def extend(self, ticks_max: int, *, quiet: bool, idle: bool) -> None:
        """How far its packet goes.

        Args:
            ticks_max: most ticks of voice in a packet; fewer where the next are not there yet.
            quiet: nothing will be said at once, so that silence may be as long.
            idle: the face rests: limits.IDLE_FRAMES_PER_PACKET.
        """
        if self.voice:
            first = self.voice[0]
            size = len(first.opus)
            while self.ticks < ticks_max:
                opus = self._track.next_opus(first.utterance_id)
                size += len(opus)
                if not can_merge(first.opus, opus) or size > VOICE_PACKET_SIZE_BYTES_MAX:
                    break
                following = self._track.pop(self.media_time + self.ticks * TICK_SAMPLES)
                assert following is not None
                self.voice.append(following)
                self.ticks += 1
        elif self.placed is None and quiet:
            self.ticks = IDLE_FRAMES_PER_PACKET if idle else min(ticks_max, IDLE_FRAMES_PER_PACKET - 1)

    @property
    def end(self) -> int:
        """Media time at which the packet ends."""
        return self.media_time + self.ticks * TICK_SAMPLES

    def leave(self) -> None:
        """The packet has left."""
        self._covered.extend(self.voice[1:] if self.voice else [None] * (self.ticks - 1))
        self.media_time += TICK_SAMPLES


def is_voice(opus: bytes) -> bool:
    """One tick of Opus that fits into a packet: what else an origin sends would take the track's time apart."""
    try:
        return len(opus) <= VOICE_PACKET_SIZE_BYTES_MAX and duration_samples(opus) == TICK_SAMPLES
    except RemoteProtocolError:
        return False
