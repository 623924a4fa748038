"""Which Pipecat service listens, thinks and speaks: a name in the configuration, a factory here.

Another vendor is one factory more: `STT["deepgram"] = …`. A factory gets what all sessions share and the session's
character, and gives a service of its own to every session.
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
from origin.dialogue.character import Character
from origin.dialogue.detector import load_detector
from origin.dialogue.ending import EndingJudge
from origin.dialogue.matcher import Matcher
from origin.dialogue.stt import SAMPLE_RATE_HZ, EarPool
from origin.dialogue.tts import SpeechFailedError, VoiceWorker
from origin.dialogue.worker_process import WorkerGoneError

__all__ = ["LLM", "STT", "TTS", "Shared", "check_services", "espeak_installed"]

_log = logging.getLogger(__name__)

_WARM_UP_BYTES: Final = 32_000
_REHEARSAL: Final = "Hello, could you please tell me what there is to see?"
_NO_KEY: Final = "none"
"""The OpenAI client insists on some key; servers of one's own need none."""


@dataclass(slots=True)
class Shared:
    """What all sessions of one origin share.

    Attributes:
        ears, voice: the embedded workers, None when others are configured.
        ending: judges by the sound whether a turn is over, None when nobody does.
        matchers: one per character.
    """

    config: OriginConfig
    characters: dict[str, Character]
    entropy: Entropy
    ears: EarPool | None = None
    voice: VoiceWorker | None = None
    ending: EndingJudge | None = None
    matchers: dict[str, Matcher] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.matchers = {name: Matcher(character) for name, character in self.characters.items()}

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
        await asyncio.gather(*loading)
        if not loading:
            return
        try:
            await self._rehearse()
        except (SpeechFailedError, WorkerGoneError) as error:
            _log.warning("the rehearsal failed, the first answer will be slow: %s", error)

    async def phonemiser(self) -> VoiceWorker | None:
        """The embedded voice, to tell how words sound: started when first needed, None where it is not installed."""
        if self.voice is None:
            if not espeak_installed():
                return None
            self.voice = VoiceWorker(self.config.tts.timeout_s)
            await self.voice.start()
        return self.voice

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
        if self.ending is not None:
            self.ending.close()
        await asyncio.gather(*(part.aclose() for part in (self.ears, self.voice) if part is not None))


Factory = Callable[[Shared, Character], FrameProcessor]


def _pocketsphinx(shared: Shared, character: Character) -> FrameProcessor:
    from origin.dialogue.stt import PocketSphinxSTTService

    assert shared.ears is not None
    return PocketSphinxSTTService(shared.ears, character.id)


def _openai_stt(shared: Shared, character: Character) -> FrameProcessor:
    from pipecat.services.openai.stt import OpenAISTTService

    config = shared.config.stt
    return OpenAISTTService(
        api_key=config.api_key or _NO_KEY,
        base_url=config.base_url,
        settings=OpenAISTTService.Settings(model=config.model),
        ttfs_p99_latency=config.timeout_s,
    )


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
    return EspeakTTSService(shared.voice, character.voice)


def _openai_tts(shared: Shared, character: Character) -> FrameProcessor:
    from pipecat.services.openai.tts import OpenAITTSService

    config = shared.config.tts
    return OpenAITTSService(
        api_key=config.api_key or _NO_KEY,
        base_url=config.base_url,
        settings=OpenAITTSService.Settings(model=config.model, voice=config.voice),
    )


STT: Final[dict[str, Factory]] = {"pocketsphinx": _pocketsphinx, "openai": _openai_stt}
LLM: Final[dict[str, Factory]] = {"scripted": _scripted, "openai": _openai_llm}
TTS: Final[dict[str, Factory]] = {"espeak": _espeak, "openai": _openai_tts}


def check_services(config: OriginConfig) -> None:
    """Raises: ConfigError: a service nobody knows, or a missing optional package."""
    groups: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("stt", config.stt.service, STT),
        ("llm", config.llm.service, LLM),
        ("tts", config.tts.service, TTS),
    )
    for group, name, known in groups:
        if name not in known:
            raise ConfigError(f"origin.{group}.service is {name!r}; known are {', '.join(sorted(known))}")
    if config.tts.service == "espeak" and not espeak_installed():
        raise ConfigError("origin.tts.service is 'espeak', which needs the extra: pip install 'visavis[espeak]'")


def espeak_installed() -> bool:
    """Whether the embedded voice can be started."""
    return find_spec("espeakng_loader") is not None
