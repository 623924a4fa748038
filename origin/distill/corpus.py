"""The corpus: utterances of many voices with exact phonemes, each heard in several recording situations.

Reproducible from one seed, but for espeak-ng's flutter, which draws its own numbers. Training and evaluation share no
voice, no accent variant and no written sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ, PTIME_MS, TICK_SAMPLES
from core.speech.features import log_mel_frames
from core.speech.messages import PhonemeSpan
from origin.distill.augment import change_speed, record
from origin.distill.flite import FLITE_VOICES, FliteSpeaker
from origin.distill.people import Crowd
from origin.distill.prosody import pitch_semitones
from origin.distill.speaker import Speaker
from origin.distill.texts import HELD_OUT, TRAINING, draw_text

__all__ = ["HELD_OUT_VOICES", "TRAINING_VOICES", "Clip", "about", "build", "by_people", "load", "padded_frames", "save"]

HELD_OUT_VOICES: Final = (
    "en-us+f2", "en-us+m3", "en-gb-x-rp+f4", "en-us+klatt3", "en-gb-x-rp+m7", "en-us+Alicia", "en-gb-x-rp+Lee",
    "en-us+shelby",
)  # fmt: skip
TRAINING_VOICES: Final = tuple(
    f"{accent}+{variant}"
    for accent, variants in (
        ("en-us", "m1 m2 m4 m5 m6 m8 f1 f3 f5 Annie linda Gene Andy steph adam belinda john quincy caleb rob"),
        ("en", "m1 m8 f3 f5 victor Michael anika paul grandma zac ian Denis"),
        ("en-gb-scotland", "m2 f1 m6 Annie Reed max david"),
        ("en-029", "m4 f5 m8 steph2 edward aunty"),
        ("en-gb-x-gbclan", "f3 m1 klatt2 benjamin Mike"),
        ("en-us-nyc", "m2 f1 klatt steph3 robert Gene2 klatt5"),
        ("en-gb-x-gbcwmd", "m5 f3 grandpa marcelo"),
        ("en-us", "whisper whisperf croak"),
        ("en-us", "Andrea Diogo Henrique Jacky Marco RicishayMax Storm Tweaky antonio ed iven klatt4 travis"),
        ("en-gb-scotland", "Alex Mario boris iven2 pablo sandro"),
        ("en-029", "Hugo Nguyen ian michel norbert"),
        ("en", "announcer iven3 klatt6 miguel pedro RicishayMax2 iven4"),
    )
    for variant in variants.split()
)
_SPEEDS: Final = (0.84, 1.2)
_LEAD_S: Final = (0.1, 0.6)
_TAIL_S: Final = (0.2, 0.6)
"""Silence around each utterance: the mouth must also learn to be still."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One utterance.

    Attributes:
        name: voice and text, or a file.
        spans: phonemes in ticks from the first frame on.
        clean: uint8[frames, 40].
        heard: uint8[situations, frames, 40], the same utterance as microphones hear it.
        pitch: float32[frames], semitones (`origin.distill.prosody`).
        weights: float32[frames, 52] where somebody recorded a face, else None.
    """

    name: str
    spans: tuple[PhonemeSpan, ...]
    clean: NDArray[np.uint8]
    heard: NDArray[np.uint8]
    pitch: NDArray[np.float32]
    weights: NDArray[np.float32] | None = None


def padded_frames(pcm: NDArray[np.float32], sample_rate_hz: int = MEDIA_CLOCK_HZ) -> NDArray[np.uint8]:
    """Log-mel of a sound, uint8[frames, 40]."""
    return log_mel_frames(pcm, sample_rate_hz)


def build(
    minutes: float, *, seed: int, held_out: bool = False, situations: int = 3, others: int = 0, people: float = 0.0,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Clip]:  # fmt: skip
    """Synthesise a corpus.

    Args:
        minutes: of clean speech, silence around it not counted.
        held_out: for evaluation: other voices, other sentences, no change of speed.
        situations: recordings of each utterance.
        others: how many other speakers say each utterance too (`origin.distill.people`).
        people: part of the utterances in [0, 1] that voices learnt from people say (`origin.distill.flite`).
        progress: called with the part that is done, in [0, 1].
    Raises: ConfigError: espeak-ng, or flite where people are wanted, is not installed.
    """
    rng = np.random.default_rng((seed, held_out))
    clips: list[Clip] = []
    crowd = Crowd() if others else None
    flite = FliteSpeaker() if people else None
    done_s, failures = 0.0, 0
    with Speaker() as speaker:
        while done_s < minutes * 60.0:
            text = draw_text(rng, HELD_OUT if held_out else TRAINING)
            if flite is not None and rng.random() < people:
                voice = FLITE_VOICES[int(rng.integers(len(FLITE_VOICES)))]
                spoken = flite.say(text, voice=voice, rate_wpm=int(rng.integers(130, 215)))
            else:
                voices = HELD_OUT_VOICES if held_out else TRAINING_VOICES
                voice = voices[len(clips) % len(voices)]
                rate, pitch, lively = int(rng.integers(120, 230)), int(rng.integers(20, 80)), int(rng.integers(20, 90))
                spoken = speaker.say(text, voice=voice, rate_wpm=rate, pitch=pitch, pitch_range=lively)
            if spoken is None:
                failures += 1
                if failures > 20 + len(clips):
                    raise ConfigError(f"espeak-ng cannot speak {voice}: is it complete?")
                continue
            speed = 1.0 if held_out else float(rng.uniform(*_SPEEDS))
            pcm = spoken.pcm if held_out else change_speed(spoken.pcm, speed)
            clips.append(_clip(f"{voice}: {text}", pcm, spoken.spans, speed, situations, rng))
            if crowd is not None:
                said = [crowd.speak(clips[-1].clean, clips[-1].spans, rng) for _ in range(others)]
                clips[-1] = replace(clips[-1], heard=np.concatenate([clips[-1].heard, np.stack(said)]))
            done_s += len(pcm) / MEDIA_CLOCK_HZ
            progress(min(done_s / (minutes * 60.0), 1.0))
    return clips


def _clip(
    name: str, pcm: NDArray[np.float32], spans: tuple[PhonemeSpan, ...], speed: float, situations: int,
    rng: np.random.Generator,
) -> Clip:  # fmt: skip
    lead = round(rng.uniform(*_LEAD_S) * MEDIA_CLOCK_HZ)
    tail = round(rng.uniform(*_TAIL_S) * MEDIA_CLOCK_HZ)
    whole = np.concatenate([np.zeros(lead, np.float32), pcm, np.zeros(tail, np.float32)])
    whole = whole[: len(whole) // TICK_SAMPLES * TICK_SAMPLES]
    moved = tuple(
        PhonemeSpan(span.symbol, lead + round(span.start / speed), lead + round(span.end / speed), span.stress)
        for span in spans
    )
    clean = padded_frames(whole)
    heard = [padded_frames(record(whole, rng)) for _ in range(situations)]
    pitch = pitch_semitones(whole, MEDIA_CLOCK_HZ, len(clean))
    return Clip(name, moved, clean, np.stack(heard) if heard else np.zeros((0, *clean.shape), np.uint8), pitch)


def by_people(clip: Clip) -> bool:
    """Whether a voice learnt from people says it."""
    return clip.name.partition(":")[0] in FLITE_VOICES


def about(clips: Sequence[Clip]) -> dict[str, float | int]:
    """What a training's record says about its corpus."""
    people = [clip for clip in clips if by_people(clip)]
    frames = sum(len(clip.clean) for clip in clips)
    return {
        "minutes": round(frames * PTIME_MS / 60_000.0, 1),
        "clips": len(clips),
        "voices": len({clip.name.partition(":")[0] for clip in clips}),
        "part_by_people": round(sum(len(clip.clean) for clip in people) / max(frames, 1), 3),
        "recordings_of_each": len(clips[0].heard),
    }


def save(path: Path, clips: list[Clip]) -> None:
    """Write clips into one .npz file."""
    lengths = np.array([len(clip.clean) for clip in clips], dtype=np.int64)
    about = [{"name": clip.name, "spans": msgspec.to_builtins(clip.spans)} for clip in clips]
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[np.uint8] | NDArray[np.int64] | NDArray[np.float16]] = {
        "lengths": lengths,
        "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        "clean": np.concatenate([clip.clean for clip in clips]),
        "heard": np.concatenate([clip.heard for clip in clips], axis=1),
        "pitch": np.concatenate([clip.pitch for clip in clips]).astype(np.float16),
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]


def load(path: Path) -> list[Clip]:
    """Read clips back. Raises: ConfigError: the file is missing or is no corpus."""
    try:
        with np.load(path) as arrays:
            lengths, clean, heard, pitch = (arrays[name] for name in ("lengths", "clean", "heard", "pitch"))
            about = json.loads(arrays["about"].tobytes())
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{path} is no corpus ({error}); make one with `visavis distill corpus`") from None
    ends = np.cumsum(lengths)
    return [
        Clip(
            entry["name"],
            tuple(PhonemeSpan(*span) for span in entry["spans"]),
            clean[end - length : end],
            heard[:, end - length : end],
            pitch[end - length : end].astype(np.float32),
        )
        for entry, length, end in zip(about, lengths.tolist(), ends.tolist(), strict=True)
    ]
