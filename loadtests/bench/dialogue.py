"""How well the origin listens and how soon it answers: recogniser, judge, voice and pipeline, without POP and network.

Questions are synthesised in voices that nothing was tuned with. Accuracy is measured through the real worker process as
fast as it goes; answers in real time, one question after the other, as a POP would send the microphone's packets.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from loguru import logger
from numpy.typing import NDArray

from core.fabric.bus import Subscription
from core.fabric.memory import MemoryBus
from core.host.entropy import SeededEntropy
from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import (
    MicrophonePacket,
    Opened,
    SpeechPacket,
    StageTimes,
    Transcript,
    UpMessage,
    UserText,
    decode_down,
    down_subject,
    encode,
    up_subject,
)
from loadtests.audio import read_audio
from loadtests.bench.harness import Result, percentile
from loadtests.microphone import Microphone
from loadtests.questions import Question, render
from loadtests.signals import end_of_speech, word_errors
from origin.config import OriginConfig
from origin.dialogue.character import Character, load_characters
from origin.dialogue.clauses import split_clauses

if TYPE_CHECKING:  # Pipecat takes a second to load: not for a list of benchmarks
    from origin.dialogue.services import Shared
    from origin.dialogue.session import DialogueSession

__all__ = ["DESCRIPTION", "Said", "add_arguments", "make_sounds", "run", "spread"]

DESCRIPTION = "the origin alone: words understood, strangers' words believed, time to answer, voice, memory"

_VOICES: Final = ("en-gb-scotland", "en-us+f5", "en-us+m8", "en-gb-x-gbclan+f1")
_RATES_WPM: Final = (145, 165, 180)
_OTHERS: Final = (
    "I left my umbrella on the train.",
    "The soup needs a little more salt.",
    "My brother plays football every weekend.",
    "Could you call me a taxi?",
    "We painted the kitchen yellow.",
    "The meeting was moved to Thursday.",
    "How do I bake a chocolate cake?",
    "There is a spider in the bathroom.",
    "She bought three tickets to London.",
    "What is the capital of Peru?",
    "I forgot my password again.",
    "Please turn down the music.",
)
"""Nothing that the character's phrases are like."""
_ANSWER_S_MAX: Final = 6.0
_TAIL_S: Final = 1.5
"""A POP sends so much more of the microphone after the user's last speech."""
_RESPONSE_S_MAX: Final = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--recognised", type=int, help="phrases to recognise (default 60, quick 12)")
    parser.add_argument("--asked", type=int, help="questions of each kind to answer (default 20, quick 3)")
    parser.add_argument("--sessions", type=int, help="sessions to weigh (default 50, quick 20)")


def run(options: argparse.Namespace) -> Result:
    """Measure the origin's parts, then the whole of it."""
    logger.remove()  # Pipecat's own log
    characters = load_characters()
    config = OriginConfig()
    phrases = spread(tuple(characters[config.character].phrases()), options.recognised or (12 if options.quick else 60))
    asked = options.asked or (3 if options.quick else 20)
    others = list(itertools.islice(itertools.cycle(_OTHERS), 8 if options.quick else max(asked, len(_OTHERS))))
    with tempfile.TemporaryDirectory() as folder:
        phrase_sounds = make_sounds("phrase", phrases, Path(folder))
        other_sounds = make_sounds("other", others, Path(folder))
    sessions = options.sessions or (20 if options.quick else 50)
    return asyncio.run(_measure(config, characters, phrase_sounds, other_sounds, asked, sessions))


async def _measure(
    config: OriginConfig,
    characters: dict[str, Character],
    phrases: Sequence[Said],
    others: Sequence[Said],
    asked: int,
    sessions: int,
) -> Result:
    from origin.dialogue.services import Shared

    shared = Shared(config, characters, SeededEntropy(1))
    await shared.start()
    try:
        words = await _recognise(shared, phrases, others)
        voice = await _speak(shared)
        memory = await _weigh(shared, sessions)
        typed = await _type(shared, 3 * asked)
        answers = {
            "phrase": [await _answer(shared, said) for said in phrases[:asked]],
            "other": [await _answer(shared, said) for said in others[:asked]],
        }
    finally:
        await shared.aclose()
    figures = {**words.figures, **voice, **memory, **typed}
    for kind, turns in answers.items():
        times = [turn.first_packet_ms for turn in turns if turn.first_packet_ms is not None]
        figures[f"{kind}_unanswered"] = len(turns) - len(times)
        if times:
            figures[f"{kind}_first_packet_ms_p50"] = percentile(times, 50)
            figures[f"{kind}_first_packet_ms_p95"] = percentile(times, 95)
    details = {
        "voices": list(_VOICES),
        "recognised": words.details,
        "answers": {kind: [turn.detail() for turn in turns] for kind, turns in answers.items()},
    }
    return Result(figures=figures, details=details)


# --- what is said ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """A text and its sound, float32[n] at 48 kHz."""

    text: str
    samples: NDArray[np.float32]


def spread(texts: Sequence[str], count: int) -> list[str]:
    """So many of them, from everywhere."""
    count = min(count, len(texts))
    return [texts[index * len(texts) // count] for index in range(count)]


def make_sounds(kind: str, texts: Sequence[str], folder: Path) -> list[Said]:
    """Let the voices say them in turn; the folder may be deleted afterwards."""
    questions = [
        Question(
            name=f"{kind}{index}",
            parts=(text,),
            voice=_VOICES[index % len(_VOICES)],
            rate_wpm=_RATES_WPM[index % len(_RATES_WPM)],
            seed=index,
        )
        for index, text in enumerate(texts)
    ]
    files = render(questions, folder)
    return [Said(each.text, read_audio(files[each.name], length_s_max=30.0)) for each in questions]


# --- parts -------------------------------------------------------------------------------------------------------


async def _recognise(shared: Shared, phrases: Sequence[Said], others: Sequence[Said]) -> Result:
    """Words and the judge between grammar and dictation."""
    assert shared.ears is not None
    character = shared.config.character
    matcher = shared.matchers[character]
    exact = rejected = understood = believed = errors = words = 0
    details: list[dict[str, Any]] = []
    for said, in_grammar in [*((each, True) for each in phrases), *((each, False) for each in others)]:
        hearing = shared.ears.listen(character, lambda text: None)
        hearing.feed((said.samples[::3] * 32767.0).astype("<i2").tobytes())
        hearing.finish()
        async with asyncio.timeout(_RESPONSE_S_MAX):
            heard = await hearing.result
        details.append({"said": said.text, "heard": heard.text, "in_grammar": heard.in_grammar})
        if in_grammar:
            exact += heard.text == said.text
            rejected += not heard.in_grammar
            meant, found = matcher.match(said.text), matcher.match(heard.text)
            understood += meant is not None and found is not None and meant.intent == found.intent
        else:
            believed += heard.in_grammar
            count = word_errors(said.text, heard.text)
            errors, words = errors + count.errors, words + count.words
    finals = [await _final_ms(shared, said) for said in phrases[:10]]
    return Result(
        figures={
            "phrase_exact_ratio": exact / len(phrases),
            "phrase_understood_ratio": understood / len(phrases),
            "phrase_rejected_ratio": rejected / len(phrases),
            "other_believed_ratio": believed / len(others),
            "other_word_error_ratio": errors / words,
            "final_ms_p50": percentile(finals, 50),
            "final_ms_p95": percentile(finals, 95),
        },
        details={"all": details},
    )


async def _final_ms(shared: Shared, said: Said) -> float:
    """From the end of the sound to the words, where the recogniser has heard the sound already."""
    assert shared.ears is not None
    heard = asyncio.Event()
    hearing = shared.ears.listen(shared.config.character, lambda text: heard.set())
    hearing.feed((said.samples[::3] * 32767.0).astype("<i2").tobytes())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await heard.wait()  # a partial result: all of it is decoded
    began = time.monotonic()
    hearing.finish()
    await hearing.result
    return 1e3 * (time.monotonic() - began)


async def _speak(shared: Shared) -> dict[str, float]:
    """From a clause to its sound."""
    assert shared.voice is not None
    character = shared.characters[shared.config.character]
    clauses = [clause for intent in character.intents for line in intent.lines for clause in split_clauses(line)]
    times: list[float] = []
    for clause in clauses:
        began = time.monotonic()
        await shared.voice.speak(clause, character.voice)
        times.append(1e3 * (time.monotonic() - began))
    return {"clause_ms_p50": percentile(times, 50), "clause_ms_p95": percentile(times, 95)}


async def _weigh(shared: Shared, count: int) -> dict[str, float]:
    """Resident memory and time per open session that nobody speaks in, after a first few have filled the caches."""
    first = [await _Caller.connect(shared, f"first-{index}") for index in range(5)]
    gc.collect()
    before, began = _resident_bytes(), time.monotonic()
    callers = [await _Caller.connect(shared, f"weighed-{index}") for index in range(count)]
    open_ms = 1e3 * (time.monotonic() - began) / count
    gc.collect()
    grown = _resident_bytes() - before
    for caller in [*first, *callers]:
        await caller.aclose()
    return {"session_kibibytes": grown / 1024 / count, "session_open_ms": open_ms}


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


# --- the whole ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    said: str
    heard: str
    first_packet_ms: float | None
    stages: dict[str, float]

    def detail(self) -> dict[str, Any]:
        first = self.first_packet_ms
        return {
            "said": self.said,
            "heard": self.heard,
            "first_packet_ms": None if first is None else round(first, 1),
            "stages": self.stages,
        }


@dataclass
class _Caller:
    """One viewer, as its POP would speak for it."""

    session: DialogueSession
    bus: MemoryBus
    first_packet_at: float = 0.0
    heard: str = ""
    stages: dict[str, float] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    reader: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, shared: Shared, session_id: str) -> _Caller:
        from origin.dialogue.session import DialogueSession

        bus = MemoryBus()
        caller = cls(DialogueSession(session_id, shared.characters[shared.config.character], shared, bus), bus)
        subscription = await bus.subscribe(down_subject(session_id))
        caller.reader = asyncio.create_task(caller._read(subscription))
        await caller.session.start()
        caller.send(Opened(epoch=1, transport="bench"))
        return caller

    async def _read(self, subscription: Subscription) -> None:
        async for message in subscription:
            match decode_down(message.payload):
                case SpeechPacket() if not self.first_packet_at:
                    self.first_packet_at = time.monotonic()
                    self.answered.set()
                case Transcript(text=text, final=True):
                    self.heard = text
                case StageTimes(stages=stages):
                    self.stages = stages
                case _:
                    pass

    def send(self, message: UpMessage) -> None:
        self.bus.publish_nowait(up_subject(self.session.id), encode(message))

    async def wait(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_S_MAX):
                await self.answered.wait()
        except TimeoutError:
            return False
        return True

    async def aclose(self) -> None:
        await self.session.aclose("bench")
        if self.reader is not None:
            self.reader.cancel()
        await self.bus.aclose()


async def _type(shared: Shared, count: int) -> dict[str, float]:
    times: list[float] = []
    for index in range(count):
        caller = await _Caller.connect(shared, f"typed-{index}")
        began = time.monotonic()
        caller.send(UserText(text="Tell me a joke."))
        if await caller.wait():
            times.append(1e3 * (caller.first_packet_at - began))
        await caller.aclose()
    return {
        "typed_unanswered": count - len(times),
        "typed_first_packet_ms_p50": percentile(times, 50),
        "typed_first_packet_ms_p95": percentile(times, 95),
    }


async def _answer(shared: Shared, said: Said) -> _Answer:
    """One question, spoken in real time, in a session of its own."""
    caller = await _Caller.connect(shared, "spoken")
    microphone = Microphone(now=time.monotonic())
    began = microphone.say(said.samples)
    ended_at = began + (end_of_speech(said.samples, MEDIA_CLOCK_HZ) or 0.0)
    while not caller.answered.is_set() and time.monotonic() < ended_at + _TAIL_S:
        await asyncio.sleep(max(0.0, microphone.due - time.monotonic()))
        packet = microphone.next_packet()
        caller.send(MicrophonePacket(opus=packet.opus, timestamp=packet.timestamp))
    answered = await caller.wait()
    await caller.aclose()
    return _Answer(
        said=said.text,
        heard=caller.heard,
        first_packet_ms=1e3 * (caller.first_packet_at - ended_at) if answered else None,
        stages=caller.stages,
    )
