"""What of the configured services is there, and what is missing and why: looked at, not started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal

import httpx

from origin.config import LlmConfig, OriginConfig, SttConfig, TtsConfig

__all__ = ["ServiceReport", "examine_services"]

_ANSWER_S_MAX: Final = 3.0
_PACKAGES: Final = {"pocketsphinx": "pocketsphinx", "espeak": "espeakng_loader", "openai": "openai"}
_EXTRAS: Final = {"pocketsphinx": "origin", "espeak": "espeak", "openai": "origin"}

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
    """Look at every known service; those with an API are asked only where they are configured.

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
            if name not in names:
                found, why = False, f"There is no such service; known are {', '.join(sorted(names))}."
            else:
                found, why = _examine(name, section if configured else None, fetch or _get)
            reports.append(ServiceReport(role=role, name=name, configured=configured, found=found, why=why))
    return reports


def _examine(name: str, section: _Remote | None, fetch: _Fetch) -> tuple[bool, str]:
    package = _PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        return False, f"The package {package} is not installed: pip install 'visavis[{_EXTRAS[name]}]'."
    if name != "openai":
        return True, "It comes along and needs nothing else."
    if section is None:
        return True, "The client is installed; the API is asked only when it is configured."
    return _ask(section, fetch)


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
