"""A session's voice on its way to the POP: any 16-bit sound becomes 20 ms packets with phonemes and log-mel, paced.

Whoever speaks uses it: the dialogue's pipeline (`voice_output.py`) and somebody else's program (`origin.agent`).
Packets leave at most SPEECH_AHEAD_S_MAX ahead of real time; the first ones at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from core.limits import (
    ESTIMATED_AHEAD_S_MAX,
    MEDIA_CLOCK_HZ,
    PHONEMES_PER_PACKET_MAX,
    SPEECH_AHEAD_S_MAX,
    TICK_S,
    TICK_SAMPLES,
)
from core.speech.features import LogMelStream
from core.speech.messages import (
    DownMessage,
    PhonemeSpan,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    WordSpan,
)
from origin.dialogue.heard import SpokenUtterance, Utterances
from origin.dialogue.live_times import LiveTimes
from origin.dialogue.opus_voice import VoiceEncoder, VoiceEncoding

__all__ = ["OutgoingVoice"]

_Samples = npt.NDArray[np.int16]
_BURST_PACKETS: Final = 8
"""After so many packets in a row other sessions get their turn."""
_PIECE_S: Final = 0.2
"""Sound is prepared in pieces of this length: a minute at once would keep everybody else waiting."""


@dataclass(slots=True)
class _LiveClause:
    """A clause whose times become better.

    Attributes:
        number: of its utterance's clauses.
        start: its tick 0 on the utterance's clock.
        times: as they are known by now.
        waiting: its phonemes that no packet has taken yet, in order, each with its place among the clause's sounds.
        sent: how many of its sounds have left; whatever becomes known later, they are not sent again.
    """

    number: int
    start: int
    times: LiveTimes
    waiting: deque[tuple[int, PhonemeSpan]] = field(default_factory=deque)
    sent: int = 0


class _Open:
    """The utterance that is being sent."""

    def __init__(self, spoken: SpokenUtterance, encoding: VoiceEncoding, now: float) -> None:
        self.spoken = spoken
        self.encoder = VoiceEncoder(encoding)
        self.delay = self.encoder.delay_samples
        self.mel = LogMelStream(MEDIA_CLOCK_HZ)
        # What the decoder puts out first is the encoder's delay: the mouth must wait for the voice as well.
        self.mel_frames: deque[bytes] = deque()
        self.push_mel(np.zeros(self.delay, np.int16))
        self.pcm = np.zeros(0, np.int16)
        self.packets = 0
        self.phonemes: deque[PhonemeSpan] = deque()
        self.live: _LiveClause | None = None
        self.due = now
        self.untimed = False
        self._part = b""
        self._resampler: soxr.ResampleStream | None = None
        self._rate_hz = MEDIA_CLOCK_HZ

    def push(self, audio: bytes, rate_hz: int, channels: int) -> None:
        """More sound; what is no whole sample of all channels yet waits for its rest."""
        audio = self._part + audio
        whole = len(audio) - len(audio) % (2 * channels)
        self._part = audio[whole:]
        pcm = np.frombuffer(audio[:whole], "<i2")
        if channels > 1:
            pcm = (pcm.reshape(-1, channels).astype(np.int32).sum(axis=1) // channels).astype(np.int16)
        if rate_hz != self._rate_hz:
            self.flush()
            self._rate_hz = rate_hz
            if rate_hz != MEDIA_CLOCK_HZ:
                self._resampler = soxr.ResampleStream(rate_hz, MEDIA_CLOCK_HZ, 1, dtype="int16")
        if self._resampler is not None:
            pcm = np.asarray(self._resampler.resample_chunk(pcm), np.int16)
        self._add(pcm)

    def flush(self) -> None:
        """What the resampler still holds: the last milliseconds of a sound at another rate."""
        resampler, self._resampler = self._resampler, None
        self._rate_hz = MEDIA_CLOCK_HZ
        if resampler is not None:
            self._add(np.asarray(resampler.resample_chunk(np.zeros(0, np.int16), last=True), np.int16))

    def pad(self) -> None:
        """The end: silence up to a whole packet, and so much that the encoder gives out what it holds."""
        rest = len(self.pcm) + self.delay
        self._add(np.zeros(-rest % TICK_SAMPLES + self.delay, np.int16))

    def _add(self, pcm: _Samples) -> None:
        self.push_mel(pcm)
        self.pcm = np.concatenate([self.pcm, pcm])

    def push_mel(self, pcm: _Samples) -> None:
        self.mel_frames.extend(frame.tobytes() for frame in self.mel.push(pcm.astype(np.float32) / 32768.0))

    @property
    def settled(self) -> bool:
        """The phonemes of the next packet will not be known any better."""
        live = self.live
        return live is None or (self.packets + 1) * TICK_SAMPLES <= live.start + live.times.settled_until

    @property
    def end(self) -> int:
        """The tick after everything that came in so far."""
        return self.packets * TICK_SAMPLES + len(self.pcm) + self.delay


class OutgoingVoice:
    """See the module.

    Args:
        utterances: of the session.
        send: publishes to the POP; never blocks.
        bitrate_bps: of the Opus voice, where the link does not ask for less.
        on_first_packet: told when the first packet of an utterance has left.
        now: monotonic seconds.
    """

    def __init__(
        self,
        utterances: Utterances,
        send: Callable[[DownMessage], None],
        bitrate_bps: int,
        *,
        on_first_packet: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._utterances = utterances
        self._publish = send
        self._bitrate_bps = bitrate_bps
        self._encoding = VoiceEncoding(bitrate_bps)
        self._on_first_packet = on_first_packet
        self._now = now
        self._open: _Open | None = None

    @property
    def speaking(self) -> SpokenUtterance | None:
        """The utterance that is being sent."""
        return None if self._open is None else self._open.spoken

    def follow(self, encoding: VoiceEncoding) -> None:
        """The viewer's link asks for this; it counts from the next pause on."""
        self._encoding = replace(encoding, bitrate_bps=min(encoding.bitrate_bps, self._bitrate_bps))
        if self._open is not None:
            self._open.encoder.follow(self._encoding)

    def begin(self, turn_id: int) -> SpokenUtterance:
        """Begin an utterance; the one that is being sent goes on if there is one."""
        if self._open is None:
            spoken = self._utterances.begin(turn_id)
            self._open = _Open(spoken, self._encoding, self._now())
            self._publish(SpeechStart(utterance_id=spoken.id, turn_id=spoken.turn_id))
        return self._open.spoken

    def say(self, text: str, words: tuple[WordSpan, ...] = (), phonemes: tuple[PhonemeSpan, ...] = ()) -> None:
        """A clause whose sound follows what came so far.

        Args:
            words, phonemes: on the clause's own clock; none: they are unknown, and it lasts until the next one.
        """
        current = self._current()
        self._settle(current)
        start = current.end
        words = _words_from(words, start)
        current.phonemes.extend(
            PhonemeSpan(span.symbol, span.start + start, span.end + start, span.stress) for span in phonemes
        )
        current.spoken.add(text, start, words[-1].end if words else start, words)
        current.untimed = not words
        self._publish(ReplyText(utterance_id=current.spoken.id, text=text, words=words))

    def say_live(self, text: str, live: LiveTimes) -> None:
        """A clause whose sound follows what came so far and whose times become better: what has not left yet follows
        them, and so does what is known to have been heard."""
        current = self._current()
        self._settle(current)
        start = current.end
        words = _words_from(live.words, start)
        number = current.spoken.add(text, start, words[-1].end if words else start, words)
        clause = _LiveClause(number, start, live)
        current.untimed = True
        current.live = clause
        self._publish(ReplyText(utterance_id=current.spoken.id, text=text, words=words))
        live.follow(lambda: self._revise(current, clause))
        self._revise(current, clause)

    def _revise(self, current: _Open, clause: _LiveClause) -> None:
        live = clause.times
        if live.words:
            current.spoken.retime(clause.number, _words_from(live.words, clause.start))
        if self._open is not current or current.live is not clause:
            return  # all of it has left
        # What has left is not audible yet: its sounds come in time as long as their packets wait at the POP.
        ahead = round(max(0.0, current.due - self._now()) * MEDIA_CLOCK_HZ)
        audible = current.packets * TICK_SAMPLES - ahead
        clause.waiting.clear()
        sounds = 0
        for span in live.phonemes:
            start, end = span.start + clause.start, span.end + clause.start
            if sounds >= clause.sent and end > audible:
                clause.waiting.append((sounds, PhonemeSpan(span.symbol, start, end, span.stress)))
            sounds += bool(span.symbol)

    def _settle(self, current: _Open) -> None:
        """The next clause begins: what the last one has left over goes on as it is."""
        clause, current.live = current.live, None
        if clause is not None:
            current.phonemes.extend(span for _, span in clause.waiting)

    def say_at(self, words: tuple[WordSpan, ...]) -> None:
        """Words anywhere in the utterance, on the clock of its sound."""
        current = self._current()
        words = _words_from(words, current.delay)
        text = " ".join(word.text for word in words)
        current.spoken.add(text, words[0].start, words[-1].end, words)
        current.untimed = False
        self._publish(ReplyText(utterance_id=current.spoken.id, text=text, words=words))

    def place(self, phonemes: Iterable[PhonemeSpan]) -> int:
        """Phonemes anywhere in the utterance, on the clock of its sound. What was sent already is left out.

        Returns: how many came too late.
        """
        current = self._current()
        sent = current.packets * TICK_SAMPLES
        late = 0
        spans = list(current.phonemes)
        for span in phonemes:
            start, end = span.start + current.delay, span.end + current.delay
            if end <= sent:
                late += 1
            else:
                spans.append(PhonemeSpan(span.symbol, max(start, sent), end, span.stress))
        current.phonemes = deque(sorted(spans, key=lambda span: span.start))
        return late

    async def sound(self, audio: bytes, rate_hz: int, channels: int = 1) -> None:
        """More sound; waits while it is too far ahead, and forgets the rest if the utterance is silenced meanwhile.

        Args:
            audio: 16-bit little-endian PCM, channels interleaved; may end within a sample.
            rate_hz: of one channel.
        """
        current = self._current()
        piece = round(_PIECE_S * rate_hz) * 2 * channels
        for offset in range(0, len(audio), piece):
            current.push(audio[offset : offset + piece], rate_hz, channels)
            if current.untimed:
                current.spoken.stretch(current.end)
            await self._send_whole_packets(current)
            if self._open is not current:
                return

    async def finish(self) -> SpokenUtterance | None:
        """The utterance is complete: the rest of its sound, and what the encoder still holds.

        Returns: it; None when there is none or it was silenced meanwhile.
        """
        current = self._open
        if current is None:
            return None
        current.flush()
        if current.untimed:
            current.spoken.stretch(current.end)
        current.pad()
        await self._send_whole_packets(current)
        if self._open is not current:
            return None
        self._open = None
        current.spoken.complete = True
        self._publish(SpeechEnd(utterance_id=current.spoken.id, packets=current.packets))
        return current.spoken

    def silence(self) -> SpokenUtterance | None:
        """Forget everything that is not audible yet. Returns: the utterance that was cut, None when none was."""
        current, self._open = self._open, None
        utterance = current.spoken if current is not None else self._utterances.newest_unheard()
        if utterance is not None:
            utterance.cut = True
            self._publish(SpeechCancel(utterance_id=utterance.id))
        return utterance

    # --- packets -----------------------------------------------------------------------------------------------

    def _current(self) -> _Open:
        assert self._open is not None, "begin() comes first"
        return self._open

    async def _send_whole_packets(self, current: _Open) -> None:
        while len(current.pcm) >= TICK_SAMPLES:
            await self._pace(current)
            if self._open is not current:
                return  # interrupted meanwhile
            packet, current.pcm = current.pcm[:TICK_SAMPLES], current.pcm[TICK_SAMPLES:]
            self._send(current, packet)

    async def _pace(self, current: _Open) -> None:
        """Wait until the next packet is at most SPEECH_AHEAD_S_MAX ahead of real time."""
        now = self._now()
        ahead_s_max = SPEECH_AHEAD_S_MAX if current.settled else ESTIMATED_AHEAD_S_MAX
        # A language model that paused has used up what was ahead; the rest is not sent as a burst to catch up.
        current.due = max(current.due, now)
        ahead_s = current.due - now
        if ahead_s > ahead_s_max - TICK_S:
            await asyncio.sleep(ahead_s - (ahead_s_max - TICK_S))
        elif current.packets % _BURST_PACKETS == _BURST_PACKETS - 1:
            await asyncio.sleep(0)
        current.due += TICK_S

    def _send(self, current: _Open, pcm: _Samples) -> None:
        opus = current.encoder.encode(pcm)
        until = (current.packets + 1) * TICK_SAMPLES
        phonemes: list[PhonemeSpan] = []
        while current.phonemes and current.phonemes[0].start < until and len(phonemes) < PHONEMES_PER_PACKET_MAX:
            phonemes.append(current.phonemes.popleft())
        live = current.live
        while live and live.waiting and live.waiting[0][1].start < until and len(phonemes) < PHONEMES_PER_PACKET_MAX:
            number, span = live.waiting.popleft()
            live.sent = number + bool(span.symbol)
            phonemes.append(span)
        self._publish(
            SpeechPacket(
                utterance_id=current.spoken.id,
                index=current.packets,
                opus=opus,
                phonemes=tuple(phonemes),
                log_mel=current.mel_frames.popleft() if current.mel_frames else b"",
            )
        )
        if not current.packets:
            self._on_first_packet()
        current.packets += 1


def _words_from(words: Iterable[WordSpan], start: int) -> tuple[WordSpan, ...]:
    """On a clock that began `start` ticks earlier."""
    return tuple(WordSpan(word.text, word.start + start, word.end + start) for word in words)
