"""Any sound becomes packets: no sample lost, none in the wrong place, none too early."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field

import av
import numpy as np
import numpy.typing as npt
import pytest

from core.limits import MEDIA_CLOCK_HZ, SPEECH_AHEAD_S_MAX, TICK_SAMPLES
from core.speech.messages import (
    DownMessage,
    PhonemeSpan,
    Playout,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    WordSpan,
)
from origin.dialogue.heard import Utterances
from origin.dialogue.outgoing_voice import OutgoingVoice
from origin.sent_again import SentAgain
from tests.reachable import reachable_bytes


@dataclass
class Line:
    """What the POP gets."""

    sent: list[tuple[float, DownMessage]] = field(default_factory=list)

    def voice(self) -> OutgoingVoice:
        return OutgoingVoice(Utterances(), lambda message: self.sent.append((time.monotonic(), message)), 32_000)

    def packets(self) -> list[SpeechPacket]:
        return [message for _, message in self.sent if isinstance(message, SpeechPacket)]

    def phonemes(self) -> list[PhonemeSpan]:
        return [span for packet in self.packets() for span in packet.phonemes]

    def decoded(self) -> npt.NDArray[np.int16]:
        codec = av.CodecContext.create("libopus", "r")
        assert isinstance(codec, av.AudioCodecContext)
        codec.layout, codec.sample_rate = "mono", MEDIA_CLOCK_HZ
        return np.concatenate(
            [frame.to_ndarray().reshape(-1) for one in self.packets() for frame in codec.decode(av.Packet(one.opus))]
        )


def tone(seconds: float, rate_hz: int) -> npt.NDArray[np.int16]:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.asarray(8_000 * np.sin(2 * np.pi * 300 * times), np.int16)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
async def test_sound_of_any_rate_is_heard_to_its_last_millisecond(rate_hz: int) -> None:
    line = Line()
    voice = line.voice()
    voice.begin(1)
    pcm = tone(0.5, rate_hz)
    for offset in range(0, len(pcm), 700):
        await voice.sound(pcm[offset : offset + 700].tobytes(), rate_hz)
    spoken = await voice.finish()
    assert spoken is not None and spoken.complete
    sound = np.abs(line.decoded().astype(np.int32))
    loud = np.nonzero(sound > 1_500)[0]
    assert loud[0] / MEDIA_CLOCK_HZ < 0.015
    assert 0.495 < (loud[-1] - loud[0]) / MEDIA_CLOCK_HZ < 0.510
    (end,) = [message for _, message in line.sent if isinstance(message, SpeechEnd)]
    assert end.packets == len(line.packets()) == 26
    assert [packet.index for packet in line.packets()] == list(range(26))
    assert all(len(packet.log_mel) == 40 for packet in line.packets())


async def test_both_channels_are_heard_and_bytes_may_be_cut_anywhere() -> None:
    line = Line()
    voice = line.voice()
    voice.begin(1)
    right = np.stack([np.zeros(12_000, np.int16), tone(0.5, 24_000)], axis=1).tobytes()
    for offset in range(0, len(right), 333):
        await voice.sound(right[offset : offset + 333], 24_000, 2)
    await voice.finish()
    heard = line.decoded()[4_800:19_200].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert int(np.argmax(spectrum)) * MEDIA_CLOCK_HZ / len(heard) == pytest.approx(300, abs=5)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(4_000 / np.sqrt(2), rel=0.15)


async def test_it_never_runs_too_far_ahead_and_lets_others_have_their_turn() -> None:
    line = Line()
    voice = line.voice()
    voice.begin(1)
    began = time.monotonic()
    await voice.sound(tone(1.6, 48_000).tobytes(), 48_000)
    for at, message in line.sent:
        if isinstance(message, SpeechPacket):
            assert message.index * 0.02 - (at - began) < SPEECH_AHEAD_S_MAX + 0.005
    assert time.monotonic() - began > 0.5


async def test_words_and_phonemes_follow_the_sound_and_late_ones_are_left_out() -> None:
    line = Line()
    voice = line.voice()
    spoken = voice.begin(3)
    delay = 312
    voice.say_at((WordSpan("hi", 0, 9_600), WordSpan("you", 9_600, 14_400)))
    assert voice.place([PhonemeSpan("h", 0, 4_800), PhonemeSpan("aɪ", 4_800, 9_600, 2)]) == 0
    await voice.sound(tone(0.2, 48_000).tobytes(), 48_000)
    # All of "h" and the beginning of "u" are under way already.
    assert voice.place([PhonemeSpan("h", 0, 4_800), PhonemeSpan("u", 7_200, 14_400)]) == 1
    await voice.sound(tone(0.2, 48_000).tobytes(), 48_000)
    await voice.finish()
    spans = line.phonemes()
    assert spans[:2] == [PhonemeSpan("h", delay, 4_800 + delay), PhonemeSpan("aɪ", 4_800 + delay, 9_600 + delay, 2)]
    assert spans[2].symbol == "u" and spans[2].end == 14_400 + delay
    for packet in line.packets():
        for span in packet.phonemes:
            assert packet.index * TICK_SAMPLES <= span.start < (packet.index + 1) * TICK_SAMPLES
    (text,) = [message for _, message in line.sent if isinstance(message, ReplyText)]
    assert text.text == "hi you" and text.words[0].start == delay
    spoken.note(10_000)
    assert spoken.heard_text() == "hi"
    assert line.sent[0][1] == SpeechStart(utterance_id=1, turn_id=3)


async def test_silenced_in_the_middle_it_forgets_the_rest() -> None:
    line = Line()
    voice = line.voice()
    voice.begin(1)
    speaking = asyncio.create_task(voice.sound(tone(5.0, 48_000).tobytes(), 48_000))
    await asyncio.sleep(0.1)
    cut = voice.silence()
    assert cut is not None and cut.cut and voice.speaking is None
    await asyncio.wait_for(speaking, 2.0)
    count = len(line.packets())
    assert count < 75 and line.sent[-1][1] == SpeechCancel(utterance_id=1)
    assert await voice.finish() is None
    assert voice.silence() is None, "it is cut once"
    voice.begin(2)
    await voice.sound(tone(0.1, 48_000).tobytes(), 48_000)
    assert line.packets()[-1].utterance_id == 2


async def test_nothing_at_all_is_an_utterance_too() -> None:
    line = Line()
    voice = line.voice()
    voice.begin(1)
    await voice.sound(b"", 16_000)
    await voice.sound(b"\x01", 16_000, 2)
    await voice.finish()
    assert isinstance(line.sent[-1][1], SpeechEnd)
    assert len(line.packets()) == 1, "what the encoder needs, and no more"


async def test_an_answer_that_goes_on_is_forgotten_as_it_is_heard() -> None:
    clock = itertools.count(1_000.0, 0.02)
    again, utterances, sizes = SentAgain(), Utterances(), list[int]()
    voice = OutgoingVoice(utterances, again.sent, 32_000, now=lambda: next(clock))
    sound = tone(2.0, MEDIA_CLOCK_HZ).tobytes()
    spoken = voice.begin(1)
    for number in range(40):
        words = tuple(WordSpan(f"{number}.{n}", n * 9_600, (n + 1) * 9_600) for n in range(10))
        phonemes = tuple(PhonemeSpan("a", n * 4_800, (n + 1) * 4_800) for n in range(20))
        voice.say(" ".join(word.text for word in words), words, phonemes)
        await voice.sound(sound, MEDIA_CLOCK_HZ)
        heard_until = (number * 2 - 1) * MEDIA_CLOCK_HZ
        spoken.note(heard_until)
        again.heard(Playout(utterance_id=spoken.id, heard_until=heard_until))
        sizes.append(reachable_bytes(voice, utterances, again) - len(spoken.text))
    assert max(sizes[20:]) < max(sizes[:20]) + 3_000
    assert len(spoken.heard_text().split()) == 385
