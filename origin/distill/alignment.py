"""Which sound is when, in a recording whose words are known: forced alignment with PocketSphinx.

Right to about 20 ms, which is as good as a reference for natural speech gets without hands.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import soxr
from numpy.typing import NDArray

from core.errors import ConfigError
from core.speech.messages import PhonemeSpan
from origin.dialogue.arpabet import ARPABET, arpabet_of, phones_in, spans_of

__all__ = ["ARPABET", "align", "arpabet_of", "spans_of"]

_RATE_HZ: Final = 16_000
_BEAMS: Final = (1e-48, 1e-64, 1e-80, 1e-120)
"""How far the search may stray: narrow first, wider where nothing was found."""


def align(pcm: NDArray[np.float32], sample_rate_hz: int, text: str, *, name: str = "recording") -> list[PhonemeSpan]:
    """Find the phonemes.

    Args:
        pcm: float32[n], mono.
        text: exactly what is said; words that no dictionary knows are refused.
    Returns: spans in 48 kHz ticks from the first sample on; vowels of longer duration than their neighbours' carry
        stress 2, as no dictionary of stress comes with the recogniser.
    Raises: ConfigError: a word is unknown, or the text does not fit the sound.
    """
    from pocketsphinx import Decoder, get_model_path

    model = Path(get_model_path()) / "en-us"
    sound = soxr.resample(pcm, sample_rate_hz, _RATE_HZ, quality="HQ") if sample_rate_hz != _RATE_HZ else pcm
    data = (np.clip(sound, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()
    for beam in _BEAMS:
        decoder = Decoder(
            hmm=str(model / "en-us"), dict=str(model / "cmudict-en-us.dict"), lm=None, loglevel="FATAL", bestpath=False,
            beam=beam, wbeam=beam, pbeam=beam,
        )  # fmt: skip
        words = re.sub(r"[^a-z' ]+", " ", text.lower()).split()
        unknown = [word for word in words if decoder.lookup_word(word) is None]
        if not words or unknown:
            raise ConfigError(f"{name}: {', '.join(unknown) or 'an empty text'} cannot be aligned")
        decoder.set_align_text(" ".join(words))
        try:
            _decode(decoder, data)  # words, with their pronunciations
            decoder.set_alignment()
            _decode(decoder, data)  # their sounds
        except RuntimeError:
            continue
        return spans_of(phones_in(decoder))
    raise ConfigError(f"{name}: the text does not fit the sound")


def _decode(decoder: Any, data: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()
