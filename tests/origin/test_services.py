"""Services of one's own, and voices whose server runs beside the origin: found, or refused with one clear sentence."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Literal

import httpx
import pytest
from pipecat.frames.frames import ErrorFrame, Frame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from core.errors import ConfigError
from core.host.entropy import SeededEntropy
from origin.config import OriginConfig, SttConfig, TtsConfig
from origin.dialogue import local_voices
from origin.dialogue.character import load_characters
from origin.dialogue.frames import FaultFrame
from origin.dialogue.http_voice import HttpVoiceTTSService
from origin.dialogue.local_voices import local_command, missing
from origin.dialogue.plugged import plug
from origin.dialogue.service_report import ServiceReport, examine_services
from origin.dialogue.services import Shared, check_services
from origin.dialogue.voice_server import VoiceServer
from origin.dialogue.wav_stream import WavError, WavStream

MIRA = load_characters()["mira"]


class _Streaming(TTSService):
    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        yield None


KNOWN: dict[Literal["stt", "llm", "tts"], list[str]] = {"stt": [], "llm": [], "tts": ["http", "kokoro", "piper"]}
MODULE = """
from pipecat.frames.frames import ErrorFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

class Voice(TTSService):
    async def run_tts(self, text, context_id):
        yield ErrorFrame(error="the key sk-1 is wrong")

def create(config, character):
    assert (config.voice, character.id) == ("coral", "mira")
    return Voice(settings=TTSSettings(model=None, voice=None, language=None))

def wrong(config, character):
    return "a voice"

def broken(config, character):
    raise RuntimeError("no key")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in the folder in which the origin is started."""
    (tmp_path / "own_voice.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("import a_package_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("own_voice", "own_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def tts(service: str) -> TtsConfig:
    return TtsConfig(service=service)


async def test_a_factory_of_ones_own_gives_the_service_and_its_errors_are_faults(
    own: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_services(OriginConfig(tts=tts("own_voice:create")))
    service = plug("tts", tts("own_voice:create"), MIRA)
    pushed: list[Frame] = []

    async def push(frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        pushed.append(frame)

    monkeypatch.setattr(service, "push_frame", push)
    await service.push_error_frame(ErrorFrame(error="the key sk-1 is wrong"))
    (fault,) = [frame for frame in pushed if isinstance(frame, FaultFrame)]
    assert (fault.code, fault.message) == ("tts-failed", "The voice failed.")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("own_voice:", "module:factory"),
        ("own_broken:create", "cannot be imported: ModuleNotFoundError.*a_package_nobody_has"),
        ("own_voice:nothing", "has no function nothing"),
        ("own_voice:wrong", "gives a str, which is no Pipecat TTSService"),
        ("own_voice:broken", "fails: RuntimeError: no key"),
    ],
)
def test_a_factory_that_does_not_work_says_why(own: None, path: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plug("tts", tts(path), MIRA)


async def test_a_voice_that_takes_the_next_clause_while_one_sounds_gets_no_times() -> None:
    shared = Shared(OriginConfig(tts=tts("http")), {"mira": MIRA}, SeededEntropy(1))
    settings = TTSSettings(model=None, voice=None, language=None)
    assert shared.timing(HttpVoiceTTSService(str, "", 1.0), MIRA)
    assert not shared.timing(_Streaming(push_text_frames=False, settings=settings), MIRA)


def test_a_voice_is_no_recogniser() -> None:
    with pytest.raises(ConfigError, match="gives a dict, which is no Pipecat STTService"):
        plug("stt", SttConfig(service="builtins:dict"), MIRA)


def examined(config: TtsConfig, status: int = 200, body: object = None) -> ServiceReport:
    def fetch(url: str, headers: dict[str, str]) -> httpx.Response:
        assert url == "http://voice/voices"
        if not status:
            raise httpx.ConnectError("nobody")
        return httpx.Response(status, json=body)

    reports = examine_services(dataclasses.replace(OriginConfig(), tts=config), KNOWN, fetch)
    (report,) = [report for report in reports if report.role == "tts" and report.configured]
    return report


def test_what_is_reported_of_ones_own(own: None) -> None:
    report = examined(tts("own_voice:create"))
    assert report.found and "gives a Voice" in report.why
    assert not examined(tts("own_voice:wrong")).found


@pytest.mark.parametrize(
    ("voice", "status", "body", "found", "said"),
    [
        ("", 200, {"anna": {}}, True, "answers"),
        ("anna", 200, {"anna": {}}, True, "answers"),
        ("otto", 200, {"anna": {}}, False, "has no voice 'otto'"),
        ("otto", 404, {}, True, "does not say which voices"),
        ("", 0, None, False, "No server answers at http://voice"),
    ],
)
def test_a_server_is_asked_for_its_voices(voice: str, status: int, body: object, found: bool, said: str) -> None:
    report = examined(TtsConfig(service="piper", server_url="http://voice/", server_voice=voice), status, body)
    assert report.found is found and said in report.why


def test_what_a_local_voice_lacks_is_said_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TtsConfig(service="piper", server_folder=tmp_path)
    monkeypatch.setattr(local_voices, "find_spec", lambda name: None)
    assert "pip install 'visavis[piper]'" in missing("piper", config)
    assert "pip install 'visavis[kokoro]'" in missing("kokoro", config)
    assert "origin.tts.server_url" in missing("http", config)
    monkeypatch.setattr(local_voices, "find_spec", lambda name: object())
    assert f"python -m piper.download_voices --download-dir {tmp_path} en_US-lessac-medium" in missing("piper", config)
    assert "kokoro-v1.0.onnx" in missing("kokoro", config)
    with pytest.raises(ConfigError, match="There is no voice"):
        check_services(OriginConfig(tts=config))
    for name in ("en_US-lessac-medium.onnx", "en_US-lessac-medium.onnx.json", "kokoro-v1.0.onnx", "voices-v1.0.bin"):
        (tmp_path / name).touch()
    assert missing("piper", config) == missing("kokoro", config) == ""
    assert local_command(config, "en-us", 7)[-1] == str(tmp_path / "en_US-lessac-medium.onnx")
    command = local_command(TtsConfig(service="kokoro", server_folder=tmp_path), "en-us", 7)
    assert command[0] == "origin.dialogue.kokoro_server" and command[-4:] == [
        "--voice",
        "af_heart",
        "--language",
        "en-us",
    ]


async def test_a_voice_s_server_is_a_process_that_comes_back_and_ends_with_the_origin() -> None:
    server = VoiceServer(lambda port: ["http.server", "--bind", "127.0.0.1", str(port)])
    server.start()
    assert await server.wait_up(20)
    first = server.pid
    os.kill(first, 9)
    async with asyncio.timeout(20):
        while server.pid in (0, first) or not server.url:
            await asyncio.sleep(0.02)
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(server.url)).status_code == 200
    last = server.pid
    await server.aclose()
    assert server.restarts == 1 and not server.url and not Path(f"/proc/{last}").exists()


def wav(rate_hz: int = 8_000, channels: int = 1, bits: int = 16, size: int = 4, extra: bytes = b"") -> bytes:
    form = (1).to_bytes(2, "little") + channels.to_bytes(2, "little") + rate_hz.to_bytes(4, "little") + bytes(6)
    form += bits.to_bytes(2, "little")
    return (
        b"RIFF"
        + bytes(4)
        + b"WAVE"
        + extra
        + b"fmt "
        + (16).to_bytes(4, "little")
        + form
        + b"data"
        + (size.to_bytes(4, "little") + b"abcd")
    )


@pytest.mark.parametrize("piece", [1, 7, 1_000])
def test_a_wav_may_come_in_any_pieces(piece: int) -> None:
    data = wav(extra=b"LIST\x03\x00\x00\x00xyz\x00") + b"LISTjunk"
    stream = WavStream()
    found = b"".join(stream.push(data[at : at + piece]) for at in range(0, len(data), piece))
    assert found == b"abcd" and (stream.rate_hz, stream.channels, stream.missing) == (8_000, 1, False)


def test_a_wav_of_unknown_length_lasts_to_its_end() -> None:
    for size in (0, 0xFFFFFFFF):
        stream = WavStream()
        assert stream.push(wav(size=size)) == b"abcd" and stream.push(b"more") == b"more" and not stream.missing
    stream = WavStream()
    assert stream.push(wav(size=10)) == b"abcd" and stream.missing


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<html>no sound here", "does not begin as a WAV"),
        (wav(bits=24), "16-bit PCM"),
        (wav(rate_hz=1), "1 channels at 1 Hz"),
        (wav(channels=9), "9 channels"),
        (b"RIFF1234WAVEdata" + bytes(8), "before its format"),
        (b"RIFF1234WAVE" + b"JUNK\xff\xff\x00\x00" + bytes(70_000), "no sound comes after its header"),
    ],
)
def test_what_is_no_wav_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(WavError, match=said):
        stream = WavStream()
        for at in range(0, len(data), 1_000):
            stream.push(data[at : at + 1_000])
