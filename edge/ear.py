"""The ear: microphone packets in, what the user does out. The edge listens itself, so that nothing waits.

Silence costs nothing: a packet whose RFC 6464 level is near the room's noise is not decoded. What is decoded is judged
in windows of 10 ms (energy) and 32 ms (Silero). Its events are reversible; the origin alone ends a turn.

The character's own voice comes back through loudspeakers. The ear is told what is played and takes a sound for the
user's only where it is louder than that echo can be (`edge.ear_echo`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from core.limits import MEDIA_CLOCK_HZ, TICK_SAMPLES
from edge.ear_echo import EchoTest
from edge.ear_ending import EndingFeatures, EndingModel, load_ending_model
from edge.ear_endpoint import HOP_S, SpeechEnergy
from edge.ear_sound import MicrophoneDecoder, level_decibels
from edge.inference import VAD_SAMPLE_RATE_HZ, VAD_WINDOW_SAMPLES, VadState, VoiceActivity
from edge.transports.link import MicrophoneUnit

__all__ = ["Ear", "EarEvent", "EarKind", "Listening"]

EarKind = Literal["started", "paused", "resumed", "duck", "cut", "release"]
"""started/resumed: the user speaks; paused: seems to have stopped; duck/cut/release: stages of a barge-in."""


@dataclass(frozen=True, slots=True)
class EarEvent:
    """Something the ear noticed.

    Attributes:
        kind: see EarKind.
        timestamp: unwrapped 48 kHz microphone media time at which it happened (before the ear noticed).
    """

    kind: EarKind
    timestamp: int


Listening = Generator[NDArray[np.float32], float, list[EarEvent]]
"""An ear at work: yields windows (float32[512] at 16 kHz), is sent the probability of speech of each."""
_Steps = Generator[NDArray[np.float32], float, None]

_NOTHING: Final = np.zeros(0, np.float32)
_HOP_SAMPLES: Final = round(HOP_S * VAD_SAMPLE_RATE_HZ)
_TICKS_PER_SAMPLE: Final = MEDIA_CLOCK_HZ // VAD_SAMPLE_RATE_HZ
_SPEECH_PROBABILITY: Final = 0.5
_GATE_ABOVE_FLOOR_DB: Final = 4.0
_GATE_MIN_DB: Final = -75.0
"""Quieter packets are never decoded, whatever the room's noise."""
_GATE_HANGOVER_PACKETS: Final = 15
_DTX_BYTES: Final = 3
"""A shorter packet is a discontinuous transmission's comfort noise, or nothing."""
_JUDGED_WINDOWS: Final = range(8, 13)
"""Quiet windows after which a pause is judged: before, it may be a stop (p, t, k); after, nothing new is learnt."""
_END_PROBABILITY: Final = 0.447
"""19 of 20 ends are likelier than this (`python -m loadtests.bench ear`)."""
_PAUSE_WINDOWS_MAX: Final = 55
"""After this long even an unlikely end is one; mostly the origin has said so before."""
_SHORT_S: Final = 0.5
"""A single word ("Hello, …", "Stop.") sounds the same whether more follows or not: only time tells."""
_ONSET_S: Final = 0.02
_UTTERANCE_GAP_S: Final = 1.5
"""Sound after a longer silence is a new utterance, not the old one resumed."""
_DUCK_S: Final = 0.02
_CUT_S: Final = 0.09
_CUT_PROBABILITY: Final = 0.4
_CUT_GAP_S: Final = 0.08
"""A stop inside the first syllable does not save the character from being cut."""
_RELEASE_S: Final = 0.30
_LOST_S: Final = 0.12
"""Packets that stay away this long in the middle of speech count as silence: a sender with DTX stops sending."""
_GAP_SAMPLES_MAX: Final = VAD_SAMPLE_RATE_HZ // 5


class Ear:
    """One session's ear.

    Args:
        vad: the shared model.
        decode: makes sound of packets; None: a decoder of its own.
        ending: tells ends from pauses; None: the one in edge/models.

    Attributes:
        level: loudness of the user now, 0 to 1, for the listening face.
        speaking: the user speaks, as far as was told.
        decoded: packets that were decoded.
        skipped: packets that were not, because they were silent.
    """

    def __init__(
        self,
        vad: VoiceActivity,
        decode: Callable[[bytes], NDArray[np.float32]] | None = None,
        ending: EndingModel | None = None,
    ) -> None:
        self.level = 0.0
        self.speaking = False
        self.decoded = 0
        self.skipped = 0
        self.probability = 0.0
        self._vad = vad
        self._vad_state = VadState()
        self._decode = decode if decode is not None else MicrophoneDecoder().decode
        self._ending = ending if ending is not None else load_ending_model()
        self._said = EndingFeatures()
        self._energy = SpeechEnergy()
        self._echo = EchoTest()
        self._gate_floor_db = -70.0
        self._gate_packets = 0
        self._pending = _NOTHING
        self._rest = _NOTHING
        self._next_timestamp: int | None = None
        self._received_at = 0.0
        self._paused_at: int | None = None
        self._onset: int | None = None
        self._started_at = 0
        self._barge = ""
        self._barge_onset = 0

    # --- what comes in -------------------------------------------------------------------------------------------

    def played(self, log_mel: bytes | NDArray[np.uint8], now: float) -> None:
        """The character's voice, as it is sent.

        Args:
            log_mel: 40 bytes of one 20 ms packet (core.speech.features).
            now: monotonic seconds.
        """
        self._echo.played(np.frombuffer(log_mel, np.uint8) if isinstance(log_mel, bytes) else log_mel, now)

    @property
    def vad_state(self) -> VadState:
        """What the voice model remembers of this microphone."""
        return self._vad_state

    def receive(self, unit: MicrophoneUnit, now: float) -> list[EarEvent]:
        """One microphone packet, heard alone.

        Returns: what happened, in order of time.
        """
        return self._alone(self.listen(unit, now))

    def listen(self, unit: MicrophoneUnit, now: float) -> Listening:
        """One microphone packet, in steps: asks for the probability of speech of each window, in order."""
        self._received_at = now
        expected = self._next_timestamp
        if expected is not None and unit.timestamp < expected:
            return []  # late: its place has been judged without it
        events: list[EarEvent] = []
        if expected is not None and unit.timestamp > expected:
            yield from self._silence(
                min((unit.timestamp - expected) // _TICKS_PER_SAMPLE, _GAP_SAMPLES_MAX), expected, now, events
            )
        if self._silent(unit):
            self.skipped += 1
            self._echo.silent(now)
            self._next_timestamp = unit.timestamp + TICK_SAMPLES
            yield from self._silence(TICK_SAMPLES // _TICKS_PER_SAMPLE, unit.timestamp, now, events)
            return events
        sound = self._decode(unit.payload)
        self.decoded += 1
        self._next_timestamp = unit.timestamp + max(len(sound) * _TICKS_PER_SAMPLE, TICK_SAMPLES)
        yield from self._hear(sound, unit.timestamp, now, events)
        return events

    def _alone(self, listening: Listening) -> list[EarEvent]:
        try:
            window = next(listening)
            while True:
                window = listening.send(float(self._vad.run([self._vad_state], window[None])[0]))
        except StopIteration as done:
            events: list[EarEvent] = done.value
            return events

    def handle_timer(self, now: float) -> list[EarEvent]:
        """Call every tick: a microphone that stopped sending in the middle of speech is silence too."""
        if not (self.speaking or self._barge) or self._next_timestamp is None or now - self._received_at <= _LOST_S:
            return []
        return self._alone(self._lost(self._next_timestamp, now))

    def _lost(self, start: int, now: float) -> Listening:
        events: list[EarEvent] = []
        samples = int((now - self._received_at) * VAD_SAMPLE_RATE_HZ)
        self._received_at = now
        yield from self._silence(min(samples, _GAP_SAMPLES_MAX), start, now, events)
        return events

    # --- gate ----------------------------------------------------------------------------------------------------

    def _silent(self, unit: MicrophoneUnit) -> bool:
        """Whether the packet needs no decoding."""
        if len(unit.payload) <= _DTX_BYTES:
            return True
        if unit.level_dbov is None:
            return False
        level_db = -float(unit.level_dbov)
        if level_db < self._gate_floor_db:
            self._gate_floor_db += 0.3 * (max(level_db, -90.0) - self._gate_floor_db)
        elif not self.speaking:
            self._gate_floor_db = min(level_db, self._gate_floor_db + 0.06)
        if level_db > max(self._gate_floor_db + _GATE_ABOVE_FLOOR_DB, _GATE_MIN_DB):
            self._gate_packets = _GATE_HANGOVER_PACKETS
        elif self._gate_packets > 0:
            self._gate_packets -= 1
        return self._gate_packets == 0

    # --- listening -----------------------------------------------------------------------------------------------

    def _silence(self, samples: int, timestamp: int, now: float, events: list[EarEvent]) -> _Steps:
        """Sound that was not sent or not decoded."""
        if not self.speaking and not self._barge and self._onset is None:
            self._forget_sound()
            return
        yield from self._hear(np.zeros(samples, np.float32), timestamp, now, events)

    def _forget_sound(self) -> None:
        if len(self._pending) or self.probability:
            self._pending = _NOTHING
            self._vad_state.reset()
            self.probability = 0.0
        self._rest = _NOTHING
        self.level = 0.0

    def _hear(self, sound: NDArray[np.float32], timestamp: int, now: float, events: list[EarEvent]) -> _Steps:
        yield from self._judge_voice(sound)
        user = self._echo.user_is_heard(sound, now)
        whole = np.concatenate((self._rest, sound)) if len(self._rest) else sound
        start = timestamp - len(self._rest) * _TICKS_PER_SAMPLE
        hops = len(whole) // _HOP_SAMPLES
        for index in range(hops):
            window = whole[index * _HOP_SAMPLES : (index + 1) * _HOP_SAMPLES]
            level_db = level_decibels(window)
            self._said.push(window, level_db)
            self._window(level_db, start + index * _HOP_SAMPLES * _TICKS_PER_SAMPLE, user, events)
        self._rest = whole[hops * _HOP_SAMPLES :]
        if self.speaking:
            self._may_end(start + (hops - 1) * _HOP_SAMPLES * _TICKS_PER_SAMPLE, events)

    def _judge_voice(self, sound: NDArray[np.float32]) -> _Steps:
        self._pending = np.concatenate((self._pending, sound))
        while len(self._pending) >= VAD_WINDOW_SAMPLES:
            window = self._pending[:VAD_WINDOW_SAMPLES]
            self._pending = self._pending[VAD_WINDOW_SAMPLES:]
            self.probability = yield window
            self._said.push_probability(self.probability)

    def _window(self, level_db: float, timestamp: int, user: bool, events: list[EarEvent]) -> None:
        """One 10 ms window that starts at `timestamp`."""
        energy = self._energy
        quiet = energy.push(level_db, speaking=self.speaking, user=user)
        self.level += 0.3 * (min(1.0, max(0.0, (level_db + 60.0) / 45.0)) - self.level)
        heard = not quiet and user
        self._barge_in(heard, timestamp, events)
        if self.speaking:
            return
        if heard:
            self._may_start(timestamp, events)
        else:
            self._onset = None if energy.quiet_windows > 5 else self._onset

    def _may_start(self, timestamp: int, events: list[EarEvent]) -> None:
        if self._onset is None:
            self._onset = timestamp
        if self._barge == "duck":
            return  # over the character's voice only what cuts it counts as the user's speech
        if self._energy.loud_windows * HOP_S < _ONSET_S or self.probability < _SPEECH_PROBABILITY:
            return
        paused_at = self._paused_at
        resumed = paused_at is not None and timestamp - paused_at < _UTTERANCE_GAP_S * MEDIA_CLOCK_HZ
        if not resumed:
            self._energy.begin()
            self._started_at = self._onset
        events.append(EarEvent("resumed" if resumed else "started", self._onset))
        self.speaking = True
        self._onset = None

    def _may_end(self, timestamp: int, events: list[EarEvent]) -> None:
        """Once per packet; `timestamp` is that of the newest window."""
        quiet = self._energy.quiet_windows
        if quiet < _JUDGED_WINDOWS.start:
            return
        started_at = timestamp - round((quiet - 1) * HOP_S * MEDIA_CLOCK_HZ)
        spoken_s = (started_at - self._started_at) / MEDIA_CLOCK_HZ
        if quiet < _PAUSE_WINDOWS_MAX:
            if quiet not in _JUDGED_WINDOWS or spoken_s < _SHORT_S:
                return
            energy = self._energy
            features = self._said.describe(
                quiet_windows=quiet, peak_db=energy.peak_db, floor_db=energy.floor_db, spoken_s=spoken_s
            )
            if self._ending.probability(features) < _END_PROBABILITY:
                return
        self.speaking = False
        self._paused_at = started_at
        self._onset = None
        events.append(EarEvent("paused", started_at))

    def _barge_in(self, heard: bool, timestamp: int, events: list[EarEvent]) -> None:
        """Duck at the first sign while the character speaks, cut when it lasts and is a voice, else let go."""
        if not self._barge:
            if heard and self._echo.active and self._energy.loud_windows * HOP_S >= _DUCK_S:
                self._barge = "duck"
                self._barge_onset = timestamp - round((_DUCK_S - HOP_S) * MEDIA_CLOCK_HZ)
                events.append(EarEvent("duck", self._barge_onset))
            return
        lasted_s = (timestamp - self._barge_onset) / MEDIA_CLOCK_HZ
        voiced = self.probability >= _CUT_PROBABILITY and self._energy.quiet_windows * HOP_S < _CUT_GAP_S
        if self._barge == "duck" and voiced and lasted_s >= _CUT_S:
            self._barge = "cut"
            events.append(EarEvent("cut", self._barge_onset))
        elif self._barge == "duck" and lasted_s >= _RELEASE_S and not heard:
            self._barge = ""
            events.append(EarEvent("release", timestamp))
        elif self._barge == "cut" and not self._echo.active:
            self._barge = ""
