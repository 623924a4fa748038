from __future__ import annotations

import warnings

# Pipecat and what it loads warn about themselves when imported; our own warnings stay errors.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pipecat.pipeline.worker
    import pipecat.services.openai.llm
    import pipecat.services.openai.stt
    import pipecat.services.openai.tts
    import pipecat.workers.runner  # noqa: F401

from collections.abc import AsyncIterator

import pytest_asyncio

from core.host.entropy import SeededEntropy
from origin.config import OriginConfig
from origin.dialogue.character import load_characters
from origin.dialogue.services import Shared
from tests.origin.viewer import OPEN


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared() -> AsyncIterator[Shared]:
    """The real workers, started once per test file."""
    workers = Shared(OriginConfig(), load_characters(), SeededEntropy(7))
    await workers.start()
    yield workers
    for viewer in list(OPEN):
        await viewer.aclose()
    await workers.aclose()
