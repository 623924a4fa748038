"""The origin's part in a mirror: it begins, knows its viewer, and ends."""

from __future__ import annotations

import asyncio

import pytest

from core.fabric.memory import MemoryBus
from core.speech.messages import Closed, Opened, Ready, decode_down, down_subject, encode, up_subject
from origin.dialogue.character import load_characters
from origin.mirror import MirrorSession

MIRA = load_characters()["mira"]


async def mirror(bus: MemoryBus, *, open_s_max: float = 5.0, idle_s_max: float = 5.0) -> MirrorSession:
    session = MirrorSession("s1", MIRA, bus, open_s_max=open_s_max, idle_s_max=idle_s_max)
    await session.start()
    return session


async def test_it_answers_its_viewer_and_ends_with_it() -> None:
    bus = MemoryBus()
    session = await mirror(bus)
    down = await bus.subscribe(down_subject("s1"))
    await bus.publish(up_subject("s1"), b"\xc1garbage")
    await bus.publish(up_subject("s1"), encode(Opened(epoch=1, transport="webrtc")))
    message = await anext(aiter(down))
    assert decode_down(message.payload) == Ready(character="mira", display_name="Mira")
    await bus.publish(up_subject("s1"), encode(Closed(reason="viewer-left")))
    async with asyncio.timeout(2):
        await session.closed.wait()
    assert session.reason == "closed"
    session.end("again")
    assert session.reason == "closed"


@pytest.mark.parametrize(("opened", "reason"), [(False, "not-opened"), (True, "idle")])
async def test_a_viewer_that_never_comes_or_says_nothing_more_is_not_waited_for(opened: bool, reason: str) -> None:
    bus = MemoryBus()
    session = await mirror(bus, open_s_max=0.05, idle_s_max=0.05)
    if opened:
        await bus.publish(up_subject("s1"), encode(Opened(epoch=1, transport="webrtc")))
    async with asyncio.timeout(2):
        await session.closed.wait()
    assert session.reason == reason


async def test_it_can_be_ended_at_any_time() -> None:
    session = await mirror(MemoryBus())
    await session.aclose("shutdown")
    assert (session.reason, session.closed.is_set()) == ("shutdown", True)
    never = MirrorSession("s2", MIRA, MemoryBus())
    await never.aclose("not-started")
    assert never.closed.is_set()
