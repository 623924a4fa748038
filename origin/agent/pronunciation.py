"""Phonemes where an agent gives none: its words in espeak-ng's mouth, stretched onto its own times."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from core.limits import AGENT_TEXTS_MAX
from core.speech.messages import PhonemeSpan, WordSpan
from core.speech.word_times import fit_to_length, fit_to_words
from origin.dialogue.character import Voice
from origin.dialogue.tts import SpeechFailedError, VoiceWorker
from origin.dialogue.worker_messages import Clause
from origin.dialogue.worker_process import WorkerGoneError

__all__ = ["Pronunciation"]

_log = logging.getLogger(__name__)

Place = Callable[[tuple[PhonemeSpan, ...]], None]
_Fit = Callable[[Clause], tuple[PhonemeSpan, ...]]


class Pronunciation:
    """Of one session: asks in order, never waits.

    Args:
        voice: gives the process that pronounces; None where espeak-ng is not installed.
        on_failure: told why a text could not be pronounced; the face then goes by the sound alone.
    """

    def __init__(self, voice: Callable[[], Awaitable[VoiceWorker | None]], on_failure: Callable[[str], None]) -> None:
        self._voice = voice
        self._on_failure = on_failure
        self._asked: asyncio.Queue[tuple[str, str, _Fit, Place]] = asyncio.Queue(AGENT_TEXTS_MAX)

    def words(self, language: str, words: tuple[WordSpan, ...], place: Place) -> None:
        """Find the phonemes of timed words and hand them to `place`, none when there are none."""
        text = " ".join(word.text for word in words)
        self._ask(language, text, lambda clause: fit_to_words(*_spans(clause), words), place)

    def text(self, language: str, text: str, start: int, end: int, place: Place) -> None:
        """The same for a text that sounds from tick `start` to tick `end`."""
        if end <= start:
            place(())
        else:
            self._ask(language, text, lambda clause: fit_to_length(_spans(clause)[0], start, end), place)

    def _ask(self, language: str, text: str, fit: _Fit, place: Place) -> None:
        try:
            self._asked.put_nowait((language, text, fit, place))
        except asyncio.QueueFull:
            self._on_failure(f"More than {AGENT_TEXTS_MAX} texts wait to be pronounced.")
            place(())

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            language, text, fit, place = await self._asked.get()
            clause = await self._speak(language, text)
            place(fit(clause) if clause is not None else ())

    async def _speak(self, language: str, text: str) -> Clause | None:
        try:
            worker = await self._voice()
            if worker is not None:
                return await worker.speak(text, Voice(name=language), silent=True)
            self._on_failure("espeak-ng is not installed at the origin.")
        except SpeechFailedError as error:
            self._on_failure(f"{error}.")
        except WorkerGoneError as error:
            _log.warning("words are not pronounced: %s", error)
            self._on_failure("The process that pronounces words does not answer.")
        return None


def _spans(clause: Clause) -> tuple[tuple[PhonemeSpan, ...], tuple[WordSpan, ...]]:
    return tuple(PhonemeSpan(*one) for one in clause.phonemes), tuple(WordSpan(*one) for one in clause.words)
