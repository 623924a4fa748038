"""The microphone's way through the POP: the ear listens here, the packets go on to the origin untouched.

Only while somebody speaks, and a little before and after: a silent microphone costs the fabric nothing. A microphone
with discontinuous transmission stops sending when it hears nothing; the origin still has to hear that silence to end
the turn, so the pauses of an open gate are filled with silent packets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from core.errors import RemoteProtocolError
from core.limits import (
    MEDIA_CLOCK_HZ,
    MICROPHONE_HANGOVER_S,
    MICROPHONE_PREROLL_PACKETS,
    TICK_S,
    TICK_SAMPLES,
)
from core.speech.messages import MicrophonePacket, UpMessage
from core.wire.opus_padding import duration_samples, silence
from edge.ear import Ear, EarEvent
from edge.inference import VoiceActivity
from edge.listening import ListeningRound
from edge.transports.link import MicrophoneUnit

__all__ = ["Hearing", "HearingFactory"]

_SILENT_PACKET: Final = silence(1)
_FILL_AFTER_S: Final = 3 * TICK_S
"""A packet that is this late was not sent: two packets of network jitter are still waited for."""


class HearingFactory:
    """Makes the hearing of each session around one voice activity model.

    Args:
        later: see ListeningRound.
    """

    def __init__(self, later: Callable[[Callable[[], None]], object]) -> None:
        self._vad = VoiceActivity()
        self._round = ListeningRound(self._vad, later)

    def __call__(self, send_up: Callable[[UpMessage], None]) -> Hearing:
        """One session's hearing; `send_up` takes what goes to the origin."""
        return Hearing(ear=Ear(self._vad), listening_round=self._round, send_up=send_up)


class Hearing:
    """One session's microphone.

    Args:
        ear: judges what is heard.
        listening_round: in which the ear's packets take part.
        send_up: takes what goes to the origin.
    """

    def __init__(self, *, ear: Ear, listening_round: ListeningRound, send_up: Callable[[UpMessage], None]) -> None:
        self._ear = ear
        self._round = listening_round
        self._send_up = send_up
        self._preroll: deque[MicrophoneUnit] = deque(maxlen=MICROPHONE_PREROLL_PACKETS)
        self._open_until = 0.0
        self._next_timestamp: int | None = None
        self._received_at = 0.0
        self._filled = 0

    @property
    def level(self) -> float:
        """Loudness of the user now, 0 to 1."""
        return self._ear.level

    @property
    def speaking(self) -> bool:
        """The user speaks, as far as the ear knows."""
        return self._ear.speaking

    def receive(
        self, unit: MicrophoneUnit, now: float, tell: Callable[[EarEvent], None], fail: Callable[[], None]
    ) -> None:
        """One packet.

        Args:
            tell: told what the ear notices, soon.
            fail: called instead when the ear breaks.
        """

        def heard(events: list[EarEvent]) -> None:
            self._pass_on(unit, now)
            for event in events:
                tell(event)

        self._round.add(self._ear, unit, now, heard, fail)

    def _pass_on(self, unit: MicrophoneUnit, now: float) -> None:
        self._received_at = now
        self._filled = 0
        if self._listening(now):
            while self._preroll:
                self._forward(self._preroll.popleft())
            self._forward(unit)
        else:
            self._preroll.append(unit)
            self._next_timestamp = None

    def tick(self, now: float) -> list[EarEvent]:
        """Call every 20 ms. Returns: what the ear noticed when nothing came."""
        events = self._ear.handle_timer(now)
        late_s = now - self._received_at
        if self._next_timestamp is not None and late_s > _FILL_AFTER_S and self._listening(now):
            while self._filled < int(late_s / TICK_S) - 1:  # the newest one may still be on its way
                self._send_up(MicrophonePacket(opus=_SILENT_PACKET, timestamp=self._next_timestamp))
                self._next_timestamp += TICK_SAMPLES
                self._filled += 1
        return events

    def played(self, log_mel: bytes, now: float) -> None:
        """20 ms of the character's voice leave now: the ear must not take their echo for the user."""
        self._ear.played(log_mel, now)

    def _listening(self, now: float) -> bool:
        if self._ear.speaking:
            self._open_until = now + MICROPHONE_HANGOVER_S
        return now < self._open_until

    def _forward(self, unit: MicrophoneUnit) -> None:
        if self._next_timestamp is not None:
            ahead = self._next_timestamp - unit.timestamp
            if 0 < ahead <= MEDIA_CLOCK_HZ:
                return  # silence went in its place already
        try:
            samples = duration_samples(unit.payload)
        except RemoteProtocolError:
            return  # not Opus: nobody could decode it
        self._send_up(MicrophonePacket(opus=unit.payload, timestamp=unit.timestamp))
        self._next_timestamp = unit.timestamp + samples
