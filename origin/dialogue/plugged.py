"""Services of one's own: `service = "module:factory"` in the configuration names what makes a Pipecat service.

The factory gets `config` (the section: `SttConfig`, `LlmConfig` or `TtsConfig`) and `character`, and is called once
per session. Its module is found where Python finds modules, and in the folder in which the origin was started.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from pipecat.frames.frames import ErrorFrame
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from core.errors import ConfigError
from origin.config import LlmConfig, SttConfig, TtsConfig
from origin.dialogue.character import Character
from origin.dialogue.frames import FaultFrame

__all__ = ["Role", "is_plugged", "load_factory", "plug"]

_log = logging.getLogger(__name__)

Role = Literal["stt", "llm", "tts"]
_KINDS: Final[dict[str, type[FrameProcessor]]] = {"stt": STTService, "llm": LLMService, "tts": TTSService}
_FAILED: Final = {
    "stt": "The recogniser failed.",
    "llm": "The language model failed.",
    "tts": "The voice failed.",
}


def is_plugged(service: str) -> bool:
    """Whether the configuration names a factory instead of a service that comes along."""
    return ":" in service


def load_factory(role: Role, path: str) -> Callable[..., Any]:
    """Find a factory.

    Args:
        path: "package.module:function"; the function may also be a class, or lie within one.
    Raises: ConfigError: there is none; the text says why.
    """
    name = f"origin.{role}.service is {path!r}"
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f'{name}; a service of one\'s own is "module:factory"')
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        # Whatever a module does when it is loaded: the user's code, or a package that it misses.
        raise ConfigError(f"{name}, but {module_name} cannot be imported: {type(error).__name__}: {error}") from None
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ConfigError(f"{name}, but {module_name} has no function {attribute}")
    return found  # type: ignore[no-any-return]


def plug(role: Role, config: SttConfig | LlmConfig | TtsConfig, character: Character) -> FrameProcessor:
    """A service for one session; its errors become faults that the viewer hears of.

    Raises: ConfigError: the factory fails, or gives something else than such a service.
    """
    path = config.service
    factory = load_factory(role, path)
    try:
        service = factory(config=config, character=character)
    except Exception as error:
        raise ConfigError(f"origin.{role}.service: {path} fails: {type(error).__name__}: {error}") from None
    kind = _KINDS[role]
    if not isinstance(service, kind):
        raise ConfigError(
            f"origin.{role}.service: {path} gives a {type(service).__name__}, which is no Pipecat {kind.__name__}"
        )

    async def on_error(processor: FrameProcessor, error: ErrorFrame) -> None:
        # Only whose error it is: its text may hold keys, or what was said.
        _log.warning("%s of %s; Pipecat's own log says more", _FAILED[role].rstrip("."), path)
        await processor.push_frame(FaultFrame(code=f"{role}-failed", message=_FAILED[role]))

    service.add_event_handler("on_error", on_error)
    return service
