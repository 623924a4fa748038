"""A conversation that every session of the benchmark of POPs has, over and over: a question and its answer."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.limits import MEDIA_CLOCK_HZ, TICK_SAMPLES
from core.speech.features import log_mel_frames
from core.speech.messages import PhonemeSpan, SpeechPacket, WordSpan
from loadtests.audio import VoiceEncoder, read_audio
from loadtests.questions import Question, render
from loadtests.signals import level_dbov

__all__ = ["Conversation", "Roles", "record"]

_QUESTION: Final = "Good evening. Could you please tell me about the Milky Way?"
_ANSWER: Final = "The Milky Way is our home galaxy, and it holds more stars than there are people."
_SYLLABLES: Final = (
    ("ð", 60, 0), ("ə", 70, 0), ("m", 70, 0), ("ɪ", 90, 1), ("l", 60, 0), ("k", 70, 0), ("i", 80, 0), ("w", 60, 0),
    ("eɪ", 170, 2), ("ɪ", 60, 0), ("z", 60, 0), ("aʊ", 130, 2), ("ɚ", 70, 0), ("h", 60, 0), ("oʊ", 150, 2),
    ("m", 90, 0), ("ɡ", 60, 0), ("æ", 120, 2), ("l", 60, 0), ("ə", 60, 0), ("k", 60, 0), ("s", 80, 0), ("i", 120, 1),
    ("_", 150, 0),
)  # fmt: skip
"""Phonemes with their length in ms and stress, again and again for as long as the answer takes."""
_WORD_S: Final = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Who speaks when, in ticks of a period that repeats.

    Attributes:
        period: of the conversation.
        user: ticks from its beginning that the user speaks.
        character_from, character_to: when the character does.
    """

    period: int
    user: int
    character_from: int
    character_to: int

    def describe(self) -> dict[str, float]:
        """Shares of the time, for a report."""
        return {
            "user_speaks_share": round(self.user / self.period, 3),
            "character_speaks_share": round((self.character_to - self.character_from) / self.period, 3),
            "period_s": self.period * 0.02,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What is said, as packets of 20 ms.

    Attributes:
        question: Opus packets of the user's microphone, and the audio level byte of RFC 6464.
        answer: the character's packets; `utterance_id` is to be replaced.
        answer_text, answer_words: its caption.
        roles: when each of them speaks.
    """

    question: list[tuple[bytes, int]]
    answer: list[SpeechPacket]
    answer_text: str
    answer_words: tuple[WordSpan, ...]
    roles: Roles


def record(roles: Roles) -> Conversation:
    """Have both sides spoken. Raises: ConfigError: espeak-ng is not installed."""
    parts = {"question": (_QUESTION, "en-us+f3"), "answer": (_ANSWER, "en-gb-x-rp")}
    questions = [Question(name=name, parts=(text,), voice=voice) for name, (text, voice) in parts.items()]
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        files = render(questions, Path(folder))
        asked, answered = (read_audio(files[name], length_s_max=30.0) for name in parts)
    ticks = roles.character_to - roles.character_from
    return Conversation(
        question=_microphone(_fit(asked, roles.user)),
        answer=_speech(_fit(answered, ticks)),
        answer_text=_ANSWER,
        answer_words=_words(ticks),
        roles=roles,
    )


def _fit(sound: NDArray[np.float32], ticks: int) -> NDArray[np.float32]:
    """Exactly so many packets of it, repeated where it is too short."""
    return np.resize(sound, ticks * TICK_SAMPLES).reshape(ticks, TICK_SAMPLES)


def _microphone(blocks: NDArray[np.float32]) -> list[tuple[bytes, int]]:
    encoder = VoiceEncoder()
    packets: list[tuple[bytes, int]] = []
    for block in blocks:
        level = level_dbov(block)
        packets.append((encoder.encode(block), level | (0x80 if level < 60 else 0)))
    return packets


def _speech(blocks: NDArray[np.float32]) -> list[SpeechPacket]:
    encoder = VoiceEncoder(rate_bps=24_000)
    mels = log_mel_frames(blocks.reshape(-1), MEDIA_CLOCK_HZ)
    spans = _spans(len(blocks))
    return [
        SpeechPacket(
            utterance_id=0,
            index=index,
            opus=encoder.encode(block),
            phonemes=tuple(span for span in spans if span.start // TICK_SAMPLES == index),
            log_mel=mels[index].tobytes(),
        )
        for index, block in enumerate(blocks)
    ]


def _spans(ticks: int) -> list[PhonemeSpan]:
    spans: list[PhonemeSpan] = []
    start, end = 0, ticks * TICK_SAMPLES
    while start < end:
        symbol, length_ms, stress = _SYLLABLES[len(spans) % len(_SYLLABLES)]
        stop = start + length_ms * MEDIA_CLOCK_HZ // 1_000
        spans.append(PhonemeSpan(symbol, start, min(stop, end), stress))
        start = stop
    return spans


def _words(ticks: int) -> tuple[WordSpan, ...]:
    step = round(_WORD_S * MEDIA_CLOCK_HZ)
    starts = range(0, ticks * TICK_SAMPLES, step)
    return tuple(WordSpan(word, start, start + step) for word, start in zip(_ANSWER.split(), starts, strict=False))
