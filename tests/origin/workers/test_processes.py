"""Real worker processes: sessions are leased, survive what happens to processes, and leave nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from core.limits import TICK_SAMPLES
from core.session.claims import MODE_CONVERSATION
from core.speech.messages import (
    Closed,
    MicrophonePacket,
    Ready,
    SpeechEnd,
    SpeechPacket,
    Transcript,
    UserText,
)
from loadtests.audio import read_audio
from origin.dialogue.opus_voice import VoiceEncoder, VoiceEncoding
from tests.origin.workers.pool import Caller, Pool, open_pool

pytestmark = pytest.mark.asyncio(loop_scope="module")
MOON = Path(__file__).parents[2] / "data" / "moon.wav"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    async with open_pool(tmp_path_factory.mktemp("workers")) as opened:
        yield opened


def states(pool: Pool) -> list[str]:
    return sorted(state for row in pool.sessions.report() for state in row["slots"].values())


async def settled(pool: Pool, expected: list[str]) -> None:
    async with asyncio.timeout(10.0):
        while states(pool) != expected:
            await asyncio.sleep(0.02)


async def test_a_ticket_reserves_a_slot_its_viewer_leases_it_and_its_end_frees_everything(pool: Pool) -> None:
    character = pool.shared.characters["mira"]
    await pool.sessions.start("a", character, MODE_CONVERSATION, on_ended=pool.told)
    assert states(pool) == ["reserved", "warm", "warm", "warm"]
    caller = await Caller.listen("a", pool.fabric.bus)
    await settled(pool, ["leased", "warm", "warm", "warm"])
    await caller.send(UserText(text="hello"))
    assert (await caller.wait(SpeechPacket)).generation > 0
    assert pool.sessions.has("a") and pool.sessions.count == 1
    async with asyncio.timeout(2.0):
        while not await pool.fabric.store.keys("memories."):
            await asyncio.sleep(0.01)
    await caller.send(Closed())
    await pool.until_over("a")
    assert states(pool) == ["warm"] * 4 and pool.sessions.count == 0
    left = [await pool.fabric.store.keys(prefix) for prefix in ("memories.", "bookings.", "leases.dialogue.")]
    assert left == [[], [], []], "nothing of the session is left in the store"
    await caller.leave()


async def test_nothing_said_is_lost_while_a_session_moves(pool: Pool) -> None:
    """The move falls into the first syllable: nobody has noticed yet that somebody speaks."""
    caller = await pool.start("m")
    await caller.wait(Ready)
    source = pool.pid_of("m")
    pcm = (read_audio(MOON, length_s_max=10.0) * 32_767).astype(np.int16)
    pcm = np.concatenate([np.zeros(24_000, np.int16), pcm, np.zeros(48_000, np.int16)])
    loud = int(np.nonzero(np.abs(pcm) > 2_000)[0][0]) // TICK_SAMPLES
    encoder = VoiceEncoder(VoiceEncoding(32_000))
    moving: asyncio.Task[bool] | None = None
    began = time.monotonic()
    for index in range(len(pcm) // TICK_SAMPLES):
        opus = encoder.encode(pcm[index * TICK_SAMPLES : (index + 1) * TICK_SAMPLES])
        await asyncio.sleep(max(0.0, began + (index + 1) * 0.02 - time.monotonic()))
        await caller.send(MicrophonePacket(opus=opus, timestamp=index * TICK_SAMPLES))
        if index == loud:
            moving = asyncio.create_task(pool.sessions.move("m"))
    assert moving is not None and await moving
    assert pool.pid_of("m") != source
    said = await caller.wait(Transcript, timeout_s=5.0)
    async with asyncio.timeout(5.0):
        while not (said := caller.all(Transcript)[-1]).final:
            await asyncio.sleep(0.01)
    assert "moon" in said.text and said.generation == caller.generation
    await pool.until_counted("origin_guesses_total")
    await pool.until_counted("origin_openings_total")
    await caller.send(Closed())
    await pool.until_over("m")
    await settled(pool, ["warm"] * 4)
    await caller.leave()


async def test_an_origin_that_starts_again_finds_its_sessions_with_their_memory(pool: Pool) -> None:
    caller = await pool.start("r")
    await caller.send(UserText(text="hello"))
    await caller.wait(SpeechEnd)
    generation = caller.generation
    fresh = await pool.another()
    try:
        assert not fresh.sessions.has("r"), "known, but nobody has claimed it yet"
        await fresh.sessions.go_on(
            "r", fresh.shared.characters["mira"], MODE_CONVERSATION, epoch=2, on_ended=fresh.told
        )
        assert fresh.sessions.has("r") and fresh.sessions.count == 1
        await caller.send(UserText(text="tell me about the moon"))
        await caller.wait(SpeechEnd, count=2, timeout_s=15.0)
        assert caller.generation == generation, "the worker has not even noticed"
        await caller.send(Closed())
        await fresh.until_over("r")
    finally:
        fresh.sessions.keeper.provider = None  # its workers are the first one's
        await fresh.sessions.aclose()
        await caller.leave()
    await pool.until_over("r")


async def test_a_ticket_that_nobody_uses_lapses(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    await settled(pool, ["warm"] * 4)
    monkeypatch.setattr(pool.sessions._placements, "_open_s_max", 0.3)
    await pool.sessions.start("t", pool.shared.characters["mira"], MODE_CONVERSATION, on_ended=pool.told)
    assert states(pool) == ["reserved", "warm", "warm", "warm"]
    await pool.until_over("t")
    assert states(pool) == ["warm"] * 4
