"""The ear: silence costs nothing, speech is noticed, its end too; the character's own echo is nobody's speech."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.speech.features import log_mel_frames
from edge.ear import Ear, EarEvent
from edge.ear_echo import EchoTest
from edge.ear_endpoint import SpeechEnergy
from edge.ear_sound import MicrophoneDecoder, level_decibels
from edge.inference import VAD_WINDOW_SAMPLES, VadState, VoiceActivity
from edge.transports.link import MicrophoneUnit
from tests.edge.speech import encode, recording

Sound = NDArray[np.float32]


@pytest.fixture(scope="module")
def vad() -> VoiceActivity:
    return VoiceActivity()


def units(sound: Sound, *, levels: bool = True) -> Iterator[tuple[float, MicrophoneUnit]]:
    for index, (packet, level) in enumerate(encode(sound)):
        unit = MicrophoneUnit(packet, index * 960, index, level if levels else None, None)
        yield (index + 1) * 0.02, unit


def listen(ear: Ear, sound: Sound, *, levels: bool = True) -> list[tuple[float, EarEvent]]:
    return [(now, event) for now, unit in units(sound, levels=levels) for event in ear.receive(unit, now)]


def test_silence_is_not_decoded(vad: VoiceActivity) -> None:
    noise = np.random.default_rng(1).normal(scale=10 ** (-72 / 20), size=96_000).astype(np.float32)
    ear = Ear(vad)
    assert listen(ear, noise) == []
    assert ear.decoded == 0
    assert ear.skipped == 100


@pytest.mark.parametrize("levels", [True, False])
def test_a_question_is_heard_and_its_end_within_110_ms(vad: VoiceActivity, levels: bool) -> None:
    sound, start_s, end_s = recording("moon")
    events = listen(Ear(vad), sound, levels=levels)
    kinds = [event.kind for _, event in events]
    assert kinds[0] == "started"
    assert kinds[-1] == "paused"
    assert events[0][0] - start_s < 0.2
    assert end_s <= events[-1][0] <= end_s + 0.110
    assert abs(events[-1][1].timestamp / 48_000 - end_s) < 0.05


def test_a_sender_that_stops_sending_has_stopped_speaking(vad: VoiceActivity) -> None:
    sound, start_s, _ = recording("moon")
    ear = Ear(vad)
    seen: list[EarEvent] = []
    last = 0.0
    for now, unit in units(sound):
        if now > start_s + 1.0:
            break
        seen += ear.receive(unit, now)
        last = now
    assert ear.speaking
    for tick in range(40):
        seen += ear.handle_timer(last + tick * 0.02)
    assert not ear.speaking
    assert seen[-1].kind == "paused"


def test_late_and_lost_packets(vad: VoiceActivity) -> None:
    sound, _, _ = recording("moon")
    ear = Ear(vad)
    kinds: list[str] = []
    for now, unit in units(sound):
        if unit.sequence_number % 7 == 3:
            continue
        kinds += [event.kind for event in ear.receive(unit, now)]
        assert ear.receive(unit, now) == []
    assert kinds[0] == "started"
    assert not ear.speaking


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=12))
def test_any_bytes_do_no_harm(packets: list[bytes]) -> None:
    ear = Ear(VoiceActivityStub())
    for index, payload in enumerate(packets):
        ear.receive(MicrophoneUnit(payload, index * 960, index, None, None), index * 0.02)
    assert 0.0 <= ear.level <= 1.0


class VoiceActivityStub(VoiceActivity):
    """Hears nothing."""

    def __init__(self) -> None:
        pass

    def run(self, states: object, windows: Sound) -> Sound:
        return np.zeros(len(windows), np.float32)


# --- barge-in ----------------------------------------------------------------------------------------------------


def talk_over(
    vad: VoiceActivity, *, echo_db: float | None, user_at_s: float | None, delay_s: float = 0.12
) -> tuple[float, list[tuple[float, str]]]:
    """The character speaks; its echo and perhaps the user come in through the microphone."""
    voice, _, _ = recording("mars")
    voice = np.tile(voice, 3)
    microphone = np.random.default_rng(2).normal(scale=10 ** (-70 / 20), size=len(voice)).astype(np.float32)
    shift = round(delay_s * 48_000)
    if echo_db is not None:
        microphone[shift:] += (voice * np.float32(10 ** (echo_db / 20)))[:-shift]
    onset_s = 0.0
    if user_at_s is not None:
        user, start_s, _ = recording("stop")
        first = round(user_at_s * 48_000)
        microphone[first : first + len(user)] += user[: len(microphone) - first]
        onset_s = user_at_s + start_s
    mel = log_mel_frames(voice.reshape(-1, 3).mean(axis=1), 16_000)
    ear = Ear(vad)
    events: list[tuple[float, str]] = []
    for index, (now, unit) in enumerate(units(microphone)):
        ear.played(mel[index].tobytes(), index * 0.02)
        events += [(now, event.kind) for event in ear.receive(unit, now)]
    return onset_s, events


@pytest.mark.parametrize("echo_db", [-10.0, -18.0, -25.0])
@pytest.mark.parametrize("delay_s", [0.04, 0.2, 0.4])
def test_its_own_echo_does_not_cut_the_character(vad: VoiceActivity, echo_db: float, delay_s: float) -> None:
    _, events = talk_over(vad, echo_db=echo_db, user_at_s=None, delay_s=delay_s)
    assert [kind for _, kind in events if kind in ("cut", "started")] == []


@pytest.mark.parametrize("echo_db", [None, -12.0, -20.0])
def test_the_user_ducks_and_cuts(vad: VoiceActivity, echo_db: float | None) -> None:
    onset_s, events = talk_over(vad, echo_db=echo_db, user_at_s=2.0)
    ducked = next(now for now, kind in events if kind == "duck" and now >= onset_s)
    cut = next(now for now, kind in events if kind == "cut")
    assert ducked - onset_s <= 0.06
    assert onset_s < cut <= onset_s + 0.16


def test_a_microphone_that_stays_quiet_has_no_echo() -> None:
    """Half a second of the character with headphones on: then a soft voice is the user's at once."""
    voice, start_s, _ = recording("mars")
    mel = log_mel_frames(voice.reshape(-1, 3).mean(axis=1), 16_000)
    first = round(start_s / 0.02)
    echo = EchoTest()
    for index in range(first + 30):
        echo.played(mel[index], index * 0.02)
        echo.silent(index * 0.02)
    soft = np.float32(0.1) * recording("moon")[0].reshape(-1, 3).mean(axis=1)
    begin = round((recording("moon")[1] + 0.06) * 16_000)
    now = (first + 30) * 0.02
    echo.played(mel[first + 30], now)
    assert echo.user_is_heard(soft[begin : begin + 320], now)


def test_what_is_played_and_comes_back_is_nobody() -> None:
    voice, _, _ = recording("mars")
    thin = voice.reshape(-1, 3).mean(axis=1)
    mel = log_mel_frames(thin, 16_000)
    echo = EchoTest()
    heard = 0
    for index in range(len(mel)):
        echo.played(mel[index], index * 0.02)
        late = max(0, index - 6) * 320
        heard += echo.user_is_heard(np.float32(0.2) * thin[late : late + 320], index * 0.02)
    assert heard == 0


def test_nothing_is_an_echo_while_the_character_is_silent() -> None:
    echo = EchoTest()
    assert not echo.active
    assert echo.user_is_heard(np.ones(320, np.float32), 1.0)


# --- parts -------------------------------------------------------------------------------------------------------


def test_energy_needs_a_drop_below_the_peak() -> None:
    energy = SpeechEnergy()
    energy.push(-20.0, speaking=True)
    assert not energy.push(-45.0, speaking=True)
    assert energy.push(-60.0, speaking=True)
    assert (energy.quiet_windows, energy.loud_windows) == (1, 0)


def test_an_echo_is_silence_but_its_noise_floor_counts() -> None:
    energy = SpeechEnergy()
    for _ in range(800):
        assert energy.push(-50.0, speaking=False, user=False)
    assert energy.floor_db == pytest.approx(-50.0)
    assert energy.push(-47.0, speaking=False)


def test_rows_of_a_batch_do_not_meet(vad: VoiceActivity) -> None:
    sound, start_s, _ = recording("moon")
    thin = sound.reshape(-1, 3).mean(axis=1)
    first = round(start_s * 16_000)
    speech = thin[first : first + 12 * VAD_WINDOW_SAMPLES].reshape(12, VAD_WINDOW_SAMPLES)
    alone, together = [VadState()], [VadState(), VadState()]
    for window in speech:
        one = vad.run(alone, window[None])
        two = vad.run(together, np.stack([window, np.zeros_like(window)]))
        assert two[0] == pytest.approx(one[0], abs=1e-5)
    assert two[0] > 0.5
    assert two[1] < 0.2


def test_the_decoder_skips_padding_and_survives_garbage() -> None:
    sound, _, _ = recording("moon")
    packets = [packet for packet, _ in encode(sound)][20:40]
    plain, padded = MicrophoneDecoder(), MicrophoneDecoder()
    for packet in packets:
        # Code 0 becomes code 3 with one frame and padding (RFC 6716 section 3.2.5).
        carrying = bytes([packet[0] & 0xFC | 3, 0x41, 20]) + packet[1:] + bytes(20)
        assert np.array_equal(plain.decode(packet), padded.decode(carrying))
    assert len(plain.decode(b"\xff\xff")) == 0
    assert plain.failures == 1
    assert len(plain.decode(packets[0])) == 320


def test_levels() -> None:
    assert level_decibels(np.zeros(0, np.float32)) == -127.0
    assert level_decibels(np.full(160, 1.0, np.float32)) == pytest.approx(0.0, abs=1e-6)
