"""What of the configured services is there, and what is missing and why: looked at, not started.

Only a factory of one's own is called once: there is no other way to know what it gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import httpx

from core.errors import ConfigError
from origin.config import LlmConfig, OriginConfig, SttConfig, TtsConfig
from origin.dialogue.character import load_characters
from origin.dialogue.local_voices import is_served, missing
from origin.dialogue.plugged import Role, is_plugged, plug

__all__ = ["ServiceReport", "examine_services"]

_ANSWER_S_MAX: Final = 3.0
_PACKAGES: Final = {
    "pocketsphinx": "pocketsphinx",
    "espeak": "espeakng_loader",
    "openai": "openai",
    "whisper": "faster_whisper",
}
_EXTRAS: Final = {"pocketsphinx": "origin", "espeak": "espeak", "openai": "origin", "whisper": "whisper"}
_HUB: Final = "https://huggingface.co"
"""Where faster-whisper fetches what it is asked for by name."""

_Remote = LlmConfig | SttConfig | TtsConfig
_Fetch = Callable[[str, dict[str, str]], httpx.Response]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """One service that an origin may use.

    Attributes:
        role: what it does.
        name: as the configuration names it.
        configured: this origin uses it.
        found: it could be used now.
        why: one sentence, of how it was found or of what is missing.
    """

    role: Literal["stt", "llm", "tts"]
    name: str
    configured: bool
    found: bool
    why: str


def examine_services(
    config: OriginConfig, known: dict[Literal["stt", "llm", "tts"], list[str]], fetch: _Fetch | None = None
) -> list[ServiceReport]:
    """Look at every known service; those with an API are asked only where they are configured, and so are factories of
    one's own.

    Args:
        known: the names of each role.
        fetch: gets a URL with headers; None: by HTTP.

    Returns: one report per service; a configured name that nobody knows has one too.
    """
    reports: list[ServiceReport] = []
    for role, names in known.items():
        section: _Remote = getattr(config, role)
        for name in sorted({*names, section.service}):
            configured = name == section.service
            if is_plugged(name):
                found, why = _try(role, section)
            elif name not in names:
                found, why = False, f"There is no such service; known are {', '.join(sorted(names))}."
            else:
                found, why = _examine(name, section, configured, fetch or _get)
            reports.append(ServiceReport(role=role, name=name, configured=configured, found=found, why=why))
    return reports


def _examine(name: str, section: _Remote, configured: bool, fetch: _Fetch) -> tuple[bool, str]:
    package = _PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        return False, f"The package {package} is not installed: pip install 'visavis[{_EXTRAS[name]}]'."
    if is_served(name):
        assert isinstance(section, TtsConfig)
        return _served(name, section, configured, fetch)
    if name == "whisper":
        assert isinstance(section, SttConfig)
        return _whisper(section.whisper_model, configured, fetch)
    if name != "openai":
        return True, "It comes along and needs nothing else."
    if not configured:
        return True, "The client is installed; the API is asked only when it is configured."
    return _ask(section, fetch)


def _try(role: Role, section: _Remote) -> tuple[bool, str]:
    """Make one service with the user's own factory, for nobody."""
    character = next(iter(load_characters().values()))

    async def make() -> str:
        service = plug(role, section, character)
        await service.cleanup()
        return type(service).__name__

    try:
        return True, f"The factory works and gives a {asyncio.run(make())}."
    except ConfigError as error:
        return False, f"{error}."


def _served(name: str, section: TtsConfig, configured: bool, fetch: _Fetch) -> tuple[bool, str]:
    """A voice behind HTTP, that runs already or will be started beside the origin."""
    if why := missing(name, section):
        return False, why
    if not section.server_url:
        return True, "It is installed, its voice is there, and its server is started with the origin."
    if not configured:
        return True, "Its server is asked only when it is configured."
    url = section.server_url.rstrip("/")
    try:
        response = fetch(f"{url}/voices", {})
        voices = set(response.json()) if response.status_code == httpx.codes.OK else None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return False, f"No server answers at {url} ({type(error).__name__})."
    except ValueError:
        voices = None
    if voices is None:
        return True, f"{url} answers, but does not say which voices it has."
    if section.server_voice and section.server_voice not in voices:
        return False, f"{url} answers, but has no voice {section.server_voice!r}."
    return True, f"{url} answers."


def _whisper(model: str, configured: bool, fetch: _Fetch) -> tuple[bool, str]:
    """The model is a folder, was fetched before, or can be fetched now."""
    if Path(model).is_dir():
        there = (Path(model) / "model.bin").is_file()
        return there, f"The model is in {model}." if there else f"There is no model.bin in {Path(model).absolute()}."
    from faster_whisper.utils import available_models, download_model

    if model not in available_models() and (model.count("/") != 1 or model[0] in "./~"):
        return (
            False,
            f"There is neither a folder {Path(model).absolute()} nor a model of faster-whisper's of that name.",
        )
    try:
        return True, f"The model {model} is in {download_model(model, local_files_only=True)}."
    except Exception as error:
        # The hub's client raises a dozen kinds for "not here"; which one does not matter.
        del error
    if not configured:
        return True, f"It is installed; the model {model} is fetched from {_HUB} when it is configured."
    try:
        fetch(_HUB, {})
    except httpx.HTTPError as error:
        return False, f"The model {model} was never fetched, and {_HUB} cannot be reached ({type(error).__name__})."
    return True, f"The model {model} is not here yet; it is fetched from {_HUB} when the origin starts."


def _ask(section: _Remote, fetch: _Fetch) -> tuple[bool, str]:
    """Does the API answer, take the key and know the model? OpenAI-compatible: GET /models."""
    base = section.base_url.rstrip("/")
    headers = {"Authorization": f"Bearer {section.api_key}"} if section.api_key else {}
    try:
        response = fetch(f"{base}/models", headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return False, f"{base} cannot be reached ({type(error).__name__})."
    if response.status_code in (401, 403):
        return False, f"{base} refuses the API key." if section.api_key else f"{base} asks for an API key."
    if response.status_code != httpx.codes.OK:
        return True, f"{base} answers, but lists no models (HTTP {response.status_code})."
    try:
        models = {str(model["id"]) for model in response.json()["data"]}
    except (ValueError, KeyError, TypeError):
        return True, f"{base} answers, but its list of models cannot be read."
    if section.model not in models:
        return False, f"{base} does not know the model {section.model!r}."
    return True, f"{base} answers and knows the model {section.model!r}."


def _get(url: str, headers: dict[str, str]) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=_ANSWER_S_MAX, trust_env=False)
