"""The pipeline's last processor: sound becomes 20 ms Opus packets with their phonemes and log-mel, paced.

One answer is one utterance: its clauses follow each other without a gap in the packet indices, so that the POP places
it once on the track. Packets leave at most SPEECH_AHEAD_S_MAX ahead of real time; the first ones at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soxr
from pipecat.frames.frames import (
    AggregatedTextFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from core.limits import MEDIA_CLOCK_HZ, PHONEMES_PER_PACKET_MAX, SPEECH_AHEAD_S_MAX, TICK_S, TICK_SAMPLES
from core.speech.features import LogMelStream
from core.speech.messages import (
    Fault,
    Mood,
    PhonemeSpan,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    WordSpan,
)
from origin.dialogue.frames import ClauseTimesFrame, FaultFrame, MoodFrame
from origin.dialogue.heard import SpokenUtterance
from origin.dialogue.opus_voice import VoiceEncoder, VoiceEncoding
from origin.dialogue.state import DialogueState

__all__ = ["VoiceOutput"]

_Samples = npt.NDArray[np.int16]
_BURST_PACKETS: Final = 8
"""After so many packets in a row other sessions get their turn."""


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
        self.due = now
        self.untimed = False
        self._resampler: soxr.ResampleStream | None = None

    def resample(self, pcm: _Samples, rate_hz: int) -> _Samples:
        """To the media clock, continuously over the chunks of a service that speaks at another rate."""
        if self._resampler is None:
            self._resampler = soxr.ResampleStream(rate_hz, MEDIA_CLOCK_HZ, 1, dtype="int16")
        return np.asarray(self._resampler.resample_chunk(pcm), np.int16)

    def push_mel(self, pcm: _Samples) -> None:
        self.mel_frames.extend(frame.tobytes() for frame in self.mel.push(pcm.astype(np.float32) / 32768.0))

    @property
    def end(self) -> int:
        """The tick after everything that came in so far."""
        return self.packets * TICK_SAMPLES + len(self.pcm) + self.delay


class VoiceOutput(FrameProcessor):
    """See the module.

    Args:
        state: shared with the conversation; it learns here what was said and heard.
        bitrate_bps: of the Opus voice, where the link does not ask for less.
    """

    def __init__(self, state: DialogueState, bitrate_bps: int) -> None:
        super().__init__()
        self._state = state
        self._bitrate_bps = bitrate_bps
        self._encoding = VoiceEncoding(bitrate_bps)
        self._open: _Open | None = None
        self._announced = ""
        self._silenced = False
        self._mood: tuple[str, float, float] | None = None
        self._messages: dict[int, dict[str, Any]] = {}

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            match frame:
                case TTSAudioRawFrame() | ClauseTimesFrame() | LLMFullResponseEndFrame() if self._silenced:
                    pass  # of the answer that was interrupted
                case TTSAudioRawFrame():
                    await self._sound(frame)
                case ClauseTimesFrame():
                    self._clause(frame.text, frame.words, frame.phonemes)
                case AggregatedTextFrame() if frame.will_be_spoken:
                    self._announced = frame.text
                case MoodFrame():
                    self._feel(frame)
                case FaultFrame():
                    self._state.send(Fault(code=frame.code, message=frame.message))
                case LLMFullResponseEndFrame():
                    await self._finish()
                case InterruptionFrame():
                    self.silence()
                    self._silenced = False
                case _:
                    pass
        await self.push_frame(frame, direction)

    def follow(self, encoding: VoiceEncoding) -> None:
        """The viewer's link asks for this."""
        self._encoding = replace(encoding, bitrate_bps=min(encoding.bitrate_bps, self._bitrate_bps))
        if self._open is not None:
            self._open.encoder.follow(self._encoding)

    def _feel(self, frame: MoodFrame) -> None:
        feeling = frame.feeling
        mood = (feeling.label, feeling.valence, feeling.arousal)
        if mood != self._mood:
            self._mood = mood
            self._state.send(Mood(label=feeling.label, valence=feeling.valence, arousal=feeling.arousal))

    # --- clauses and sound -------------------------------------------------------------------------------------

    def _begin(self) -> _Open:
        if self._open is None:
            spoken = self._state.begin_utterance()
            self._open = _Open(spoken, self._encoding, self._state.now())
            self._state.speaking = True
            self._state.send(SpeechStart(utterance_id=spoken.id, turn_id=spoken.turn_id))
        return self._open

    def _clause(self, text: str, words: tuple[WordSpan, ...], phonemes: tuple[PhonemeSpan, ...]) -> None:
        """A clause's sound follows: put its times on the utterance's clock."""
        self._announced = ""
        current = self._begin()
        start = current.end
        words = tuple(WordSpan(word.text, word.start + start, word.end + start) for word in words)
        current.phonemes.extend(
            PhonemeSpan(span.symbol, span.start + start, span.end + start, span.stress) for span in phonemes
        )
        end = words[-1].end if words else start
        current.spoken.add(text, start, end, words)
        current.untimed = not words
        self._state.send(ReplyText(utterance_id=current.spoken.id, text=text, words=words))

    async def _sound(self, frame: TTSAudioRawFrame) -> None:
        if self._announced:
            self._clause(self._announced, (), ())
        current = self._begin()
        pcm = np.frombuffer(frame.audio, np.int16)
        if frame.num_channels > 1:
            pcm = pcm.reshape(-1, frame.num_channels)[:, 0]
        if frame.sample_rate != MEDIA_CLOCK_HZ:
            pcm = current.resample(pcm, frame.sample_rate)
        current.push_mel(pcm)
        current.pcm = np.concatenate([current.pcm, pcm])
        if current.untimed:
            current.spoken.stretch(current.end)
        await self._send_whole_packets(current)

    async def _send_whole_packets(self, current: _Open) -> None:
        while len(current.pcm) >= TICK_SAMPLES:
            await self._pace(current)
            if self._open is not current:
                return  # interrupted meanwhile
            packet, current.pcm = current.pcm[:TICK_SAMPLES], current.pcm[TICK_SAMPLES:]
            self._send(current, packet)

    async def _pace(self, current: _Open) -> None:
        """Wait until the next packet is at most SPEECH_AHEAD_S_MAX ahead of real time."""
        now = self._state.now()
        # A language model that paused has used up what was ahead; the rest is not sent as a burst to catch up.
        current.due = max(current.due, now)
        ahead_s = current.due - now
        if ahead_s > SPEECH_AHEAD_S_MAX - TICK_S:
            await asyncio.sleep(ahead_s - (SPEECH_AHEAD_S_MAX - TICK_S))
        elif current.packets % _BURST_PACKETS == _BURST_PACKETS - 1:
            await asyncio.sleep(0)
        current.due += TICK_S

    def _send(self, current: _Open, pcm: _Samples) -> None:
        opus = current.encoder.encode(pcm)
        until = (current.packets + 1) * TICK_SAMPLES
        phonemes: list[PhonemeSpan] = []
        while current.phonemes and current.phonemes[0].start < until and len(phonemes) < PHONEMES_PER_PACKET_MAX:
            phonemes.append(current.phonemes.popleft())
        self._state.send(
            SpeechPacket(
                utterance_id=current.spoken.id,
                index=current.packets,
                opus=opus,
                phonemes=tuple(phonemes),
                log_mel=current.mel_frames.popleft() if current.mel_frames else b"",
            )
        )
        if not current.packets:
            self._state.turn("speaking")
            self._state.first_packet()
        current.packets += 1

    async def _finish(self) -> None:
        """The answer is complete: the rest of the sound, and what the encoder still holds."""
        current = self._open
        if current is None:
            self._state.turn("idle")
            return
        rest = len(current.pcm) + current.delay
        padding = -rest % TICK_SAMPLES + current.delay
        silence = np.zeros(padding, np.int16)
        current.push_mel(silence)
        current.pcm = np.concatenate([current.pcm, silence])
        await self._send_whole_packets(current)
        if self._open is not current:
            return
        self._open = None
        spoken = current.spoken
        spoken.complete = True
        self._state.speaking = False
        self._messages[spoken.id] = self._state.remember("assistant", spoken.text)
        self._trim()
        self._state.send(SpeechEnd(utterance_id=spoken.id, packets=current.packets))
        self._state.turn("idle")

    # --- interruption ------------------------------------------------------------------------------------------

    def silence(self) -> None:
        """Everything that is not audible yet is forgotten; the conversation keeps the words that were heard.

        The conversation calls this at once; until its interruption has come through the pipeline, and has emptied the
        queues on its way, what still comes in is not spoken.
        """
        self._silenced = True
        self._announced = ""
        current, self._open = self._open, None
        self._state.speaking = False
        utterance = current.spoken if current is not None else self._newest_unheard()
        if utterance is None:
            return
        utterance.cut = True
        self._state.send(SpeechCancel(utterance_id=utterance.id))
        self.settle(utterance)

    def _newest_unheard(self) -> SpokenUtterance | None:
        """The last utterance, if it was sent but not heard to its end."""
        utterance = self._state.utterances.get(self._state.utterance_id)
        if utterance is None or utterance.cut or not utterance.clauses:
            return None
        return None if utterance.heard_until >= utterance.end else utterance

    def settle(self, utterance: SpokenUtterance) -> None:
        """Write into the conversation what was heard of a cut utterance; again when a later position comes in."""
        heard = utterance.heard_text()
        message = self._messages.get(utterance.id)
        if message is not None:
            if heard:
                message["content"] = heard
            else:
                self._state.forget(message)
                del self._messages[utterance.id]
        elif heard:
            self._messages[utterance.id] = self._state.remember("assistant", heard)
            self._trim()

    def _trim(self) -> None:
        for number in [number for number in self._messages if number not in self._state.utterances]:
            del self._messages[number]
