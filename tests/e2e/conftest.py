"""One origin, one POP and one Chromium for all tests of this folder."""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from core.errors import ConfigError
from loadtests.questions import RATE_HZ
from loadtests.stack import Stack, local_stack
from tests.e2e.browser import SCREENSHOTS, launch
from tests.e2e.chromium import STATIC, find_chromium, unavailable

DATA = Path(__file__).parents[1] / "data"

QUESTION = "hello"
"""The recording that the browser's microphone hears."""
QUESTION_AT_S = 5.0
"""Seconds after the microphone is opened: long enough to connect, and to let an answer begin."""
_AFTER_S = 20.0


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """A real origin and POP as their own processes; what they say is kept beside the screenshots."""
    SCREENSHOTS.mkdir(exist_ok=True)
    try:
        with local_stack(log=SCREENSHOTS / "visavis.log") as running:
            yield running
    except ConfigError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="package")
def microphone_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """QUESTION in a quiet room."""
    with wave.open(str(DATA / f"{QUESTION}.wav"), "rb") as file:
        recording = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    start = round(QUESTION_AT_S * RATE_HZ)
    size = start + recording.size + round(_AFTER_S * RATE_HZ)
    sound = np.random.default_rng(11).normal(scale=6.0, size=size)
    sound[start : start + recording.size] += recording
    path = tmp_path_factory.mktemp("microphone") / "script.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.clip(np.round(sound), -32_768, 32_767).astype("<i2").tobytes())
    return path


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser(microphone_wav: Path) -> AsyncIterator[Browser]:
    """Chromium, if there is one and the client is built."""
    executable = find_chromium()
    if executable is None:
        unavailable("no Chromium found: `make test` installs it from Debian, or set CHROMIUM=/path/to/it")
    if not (STATIC / "index.html").exists():
        unavailable("the browser client is not built: run `make setup`")
    async with launch(executable, microphone_wav) as running:
        yield running
