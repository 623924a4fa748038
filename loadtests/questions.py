"""Spoken questions for tests and benchmarks: voice, rate, room noise and pauses, the same every time.

The same to the ear: the flutter of espeak-ng draws its own numbers and moves a sample here and there.

espeak-ng is GPL-3.0, so it is loaded only in a process of its own: `render` runs `python -m loadtests.questions`, which
reads a JSON list of questions from standard input and writes one WAV (16 kHz, mono) per question.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import wave
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError

__all__ = ["RATE_HZ", "Question", "render"]

RATE_HZ: Final = 16_000
_RENDER_TIMEOUT_S: Final = 120.0
_LEAD_S: Final = 0.3
_TAIL_S: Final = 0.4
_PEAK: Final = 0.5

# espeak-ng speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
_CHARS_UTF8: Final = 1
_RATE, _PITCH, _RANGE = 1, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One recording to make.

    Attributes:
        name: file name without ending.
        parts: what is said; a pause lies between two parts.
        voice: espeak-ng language or voice, with a variant after "+" (`en-us+f3`).
        rate_wpm: words per minute, 80 … 450.
        pitch: 0 … 99.
        pause_s: length of the pauses between parts.
        noise_dbfs: level of the room's noise; more than 35 dB below the voice, or no end of speech can be heard.
        seed: of the noise.
    """

    name: str
    parts: tuple[str, ...]
    voice: str = "en-us"
    rate_wpm: int = 160
    pitch: int = 50
    pause_s: float = 0.0
    noise_dbfs: float = -66.0
    seed: int = 0

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(self.parts)


def render(questions: list[Question], folder: Path) -> dict[str, Path]:
    """Make the recordings in a process of its own.

    Returns: name → WAV file.
    Raises: ConfigError: espeak-ng is not installed or does not know a voice.
    """
    request = json.dumps({"folder": str(folder), "questions": [asdict(question) for question in questions]})
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.questions"],
        input=request,
        capture_output=True,
        text=True,
        timeout=_RENDER_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(f"questions cannot be synthesised: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return {question.name: folder / f"{question.name}.wav" for question in questions}


class _Espeak:
    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise SystemExit("espeak-ng is missing; install the extra [espeak]") from error
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self._rate_hz = int(self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0))
        if self._rate_hz <= 0:
            raise SystemExit("espeak-ng cannot be initialised")
        callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._pieces: list[NDArray[np.int16]] = []
        self._callback = callback_type(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, pcm: Any, count: int, _events: int | None) -> int:
        if count > 0:
            self._pieces.append(np.ctypeslib.as_array(pcm, shape=(count,)).copy())
        return 0

    def speak(self, text: str, question: Question) -> NDArray[np.float32]:
        """The text in the question's voice, float32[n] at RATE_HZ."""
        if self._library.espeak_SetVoiceByName(question.voice.encode()) != 0:
            raise SystemExit(f"espeak-ng has no voice {question.voice!r}")
        for parameter, value in ((_RATE, question.rate_wpm), (_PITCH, question.pitch), (_RANGE, 60)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._pieces.clear()
        encoded = text.encode()
        status = self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _CHARS_UTF8, None, None)
        if status != 0 or not self._pieces:
            raise SystemExit(f"espeak-ng cannot say {text!r}")
        pcm = np.concatenate(self._pieces).astype(np.float32) / 32768.0
        return _trimmed(_resampled(pcm, self._rate_hz, RATE_HZ))


def _resampled(samples: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Band-limited resampling through the spectrum: exact, repeatable, no dependency."""
    count = round(samples.size * to_hz / from_hz)
    spectrum = np.fft.rfft(samples, n=samples.size)
    wanted = np.zeros(count // 2 + 1, dtype=complex)
    kept = min(wanted.size, spectrum.size)
    wanted[:kept] = spectrum[:kept]
    return np.asarray(np.fft.irfft(wanted, n=count) * (count / samples.size), dtype=np.float32)


def _trimmed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    loud = np.flatnonzero(np.abs(samples) > 0.002)
    return samples[loud[0] : loud[-1] + 1] if loud.size else samples


def _record(espeak: _Espeak, question: Question) -> NDArray[np.float32]:
    pieces = [np.zeros(round(_LEAD_S * RATE_HZ), dtype=np.float32)]
    for index, part in enumerate(question.parts):
        if index:
            pieces.append(np.zeros(round(question.pause_s * RATE_HZ), dtype=np.float32))
        pieces.append(espeak.speak(part, question))
    pieces.append(np.zeros(round(_TAIL_S * RATE_HZ), dtype=np.float32))
    sound = np.concatenate(pieces)
    sound *= np.float32(_PEAK / max(1e-6, float(np.abs(sound).max())))
    noise = np.random.default_rng(question.seed).normal(scale=10.0 ** (question.noise_dbfs / 20.0), size=sound.size)
    return np.clip(sound + noise, -1.0, 1.0).astype(np.float32)


def _main() -> int:
    request = json.loads(sys.stdin.read())
    folder = Path(request["folder"])
    espeak = _Espeak()
    for item in request["questions"]:
        question = Question(**{**item, "parts": tuple(item["parts"])})
        pcm = np.round(_record(espeak, question) * 32767.0).astype("<i2")
        with wave.open(str(folder / f"{question.name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(pcm.tobytes())
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
