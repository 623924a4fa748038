"""Voices that come without log-mel: what is heard of them is what the origin would have told."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from core.speech.features import log_mel_decibels, log_mel_frames
from core.speech.messages import SpeechPacket
from core.stream.speech_track import SpeechTrack
from edge.ear_sound import MicrophoneDecoder
from edge.live_voices import LIVE_LEAD_PACKETS, LiveSpeech, LiveVoices
from loadtests.audio import VoiceEncoder
from tests.edge.speech import recording


def encoded(sound: NDArray[np.float32]) -> list[bytes]:
    encoder = VoiceEncoder(rate_bps=32_000)
    return [encoder.encode(block) for block in sound[: len(sound) // 960 * 960].reshape(-1, 960)]


def packet(index: int, opus: bytes, utterance_id: int = 1) -> SpeechPacket:
    return SpeechPacket(utterance_id=utterance_id, index=index, opus=opus)


def heard(packets: list[bytes]) -> NDArray[np.uint8]:
    """Log-mel of a voice, one phase per packet."""
    voices = LiveVoices()
    got: list[SpeechPacket] = []
    voice = voices.open(got.append)
    for index, opus in enumerate(packets):
        voice.push(packet(index, opus))
        voices.flush()
        assert len(got) == index, "a packet waits for the next one"
    voice.end()
    voices.flush()
    assert [one.index for one in got] == list(range(len(packets)))
    return np.array([np.frombuffer(one.log_mel, np.uint8) for one in got])


def test_log_mel_is_that_of_the_decoded_sound() -> None:
    packets = encoded(recording("mars")[0])[:120]
    decoder = MicrophoneDecoder()
    sound = np.concatenate([decoder.decode(opus) for opus in packets])
    reference = log_mel_frames(sound, 16_000)
    live = heard(packets)
    assert np.abs(live.astype(int) - reference.astype(int))[:, 4:].mean() < 1.0, "but for the direct current"


def test_many_voices_are_heard_in_one_batch_and_do_not_mix() -> None:
    packets = encoded(recording("mars")[0])[30:60]
    alone = heard(packets)
    voices = LiveVoices()
    got: list[list[SpeechPacket]] = [[] for _ in range(150)]
    speakers = [voices.open(each.append) for each in got]
    for index, opus in enumerate(packets):
        for number, speaker in enumerate(speakers):
            broken = number % 2 and index % 3 == 0
            speaker.push(packet(index, b"" if broken else opus))
        voices.flush()
    assert voices.failures == 75 * 10
    for number in (0, 74, 148):
        frames = np.array([np.frombuffer(one.log_mel, np.uint8) for one in got[number]])
        np.testing.assert_array_equal(frames, alone[: len(frames)])


@pytest.mark.parametrize("bad", ["nan", "clipped", "direct", "silence", "telephone"])
def test_bad_sound_is_heard_as_what_it_is(bad: str) -> None:
    voice = recording("mars")[0][48_000 // 2 : 48_000 // 2 + 96_000]
    sound = voice.copy()
    match bad:
        case "nan":
            sound[::977] = 0.0  # what a sound card's NaN is when an encoder has seen it
        case "clipped":
            sound = np.clip(sound * 40.0, -1.0, 1.0)
        case "direct":
            sound = sound + np.float32(0.25)
        case "silence":
            sound = np.zeros_like(sound)
        case _:
            spectrum = np.fft.rfft(sound)
            spectrum[round(len(spectrum) * 4_000 / 24_000) :] = 0.0
            sound = np.fft.irfft(spectrum, len(sound)).astype(np.float32)
    frames = heard(encoded(sound.astype(np.float32)))
    clean = heard(encoded(voice))
    level, usual = (log_mel_decibels(each)[5:].mean() for each in (frames, clean))
    if bad == "silence":
        assert level < -95.0
    else:
        assert abs(level - usual) < 35.0
    if bad == "direct":
        assert np.abs(log_mel_decibels(frames) - log_mel_decibels(clean))[10:, 6:30].mean() < 6.0


def test_samples_that_are_not_numbers_spoil_only_their_own_window(monkeypatch: pytest.MonkeyPatch) -> None:
    packets = encoded(recording("mars")[0])[40:60]
    clean = heard(packets)
    decode = MicrophoneDecoder.decode
    calls = iter(range(10_000))

    def damaged(self: MicrophoneDecoder, opus: bytes) -> NDArray[np.float32]:
        sound = decode(self, opus)
        if next(calls) == 8:
            sound[5:9] = np.nan
        return sound

    monkeypatch.setattr(MicrophoneDecoder, "decode", damaged)
    frames = heard(packets)
    others = [index for index in range(len(packets)) if index not in (7, 8)]
    assert np.abs(frames[others].astype(int) - clean[others].astype(int)).max() <= 3


def test_a_live_utterance_waits_in_its_track_and_a_new_one_begins_with_a_fresh_decoder() -> None:
    voices, track = LiveVoices(), SpeechTrack()
    got: list[SpeechPacket] = []

    def deliver(one: SpeechPacket) -> None:
        got.append(one)
        track.push(one, 0.0)

    speech = LiveSpeech(voices, track, deliver)
    packets = encoded(recording("mars")[0])[40:48]
    for utterance_id in (1, 2):
        track.start(utterance_id)
        for index, opus in enumerate(packets):
            speech.push(packet(index, opus, utterance_id))
            voices.flush()
            placed = track.pop((utterance_id * 100 + index) * 960)
            ready = index >= LIVE_LEAD_PACKETS + 1
            assert bool(placed and placed.opus and placed.utterance_id == utterance_id) == ready
        speech.end(3)
        speech.end(utterance_id)
        track.end(utterance_id, len(packets))
        voices.flush()
        for tick in range(20):
            track.pop((utterance_id * 100 + 50 + tick) * 960)
    assert [one.index for one in got] == list(range(8)) * 2
    assert got[0].log_mel == got[8].log_mel
