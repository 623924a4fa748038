"""How well the ear hears: ends of speech, pauses taken for ends, barge-in with and without echo, and what it costs.

Times are at the ear's input, from the acoustic event to the arrival of the packet that told: the 20 ms of a packet are
in them, the network and the tick are not. Voices and sentences are none that the ear was trained on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.limits import MEDIA_CLOCK_HZ, TICK_S
from core.speech.features import log_mel_frames
from edge.ear import Ear
from edge.inference import VoiceActivity
from edge.transports.link import MicrophoneUnit
from loadtests.audio import read_audio
from loadtests.bench._ear_corpus import Utterance, held_out_questions, natural_utterances, utterances
from loadtests.bench.harness import Result, percentile
from loadtests.microphone import Microphone
from loadtests.questions import Question, render
from loadtests.signals import start_of_speech

__all__ = ["DESCRIPTION", "Heard", "TalkOver", "add_arguments", "listen", "make_voices", "run", "talk_over"]

DESCRIPTION = "The ear alone: end of speech, false reactions, barge-in with and without echo, microseconds per packet"

_QUESTIONS: Final = 120
_QUICK_QUESTIONS: Final = 40
_REPLY = "q"
"""Names of the questions of the benchmark `reply` begin with this."""
_MISSED_MS: Final = 9_999.0
_CHARACTER: Final = (
    ("en-us+f2", "Good evening, and welcome to the planetarium. The Milky Way is a barred spiral galaxy, very wide."),
    ("en-us", "Mars is the fourth planet from the sun, a small, cold desert world. Its red colour is ordinary rust."),
    ("en-us+m3", "A black hole is a place where gravity is so strong that not even light can get out of it again."),
)
_USERS: Final = (
    ("en-us+m7", "Stop please."),
    ("en-gb-x-rp+f4", "Wait, I have a question."),
    ("en-us", "Okay, thank you."),
    ("en-us+f2", "What about the moon?"),
    ("en-gb-x-rp", "No, that is not what I meant."),
    ("en-us+m7", "Hold on a second."),
)
_DELAYS_S: Final = (0.06, 0.2, 0.4)
_ECHO_ONLY_DB: Final = (-10.0, -18.0, -25.0)

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heard:
    """What the ear made of one utterance.

    Attributes:
        end_ms: from the end of speech to the last reaction; negative when it came before and held.
        false_reactions: reactions while the user still spoke.
        speech_s: how long that was.
    """

    end_ms: float
    false_reactions: int
    speech_s: float


@dataclass(frozen=True, slots=True)
class TalkOver:
    """What the ear did while the character spoke.

    Attributes:
        duck_ms, cut_ms: from the user's acoustic onset; None: never. Nobody spoke: always None.
        ducks, cuts: without a user's speech, or before it.
        seconds: of the character's speech.
    """

    duck_ms: float | None
    cut_ms: float | None
    ducks: int
    cuts: int
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark."""
    parser.add_argument("--natural", type=Path, metavar="DIR", help="also judge the WAV files of this folder")
    parser.add_argument("--questions", type=int, metavar="N", help=f"how many ({_QUESTIONS}; {_QUICK_QUESTIONS} quick)")
    parser.add_argument("--seed", type=int, default=1, help="of voices, rates, pauses, noise and rooms (1)")


def run(options: argparse.Namespace) -> Result:
    """Measure. Raises: ConfigError: espeak-ng is missing, or the folder holds no recordings."""
    vad = VoiceActivity()
    count = options.questions or (_QUICK_QUESTIONS if options.quick else _QUESTIONS)
    spoken = utterances(held_out_questions(count, options.seed), seed=options.seed, rooms=False)
    heard = {utterance.name: listen(Ear(vad), utterance) for utterance in spoken}
    asked = [heard[utterance.name] for utterance in spoken if utterance.name.startswith(_REPLY)]
    other = [heard[utterance.name] for utterance in spoken if not utterance.name.startswith(_REPLY)]
    figures = {
        "end_ms_p50": percentile([item.end_ms for item in asked], 50),
        "end_ms_p95": percentile([item.end_ms for item in asked], 95),
        "false_reactions_per_min": _per_minute(asked),
        "end_ms_p50_other": percentile([item.end_ms for item in other], 50),
        "end_ms_p95_other": percentile([item.end_ms for item in other], 95),
        "false_reactions_per_min_other": _per_minute(other),
    }
    details: dict[str, Any] = {
        "asked": "the questions of the benchmark reply; other: single words, lists and hesitations",
        "user_speech_s": round(sum(item.speech_s for item in heard.values()), 1),
    }
    if options.natural is not None:
        natural = [listen(Ear(vad), utterance) for utterance in natural_utterances(options.natural)]
        figures["end_ms_p50_natural"] = percentile([item.end_ms for item in natural], 50)
        figures["false_reactions_per_min_natural"] = _per_minute(natural)
        details["natural_speech_s"] = round(sum(item.speech_s for item in natural), 1)
    figures |= _barge_in(vad, options, details)
    figures |= _costs(vad, spoken[0])
    return Result(figures=figures, details=details)


def listen(ear: Ear, utterance: Utterance) -> Heard:
    """One utterance through one ear."""
    reactions = []
    for index, packet in enumerate(utterance.packets):
        if packet.needed:
            unit = MicrophoneUnit(packet.opus, packet.timestamp, index, packet.level_dbov, None)
            events = ear.receive(unit, packet.captured_at)
        else:
            events = ear.handle_timer(packet.captured_at)
        reactions += [packet.captured_at for event in events if event.kind == "paused"]
    start, end = utterance.start_s, utterance.end_s
    return Heard(
        end_ms=(reactions[-1] - end) * 1e3 if reactions else _MISSED_MS,
        false_reactions=sum(start < at < end for at in reactions),
        speech_s=end - start,
    )


def _per_minute(heard: list[Heard]) -> float:
    return sum(item.false_reactions for item in heard) / sum(item.speech_s for item in heard) * 60.0


# --- barge-in ----------------------------------------------------------------------------------------------------


def make_voices() -> tuple[list[Samples], list[Samples]]:
    """The character's lines and the users', float32[n], 48 kHz. Raises: ConfigError: espeak-ng is missing."""
    lines = [
        Question(name=f"{kind}{index}", parts=(text,), voice=voice, noise_dbfs=-90.0)
        for kind, said in (("c", _CHARACTER), ("u", _USERS))
        for index, (voice, text) in enumerate(said)
    ]
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        files = render(lines, Path(folder))
        sounds = {name: read_audio(path, length_s_max=60.0) for name, path in files.items()}
    return [sounds[f"c{i}"] for i in range(len(_CHARACTER))], [sounds[f"u{i}"] for i in range(len(_USERS))]


def talk_over(
    ear: Ear,
    *,
    character: Samples,
    user: Samples | None,
    user_at_s: float = 0.0,
    echo_db: float | None,
    delay_s: float,
    noise_dbfs: float = -70.0,
    seed: int = 0,
) -> TalkOver:
    """The character speaks; its echo, coloured by a room, and perhaps the user come in through the microphone.

    Args:
        echo_db: the echo's level against the voice as it is sent; None: headphones.
    """
    rng = np.random.default_rng(seed)
    sound = rng.normal(scale=10.0 ** (noise_dbfs / 20.0), size=character.size + MEDIA_CLOCK_HZ)
    shift = round(delay_s * MEDIA_CLOCK_HZ)
    if echo_db is not None:
        echo = _echo(character, rng) * 10.0 ** (echo_db / 20.0)
        sound[shift : shift + echo.size] += echo[: sound.size - shift]
    onset = np.inf
    if user is not None:
        first = round(user_at_s * MEDIA_CLOCK_HZ)
        sound[first : first + user.size] += user[: sound.size - first]
        onset = user_at_s + (start_of_speech(user, MEDIA_CLOCK_HZ) or 0.0)
    microphone = Microphone(now=0.0, seed=seed)
    microphone.say(sound.astype(np.float32))
    mel = log_mel_frames(character[: character.size // 960 * 960].reshape(-1, 3).mean(axis=1), 16_000)
    events: list[tuple[float, str]] = []
    tick = 0
    while microphone.speaking:
        packet = microphone.next_packet()
        while tick < len(mel) and tick * TICK_S <= packet.captured_at:
            ear.played(mel[tick].tobytes(), tick * TICK_S)
            tick += 1
        unit = MicrophoneUnit(packet.opus, packet.timestamp, tick, packet.level_dbov, None)
        found = ear.receive(unit, packet.captured_at) if packet.needed else ear.handle_timer(packet.captured_at)
        events += [(packet.captured_at, event.kind) for event in found]

    def after(kind: str) -> float | None:
        return next(((at - onset) * 1e3 for at, what in events if what == kind and at >= onset), None)

    return TalkOver(
        duck_ms=after("duck"),
        cut_ms=after("cut"),
        ducks=sum(kind == "duck" and at < onset for at, kind in events),
        cuts=sum(kind in ("cut", "started") and at < onset for at, kind in events),
        seconds=len(mel) * TICK_S,
    )


def _echo(voice: Samples, rng: np.random.Generator) -> NDArray[np.float64]:
    """Through a small loudspeaker and a room: 150 Hz to 2.5-7 kHz, 60 dB less after 0.17 s; as loud as the voice."""
    length_s = np.arange(round(0.1 * MEDIA_CLOCK_HZ)) / MEDIA_CLOCK_HZ
    room = rng.normal(size=length_s.size) * np.exp(-length_s / 0.025) * 0.02
    room[0] = 1.0
    size = 1 << (voice.size + room.size).bit_length()
    hertz = np.fft.rfftfreq(size, 1.0 / MEDIA_CLOCK_HZ)
    spectrum = np.fft.rfft(voice, size) * np.fft.rfft(room, size)
    spectrum *= hertz / np.hypot(hertz, 150.0) / np.hypot(1.0, hertz / rng.uniform(2_500.0, 7_000.0))
    echo = np.fft.irfft(spectrum, size)[: voice.size]
    return np.asarray(echo * np.sqrt(np.mean(np.square(voice)) / np.mean(np.square(echo))), np.float64)


def _barge_in(vad: VoiceActivity, options: argparse.Namespace, details: dict[str, Any]) -> dict[str, float]:
    characters, users = make_voices()
    rng = np.random.default_rng(options.seed)
    figures: dict[str, float] = {}
    for name, echo_db in (("no_echo", None), ("echo10", -10.0), ("echo18", -18.0), ("echo25", -25.0)):
        over = [
            talk_over(
                Ear(vad),
                character=characters[(index + index // 3) % 3],
                user=users[index % len(users)],
                user_at_s=float(rng.uniform(1.0, 3.5)),
                echo_db=echo_db,
                delay_s=_DELAYS_S[index % 3],
                seed=options.seed * 100 + index,
            )
            for index in range(len(users) if options.quick else 3 * len(users))
        ]
        for stage in ("duck", "cut"):
            times = [item.duck_ms if stage == "duck" else item.cut_ms for item in over]
            known = [_MISSED_MS if value is None else value for value in times]
            figures[f"{stage}_ms_p50_{name}"] = percentile(known, 50)
            figures[f"{stage}_ms_p95_{name}"] = percentile(known, 95)
        details[f"false_ducks_before_the_user_{name}"] = sum(item.ducks for item in over)
    alone = [
        talk_over(
            Ear(vad),
            character=character,
            user=None,
            echo_db=echo_db,
            delay_s=delay_s,
            noise_dbfs=noise_dbfs,
            seed=options.seed * 100 + index,
        )
        for index, character in enumerate(characters)
        for echo_db in _ECHO_ONLY_DB
        for delay_s in _DELAYS_S
        for noise_dbfs in ((-70.0,) if options.quick else (-70.0, -55.0))
    ]
    minutes = sum(item.seconds for item in alone) / 60.0
    figures["echo_false_cuts_per_min"] = sum(item.cuts for item in alone) / minutes
    figures["echo_false_ducks_per_min"] = sum(item.ducks for item in alone) / minutes
    details["echo_only_s"] = round(minutes * 60.0, 1)
    return figures


# --- cost --------------------------------------------------------------------------------------------------------


def _costs(vad: VoiceActivity, utterance: Utterance) -> dict[str, float]:
    """CPU microseconds per packet, of speech (decoded and judged) and of silence (not decoded)."""
    spoken = [
        MicrophoneUnit(packet.opus, packet.timestamp, index, None, None)
        for index, packet in enumerate(utterance.packets)
        if packet.needed and utterance.start_s < packet.captured_at < utterance.end_s
    ]
    silent = [MicrophoneUnit(bytes(50), index * 960, index, 90, None) for index in range(5_000)]
    heard_s: list[float] = []
    silent_s: list[float] = []
    for _ in range(5):
        for units, costs in ((spoken, heard_s), (silent, silent_s)):
            ear = Ear(vad)
            before = time.process_time()
            for unit in units:
                ear.receive(unit, unit.timestamp / MEDIA_CLOCK_HZ)
            costs.append((time.process_time() - before) / len(units))
    return {"us_per_packet_heard": min(heard_s) * 1e6, "us_per_packet_silent": min(silent_s) * 1e6}
