"""espeak-ng through ctypes: sound with the times of its phonemes and words.

GPL-3.0: this file is imported only by the voice's worker process, which talks with the origin over pipes. The library
is not thread-safe and keeps global state: one instance per process, one call at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Espeak", "EspeakError", "Spoken", "VoiceSettings"]

_AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
_INITIALIZE_PHONEME_EVENTS: Final = 0x0001
_INITIALIZE_PHONEME_IPA: Final = 0x0002
_INITIALIZE_DONT_EXIT: Final = 0x8000
_CHARS_UTF8: Final = 1
_ENDPAUSE: Final = 0x1000
_POS_CHARACTER: Final = 1
_EVENT_END: Final = 0
_EVENT_WORD: Final = 1
_EVENT_PHONEME: Final = 7
_RATE, _PITCH, _RANGE, _WORDGAP = 1, 3, 4, 7
_EE_OK: Final = 0
_STRESS: Final = {"ˈ": 2, "ˌ": 1}


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class EspeakError(Exception):
    """The library refused something; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceSettings:
    """A voice as espeak-ng understands it.

    Attributes:
        name: a voice, e.g. "en-us", with a variant after "+", e.g. "en-us+Annie".
        rate_wpm: 80-450 words per minute.
        pitch: 0-99, base pitch.
        range: 0-99, how lively the intonation is.
    """

    name: str
    rate_wpm: int
    pitch: int
    range: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """One clause, spoken.

    Attributes:
        pcm: float32 in [-1, 1), shape (samples,), at the library's sample rate.
        phonemes: IPA symbol, first sample, sample after the last, stress; in order, without gaps.
        words: position and length in the text (characters), first sample, sample after the last.
    """

    pcm: npt.NDArray[np.float32]
    phonemes: list[tuple[str, int, int, int]]
    words: list[tuple[int, int, int, int]]


class Espeak:
    """The library, loaded once per process.

    Attributes:
        sample_rate_hz: of all PCM it gives.

    Raises: EspeakError: its data cannot be loaded.
    """

    def __init__(self) -> None:
        import espeakng_loader

        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        flags = _INITIALIZE_PHONEME_EVENTS | _INITIALIZE_PHONEME_IPA | _INITIALIZE_DONT_EXIT
        data = espeakng_loader.get_data_path().encode()
        rate = self._lib.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 20, data, flags)
        if rate <= 0:
            raise EspeakError(f"espeak-ng cannot load its data from {data.decode()}")
        self.sample_rate_hz: int = rate
        self._callback = _Callback(self._on_sound)  # kept: the library holds only its address
        self._lib.espeak_SetSynthCallback(self._callback)
        self._voice: VoiceSettings | None = None
        self._cancelled: Callable[[], bool] = bool
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._phonemes: list[tuple[str, int]] = []
        self._words: list[tuple[int, int, int]] = []

    def set_voice(self, voice: VoiceSettings) -> None:
        """Change how everything after this is spoken. Raises: EspeakError: no such voice, or a value out of range."""
        if voice == self._voice:
            return
        if self._lib.espeak_SetVoiceByName(voice.name.encode()) != _EE_OK:
            raise EspeakError(f"espeak-ng has no voice {voice.name!r}")
        for parameter, value in ((_RATE, voice.rate_wpm), (_PITCH, voice.pitch), (_RANGE, voice.range), (_WORDGAP, 0)):
            if self._lib.espeak_SetParameter(parameter, value, 0) != _EE_OK:
                raise EspeakError(f"espeak-ng refuses {value} as parameter {parameter}")
        self._voice = voice

    def speak(self, text: str, cancelled: Callable[[], bool] = bool) -> Spoken | None:
        """Synthesise one clause.

        Args:
            text: plain text; markup is read out.
            cancelled: asked every 20 ms of sound; True ends the synthesis within a millisecond.

        Returns: None when it was cancelled.
        Raises: EspeakError: the library failed.
        """
        self._chunks, self._phonemes, self._words = [], [], []
        self._cancelled = cancelled
        data = text.encode("utf-8") + b"\0"
        status = self._lib.espeak_Synth(data, len(data), 0, _POS_CHARACTER, 0, _CHARS_UTF8 | _ENDPAUSE, None, None)
        if status != _EE_OK:
            raise EspeakError(f"espeak-ng could not speak (status {status})")
        self._lib.espeak_Synchronize()
        if cancelled():
            return None
        pcm = np.concatenate(self._chunks) if self._chunks else np.zeros(0, np.int16)
        end = len(pcm)
        return Spoken(pcm.astype(np.float32) / 32768.0, _spans(self._phonemes, end), self._word_spans(end))

    def _on_sound(self, wav: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if self._cancelled():
            return 1
        if wav and count > 0:
            self._chunks.append(np.ctypeslib.as_array(wav, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                # The name fills the union's 8 bytes without a terminator when it is long.
                name = ctypes.string_at(ctypes.addressof(event.id), 8).split(b"\0")[0]
                self._phonemes.append((name.decode("utf-8", "ignore"), event.sample))
            elif event.type == _EVENT_WORD:
                self._words.append((event.text_position - 1, event.length, event.sample))
            index += 1
        return 0

    def _word_spans(self, end: int) -> list[tuple[int, int, int, int]]:
        """A word lasts until the next one or until the pause after its last phoneme."""
        pauses = [sample for symbol, sample in self._phonemes if not symbol.strip("_:ˈˌ")]
        spans: list[tuple[int, int, int, int]] = []
        for index, (position, length, start) in enumerate(self._words):
            limit = self._words[index + 1][2] if index + 1 < len(self._words) else end
            pause = next((sample for sample in pauses if start < sample < limit), limit)
            spans.append((position, length, start, max(start, pause)))
        return spans


def _spans(starts: list[tuple[str, int]], end: int) -> list[tuple[str, int, int, int]]:
    """Phoneme starts as spans; each lasts until the next one begins."""
    spans: list[tuple[str, int, int, int]] = []
    for index, (name, start) in enumerate(starts):
        until = starts[index + 1][1] if index + 1 < len(starts) else end
        stress = max((_STRESS.get(mark, 0) for mark in name), default=0)
        symbol = name.strip("ˈˌ_:;|'")
        if until > start:
            spans.append((symbol, start, min(until, end), stress))
    return spans
