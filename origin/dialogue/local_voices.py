"""Voices whose server runs beside the origin: what Piper and Kokoro need, and how they are started."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from core.errors import ConfigError
from origin.config import TtsConfig

__all__ = ["SERVED", "is_served", "local_command", "missing"]

SERVED: Final = ("http", "kokoro", "piper")
"""Services with the HTTP API of Piper's server."""

_KOKORO_FILES: Final = "https://github.com/thewh1teagle/kokoro-onnx/releases/tag/model-files-v1.0"
_KOKORO_MODEL: Final = "kokoro-v1.0.onnx"
_KOKORO_VOICES: Final = "voices-v1.0.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Local:
    """What a voice needs on this machine.

    Attributes:
        packages: that must be there.
        install: how to get them.
        voice: who speaks if nobody is asked for.
    """

    packages: tuple[str, ...]
    install: str
    voice: str


_LOCAL: Final = {
    "piper": _Local(packages=("piper", "flask"), install="pip install 'visavis[piper]'", voice="en_US-lessac-medium"),
    "kokoro": _Local(packages=("kokoro_onnx",), install="pip install 'visavis[kokoro]'", voice="af_heart"),
}


def is_served(service: str) -> bool:
    """Whether this voice is behind HTTP, here or elsewhere."""
    return service in SERVED


def missing(service: str, config: TtsConfig) -> str:
    """What a voice of this name lacks to be started here, as one sentence with its remedy; "": nothing."""
    if service == "http":
        return "" if config.server_url else "Its address is not set: origin.tts.server_url."
    if config.server_url:
        return ""
    local = _LOCAL[service]
    lacking = [package for package in local.packages if find_spec(package) is None]
    if lacking:
        return f"The package {lacking[0]} is not installed: {local.install}."
    folder = config.server_folder
    if service == "piper":
        voice = config.server_voice or local.voice
        if _piper_file(config) is None:
            command = f"python -m piper.download_voices --download-dir {folder} {voice}"
            return f"There is no voice {voice} in {folder.absolute()}: {command}."
        return ""
    files = [name for name in (_KOKORO_MODEL, _KOKORO_VOICES) if not (folder / name).is_file()]
    return f"There is no {files[0]} in {folder.absolute()}; it is at {_KOKORO_FILES}." if files else ""


def local_command(config: TtsConfig, language: str, port: int) -> list[str]:
    """The module that serves a voice here, and its arguments.

    Args:
        language: of the voice, as espeak-ng names it; Kokoro wants to know.
    Raises: ConfigError: something is missing.
    """
    if why := missing(config.service, config):
        raise ConfigError(f"origin.tts.service is {config.service!r}. {why}")
    folder = config.server_folder.absolute()
    voice = config.server_voice or _LOCAL[config.service].voice
    if config.service == "piper":
        return ["piper.http_server", "--host", "127.0.0.1", "--port", str(port), "-m", str(_piper_file(config))]
    return [
        "origin.dialogue.kokoro_server", "--port", str(port), "--model", str(folder / _KOKORO_MODEL),
        "--voices", str(folder / _KOKORO_VOICES), "--voice", voice, "--language", language,
    ]  # fmt: skip


def _piper_file(config: TtsConfig) -> Path | None:
    """The voice's file: in the folder, or anywhere if its whole name is given."""
    voice = config.server_voice or _LOCAL["piper"].voice
    for path in (config.server_folder / f"{voice}.onnx", Path(voice)):
        if path.is_file() and path.suffix == ".onnx" and Path(f"{path}.json").is_file():
            return path.absolute()
    return None
