"""Which Pipecat service listens, thinks and speaks: a name in the configuration, a factory here.

A factory gets what all sessions share and the session's character, and gives a service of its own to every session. Any
other service of Pipecat's is named as "module:factory", see `plugged.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from pipecat.processors.frame_processor import FrameProcessor

from core.errors import ConfigError
from core.host.entropy import Entropy
from core.limits import MEDIA_CLOCK_HZ
from origin.config import OriginConfig
from origin.dialogue.aligner import Aligner
from origin.dialogue.character import Character, Voice
from origin.dialogue.clause_stock import ClauseStock
from origin.dialogue.clause_timer import Pace
from origin.dialogue.detector import load_detector
from origin.dialogue.ending import EndingJudge
from origin.dialogue.local_voices import SERVED, is_served, local_command, missing
from origin.dialogue.matcher import Matcher
from origin.dialogue.openings import Openings, apologies, own_openings
from origin.dialogue.plugged import Role, is_plugged, load_factory, plug
from origin.dialogue.stt import SAMPLE_RATE_HZ, EarPool
from origin.dialogue.timing import ClauseTiming
from origin.dialogue.tts import SpeechFailedError, VoiceWorker, opening_of
from origin.dialogue.voice_server import VoiceServer
from origin.dialogue.worker_messages import Clause
from origin.dialogue.worker_process import WorkerGoneError

__all__ = ["LLM", "STT", "TTS", "Shared", "check_services", "espeak_installed"]

_log = logging.getLogger(__name__)

_WARM_UP_BYTES: Final = 32_000
_REHEARSAL: Final = "Hello, could you please tell me what there is to see?"
_SERVER_S_MAX: Final = 60.0
_NO_KEY: Final = "none"
"""The OpenAI client insists on some key; servers of one's own need none."""


@dataclass(slots=True)
class Shared:
    """What all sessions of one origin share.

    Attributes:
        ears, voice: the embedded workers, None when others are configured.
        ending: judges by the sound whether a turn is over, None when nobody does.
        matchers: one per character.
        openings: one per character.
        on_opening: told of every first clause of an answer whether its sound was there already.
        aligner: finds phonemes in sound, None while the voice needs none.
        server: of a voice that runs beside the origin, None when none does.
        whisper: its model, None while nobody needs it.
        pace: of the voice, where it has to be learnt.
    """

    config: OriginConfig
    characters: dict[str, Character]
    entropy: Entropy
    ears: EarPool | None = None
    voice: VoiceWorker | None = None
    ending: EndingJudge | None = None
    matchers: dict[str, Matcher] = field(default_factory=dict)
    openings: dict[str, Openings] = field(default_factory=dict)
    on_opening: Callable[[bool], None] = lambda found: None
    aligner: Aligner | None = None
    pace: Pace = field(default_factory=Pace)
    server: VoiceServer | None = None
    whisper: Any = None
    _warming: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.matchers = {name: Matcher(character) for name, character in self.characters.items()}
        self.openings = self.openings or {
            name: Openings(on_look=lambda found: self.on_opening(found)) for name in self.characters
        }

    async def start(self) -> None:
        """Start the workers that the configuration asks for, and load what sessions need. Idempotent."""
        load_detector()
        loading: list[Awaitable[None]] = []
        if self.config.tts.service == "espeak" and self.voice is None:
            self.voice = VoiceWorker(self.config.tts.timeout_s)
            loading.append(self.voice.start())
        if self.config.stt.service == "pocketsphinx" and self.ears is None:
            self.ears = EarPool(self.config.stt.workers, tuple(self.characters.values()))
            loading.append(self.ears.start())
        if self.config.turn.smart and self.ending is None:
            loading.append(self._load_ending())
        if self.config.stt.service == "whisper" and self.whisper is None:
            loading.append(self._load_whisper())
        if self.config.tts.service != "espeak":
            loading.append(self._prepare_voice())
        await asyncio.gather(*loading)
        if not loading:
            return
        try:
            await self._rehearse()
        except (SpeechFailedError, WorkerGoneError) as error:
            _log.warning("the rehearsal failed, the first answer will be slow: %s", error)
        if self.config.tts.service == "espeak" and self._warming is None:
            self._warming = asyncio.get_running_loop().create_task(self._warm_openings(), name="openings")

    async def _warm_openings(self) -> None:
        """Have the characters' own openings spoken; a clause takes a few milliseconds of the voice's process."""
        assert self.voice is not None
        try:
            for character in self.characters.values():
                openings = self.openings[character.id]
                for text in apologies(character):
                    openings.keep_apology(text, opening_of(await self.voice.speak(text, character.voice)))
                for text in own_openings(character):
                    if text not in openings:
                        openings.keep(text, opening_of(await self.voice.speak(text, character.voice)))
        except (SpeechFailedError, WorkerGoneError) as error:
            _log.warning("openings are not ready, they are spoken when they are needed: %s", error)

    async def _prepare_voice(self) -> None:
        """What a voice from elsewhere needs: its server, and whoever finds its phonemes."""
        config = self.config.tts
        if self.aligner is None and aligner_installed():
            self.aligner = Aligner()
            self.aligner.start()
        if config.service in ("kokoro", "piper") and not config.server_url and self.server is None:
            language = self.characters[self.config.character].voice.name
            self.server = VoiceServer(lambda port: local_command(config, language, port))
            self.server.start()
            if not await self.server.wait_up(_SERVER_S_MAX):
                _log.error("the server of the voice %s does not come up; its log says more", config.service)
        try:
            await self.phonemiser()
        except WorkerGoneError as error:
            _log.warning("the voice has no phonemes yet: %s", error)

    async def _load_whisper(self) -> None:
        from origin.dialogue.whisper import load_model

        self.whisper = await asyncio.to_thread(load_model, self.config.stt)

    def service(self, role: Role, character: Character) -> FrameProcessor:
        """The service of a session. Raises: ConfigError: a factory of one's own that does not work."""
        section = getattr(self.config, role)
        if is_plugged(section.service):
            return plug(role, section, character)
        return _KNOWN[role][section.service](self, character)

    async def phonemiser(self) -> VoiceWorker | None:
        """The embedded voice, to tell how words sound: started when first needed, None where it is not installed."""
        if self.voice is None:
            if not espeak_installed():
                return None
            self.voice = VoiceWorker(self.config.tts.timeout_s)
            await self.voice.start()
        return self.voice

    def timing(self, voice_service: FrameProcessor, character: Character) -> list[FrameProcessor]:
        """What comes after the voice in a pipeline: nothing after one that gives the times of its phonemes.

        Nor after one that times its words itself: such services take the next clause while the last one still sounds,
        and nobody could tell which sound is whose. Pipecat lets those, and only those, push no whole texts.
        """
        if self.config.tts.service == "espeak" or not getattr(voice_service, "_push_text_frames", True):
            return []
        aligner = self.aligner if Aligner.knows(character.voice.name) else None
        voice = Voice(name=character.voice.name)

        async def pronounce(text: str) -> Clause | None:
            try:
                worker = await self.phonemiser()
                return None if worker is None else await worker.speak(text, voice, silent=True)
            except (SpeechFailedError, WorkerGoneError) as error:
                _log.warning("a clause has no phonemes: %s", error)
                return None

        return [ClauseTiming(pronounce, aligner, self.pace)]

    async def _rehearse(self) -> None:
        """Let the ears hear the voice once: what a recogniser reads of its models when it first hears speech takes a
        second, and no viewer should wait for it."""
        if self.ears is None or self.voice is None:
            return
        character = self.characters[self.config.character]
        said = await self.voice.speak(_REHEARSAL, character.voice)
        pcm = np.frombuffer(said.pcm, "<i2")[:: MEDIA_CLOCK_HZ // SAMPLE_RATE_HZ].tobytes()
        hearings = [self.ears.listen(character.id, lambda text: None) for _ in self.ears.ears]
        for hearing in hearings:
            hearing.feed(pcm)
            hearing.finish()
        await asyncio.gather(*(hearing.result for hearing in hearings))

    async def _load_ending(self) -> None:
        self.ending = await asyncio.to_thread(EndingJudge)
        await self.ending.probability(bytes(_WARM_UP_BYTES))

    async def aclose(self) -> None:
        """End the workers, all at the same time."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.gather(self._warming, return_exceptions=True)
        if self.ending is not None:
            self.ending.close()
        parts = (self.ears, self.voice, self.aligner, self.server)
        await asyncio.gather(*(part.aclose() for part in parts if part is not None))


Factory = Callable[[Shared, Character], FrameProcessor]


def _pocketsphinx(shared: Shared, character: Character) -> FrameProcessor:
    from origin.dialogue.stt import PocketSphinxSTTService

    assert shared.ears is not None
    return PocketSphinxSTTService(shared.ears, character.id)


def _openai_stt(shared: Shared, character: Character) -> FrameProcessor:
    from origin.dialogue.openai_ears import GuardedOpenAISTTService

    return GuardedOpenAISTTService(shared.config.stt, shared.config.stt.api_key or _NO_KEY)


def _scripted(shared: Shared, character: Character) -> FrameProcessor:
    from origin.dialogue.llm import ScriptedLLMService

    return ScriptedLLMService(character, shared.matchers[character.id], shared.entropy.seed())


def _openai_llm(shared: Shared, character: Character) -> FrameProcessor:
    from origin.dialogue.llm import GuardedOpenAILLMService

    config = shared.config.llm
    return GuardedOpenAILLMService(
        character,
        base_url=config.base_url,
        model=config.model,
        api_key=config.api_key or _NO_KEY,
        first_token_s=config.first_token_s,
        stall_s=config.stall_s,
    )


def _espeak(shared: Shared, character: Character) -> FrameProcessor:
    from origin.dialogue.tts import EspeakTTSService

    assert shared.voice is not None
    stock = ClauseStock(shared.openings[character.id], character.apologies["tts-failed"])
    return EspeakTTSService(shared.voice, character.voice, stock)


def _openai_tts(shared: Shared, character: Character) -> FrameProcessor:
    from origin.dialogue.openai_voice import GuardedOpenAITTSService

    config = shared.config.tts
    return GuardedOpenAITTSService(config, config.api_key or _NO_KEY, character, shared.openings[character.id])


def _whisper(shared: Shared, character: Character) -> FrameProcessor:
    from origin.dialogue.whisper import SharedWhisperSTTService

    return SharedWhisperSTTService(shared.whisper, shared.config.stt)


def _http_voice(shared: Shared, character: Character) -> FrameProcessor:
    from origin.dialogue.http_voice import HttpVoiceTTSService

    config = shared.config.tts
    server = shared.server
    url = (lambda: config.server_url) if server is None else (lambda: server.url)
    return HttpVoiceTTSService(url, config.server_voice, config.timeout_s)


STT: Final[dict[str, Factory]] = {"pocketsphinx": _pocketsphinx, "openai": _openai_stt, "whisper": _whisper}
LLM: Final[dict[str, Factory]] = {"scripted": _scripted, "openai": _openai_llm}
TTS: Final[dict[str, Factory]] = {
    "espeak": _espeak,
    "openai": _openai_tts,
    **dict.fromkeys(SERVED, _http_voice),
}
_KNOWN: Final[dict[Role, dict[str, Factory]]] = {"stt": STT, "llm": LLM, "tts": TTS}


def check_services(config: OriginConfig) -> None:
    """Raises: ConfigError: a service nobody knows, or something that one needs is missing."""
    for role, known in _KNOWN.items():
        name = getattr(config, role).service
        if is_plugged(name):
            load_factory(role, name)
        elif name not in known:
            raise ConfigError(
                f'origin.{role}.service is {name!r}; known are {", ".join(sorted(known))}, and "module:factory"'
            )
    if config.tts.service == "espeak" and not espeak_installed():
        raise ConfigError("origin.tts.service is 'espeak', which needs the extra: pip install 'visavis[espeak]'")
    if is_served(config.tts.service) and (why := missing(config.tts.service, config.tts)):
        raise ConfigError(f"origin.tts.service is {config.tts.service!r}. {why}")
    if config.stt.service == "whisper" and find_spec("faster_whisper") is None:
        raise ConfigError("origin.stt.service is 'whisper', which needs the extra: pip install 'visavis[whisper]'")


def aligner_installed() -> bool:
    """Whether phonemes can be found in sound."""
    return find_spec("pocketsphinx") is not None


def espeak_installed() -> bool:
    """Whether the embedded voice can be started."""
    return find_spec("espeakng_loader") is not None
