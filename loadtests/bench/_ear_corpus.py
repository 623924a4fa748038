"""Speech for the ear, as packets of a microphone: for training what it learnt, and for judging it on what it did not.

Training and judging share no sentence and no voice: `training_questions` uses other speakers, accents and texts than
`held_out_questions`. Every recording gets its own level, room noise, reverberation and pauses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ
from loadtests.audio import read_audio
from loadtests.bench.reply import make_questions
from loadtests.microphone import Microphone, MicrophonePacket
from loadtests.questions import Question, render
from loadtests.signals import end_of_speech, start_of_speech

__all__ = ["Utterance", "capture", "held_out_questions", "natural_utterances", "training_questions", "utterances"]

_LEAD_S: Final = 0.5
_TAIL_S: Final = 1.0
_SECONDS_MAX: Final = 60.0

_VOICES: Final = tuple(
    f"{accent}+{variant}"
    for accent, variants in (
        ("en-us", "m1 m5 f3 f5 linda Gene Andy steph"),
        ("en-gb-scotland", "m2 f1 m6 Annie"),
        ("en-029", "m4 f5 m8 steph2"),
        ("en-gb-x-gbclan", "f3 m1 adam klatt2"),
        ("en-us-nyc", "m2 f1 Michael anika"),
        ("en", "m8 f3 victor f5"),
    )
    for variant in variants.split()
)


def _section(name: str) -> list[str]:
    text = (Path(__file__).parent / "_ear_sentences.txt").read_text(encoding="utf-8")
    return text.partition(f"[{name}]\n")[2].partition("\n\n")[0].splitlines()


_SENTENCES: Final = tuple(_section("sentences"))
_SHORT: Final = tuple(_section("short"))
_OPENERS: Final = frozenset(" ".join(_section("openers")).split())
"""People hesitate after these words more than after others."""
_HELD_OUT: Final[tuple[tuple[str, ...], ...]] = (
    ("Hi.",),
    ("Stop.",),
    ("Mars?",),
    ("Who are you?",),
    ("Is Pluto a planet?",),
    ("Yes.",),
    ("I would like", "to hear about comets."),
    ("When the sun goes down, what can I see first?",),
    ("Tell me about the moon, the sun, and the stars.",),
    ("Can you", "say that again?"),
    ("Thanks, that was very interesting.",),
    ("How long would it take", "to fly to Jupiter?"),
)
"""Besides the questions of the benchmark `reply`: words alone, lists, and hesitations."""
_HELD_OUT_VOICES: Final = ("en-us+f2", "en-us+m3", "en-gb-x-rp+f4", "en-us+m7", "en-gb-x-rp", "en-us")

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording at the microphone.

    Attributes:
        name: of the recording.
        packets: with half a second before and a second after it.
        start_s, end_s: of the speech, after the first packet's start (loadtests.signals).
        words: how many are said; 0: unknown.
    """

    name: str
    packets: tuple[MicrophonePacket, ...]
    start_s: float
    end_s: float
    words: int


def training_questions(count: int, seed: int) -> list[Question]:
    """Sentences: some of a word or two, many with a hesitation inside, some two in a row."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        sentence, other = str(rng.choice(_SENTENCES)), str(rng.choice(_SENTENCES))
        short = str(rng.choice(_SHORT))
        kind = rng.random()
        parts: tuple[str, ...] = (sentence,)
        if kind < 0.25:
            parts = (short,)
        elif kind < 0.60:
            parts = _hesitant(sentence, rng)
        elif kind < 0.66:
            parts = (sentence, other)
        elif kind < 0.70:
            parts = (short.rstrip(".?") + ",", sentence)
        made.append(
            Question(
                name=f"t{index:05d}",
                parts=parts,
                voice=str(rng.choice(_VOICES)),
                rate_wpm=int(rng.integers(120, 215)),
                pitch=int(rng.integers(30, 70)),
                pause_s=float(rng.uniform(0.15, 0.7)),
                noise_dbfs=float(rng.uniform(-78.0, -56.0)),
                seed=seed * 100_000 + index,
            )
        )
    return made


def _hesitant(sentence: str, rng: np.random.Generator) -> tuple[str, ...]:
    words = sentence.split()
    places = [cut for cut in range(1, len(words)) if words[cut - 1].lower() in _OPENERS]
    if not places or rng.random() < 0.25:
        places = list(range(1, len(words)))
    if not places:
        return (sentence,)
    cut = int(rng.choice(places))
    return " ".join(words[:cut]), " ".join(words[cut:])


def held_out_questions(count: int, seed: int) -> list[Question]:
    """`count` of the benchmark `reply`, and half as many others."""
    rng = np.random.default_rng(seed)
    others = [
        Question(
            name=f"h{index:03d}",
            parts=_HELD_OUT[index % len(_HELD_OUT)],
            voice=_HELD_OUT_VOICES[index % len(_HELD_OUT_VOICES)],
            rate_wpm=int(rng.choice((140, 160, 180))),
            pitch=int(rng.integers(40, 60)),
            pause_s=float(rng.choice((0.25, 0.35, 0.5))),
            noise_dbfs=float(rng.uniform(-75.0, -60.0)),
            seed=seed * 1_000 + 500 + index,
        )
        for index in range(count // 2)
    ]
    return [*make_questions(count, seed), *others]


def utterances(questions: list[Question], *, seed: int, rooms: bool) -> list[Utterance]:
    """Render and capture them.

    Args:
        rooms: each in a room and at a level of its own.
    Raises: ConfigError: espeak-ng is missing.
    """
    made = []
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        files = render(questions, Path(folder))
        for index, question in enumerate(questions):
            sound = read_audio(files[question.name], length_s_max=_SECONDS_MAX)
            rng = np.random.default_rng((seed, index))
            if rooms:
                sound = _in_a_room(sound, rng)
            made.append(capture(question.name, sound, seed=seed + index, words=len(question.text.split())))
    return made


def natural_utterances(folder: Path) -> list[Utterance]:
    """The WAV files of a folder: people's voices.

    Raises: ConfigError: there are none, or one cannot be read.
    """
    files = sorted(folder.glob("*.wav"))
    if not files:
        raise ConfigError(f"{folder} holds no WAV file")
    made = []
    for index, path in enumerate(files):
        sound = read_audio(path, length_s_max=_SECONDS_MAX)
        made.append(capture(path.stem, (0.5 / max(1e-6, np.abs(sound).max()) * sound).astype(np.float32), seed=index))
    return made


def capture(name: str, sound: Samples, *, seed: int, words: int = 0) -> Utterance:
    """Through the microphone: float32[n], 48 kHz. Raises: ConfigError: nothing is said."""
    start, end = start_of_speech(sound, MEDIA_CLOCK_HZ), end_of_speech(sound, MEDIA_CLOCK_HZ)
    if start is None or end is None:
        raise ConfigError(f"{name} holds no speech")
    quiet = (np.zeros(round(s * MEDIA_CLOCK_HZ), np.float32) for s in (_LEAD_S, _TAIL_S))
    before, after = quiet
    return Utterance(name, tuple(_packets((before, sound, after), seed)), _LEAD_S + start, _LEAD_S + end, words)


def _packets(sounds: Iterable[Samples], seed: int) -> list[MicrophonePacket]:
    microphone = Microphone(now=0.0, seed=seed)
    for sound in sounds:
        microphone.say(sound)
    packets = []
    while microphone.speaking:
        packets.append(microphone.next_packet())
    return packets


def _in_a_room(sound: Samples, rng: np.random.Generator) -> Samples:
    """Half of them with reverberation of 0.1 to 0.4 s; all at another level."""
    if rng.random() < 0.5:
        time = np.arange(round(0.3 * MEDIA_CLOCK_HZ)) / MEDIA_CLOCK_HZ
        tail = rng.normal(size=time.size) * 10.0 ** (-3.0 * time / rng.uniform(0.1, 0.4))
        tail *= 10.0 ** (rng.uniform(-18.0, -6.0) / 20.0) / np.sqrt(np.square(tail).sum())
        tail[0] = 1.0
        size = 1 << (sound.size + tail.size).bit_length()
        sound = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)[: sound.size].astype(np.float32)
    gain = 10.0 ** (rng.uniform(-14.0, 3.0) / 20.0)
    return np.asarray(np.clip(sound * gain, -1.0, 1.0), np.float32)
