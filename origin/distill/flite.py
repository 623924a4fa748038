"""Voices learnt from people: CMU's flite, whose ARCTIC voices are statistics of real speakers, with phoneme times.

espeak-ng is a formant synthesiser with many voices, none of which has a person's spectra; flite has four that do. It
runs as a program of its own (Debian: `flite`), once per utterance.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import soxr

from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ
from origin.distill.alignment import spans_of
from origin.distill.speaker import Spoken
from origin.distill.wav import read_wav

__all__ = ["FLITE_VOICES", "FliteSpeaker", "parse_segments"]

FLITE_VOICES: Final = ("slt", "rms", "awb", "kal16")
"""A woman and a man from the USA, a man from Scotland (all ARCTIC), and a man's diphones."""
_USUAL_WPM: Final = 165
_TIMEOUT_S: Final = 30.0
_PAUSE: Final = "pau"
_SEGMENT: Final = re.compile(r"([a-z]+):([0-9.]+)")


def parse_segments(printed: str) -> list[tuple[str, float, float]]:
    """What `flite -psdur` prints, as (phone, start, end) in seconds.

    Raises: ConfigError: it is something else.
    """
    found = [(phone, float(end)) for phone, end in _SEGMENT.findall(printed)]
    ends = [end for _, end in found]
    if not found or sorted(ends) != ends:
        raise ConfigError(f"flite prints no segments but {printed[:60]!r}")
    return [(phone, start, end) for (phone, end), start in zip(found, [0.0, *ends[:-1]], strict=True)]


class FliteSpeaker:
    """Speaks as `origin.distill.speaker.Speaker` does.

    Raises: ConfigError: flite is not installed.
    """

    def __init__(self) -> None:
        program = shutil.which("flite")
        if program is None:
            raise ConfigError("flite is missing (Debian: apt-get install flite); without it: --no-people")
        self._program = program

    def say(self, text: str, *, voice: str, rate_wpm: int) -> Spoken | None:
        """Speak; None when nothing comes of this text.

        Args:
            voice: of FLITE_VOICES.
            rate_wpm: about how fast, 80-450.
        Raises: ConfigError: flite fails; the text says how.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "said.wav"
            command = [
                self._program, "-voice", voice, "--setf", f"duration_stretch={_USUAL_WPM / rate_wpm:.4f}", "-psdur",
                "-t", text, "-o", str(path),
            ]  # fmt: skip
            try:
                done = subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT_S)  # noqa: S603
            except (OSError, subprocess.SubprocessError) as error:
                raise ConfigError(f"flite cannot speak as {voice}: {error}") from None
            pcm, rate = read_wav(path)
        segments = parse_segments(done.stdout.decode("ascii", "replace"))
        if all(phone == _PAUSE for phone, _, _ in segments):
            return None
        sound = np.asarray(soxr.resample(pcm, rate, MEDIA_CLOCK_HZ, quality="HQ"), np.float32)
        return Spoken(sound, tuple(spans_of((phone.upper(), start, end) for phone, start, end in segments)))
