"""All sessions of a POP: who gets in, what reaches them, and that nothing is left."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from core.errors import AdmissionError
from core.fabric.memory import MemoryBus
from core.host.entropy import SeededEntropy
from core.session.tenure import EVERY_EPOCH
from core.speech import messages
from edge.sessions import Sessions
from tests.edge.stage import RecordingLink, Stage, claims


def make_sessions(stage: Stage, bus: MemoryBus, capacity: int = 2) -> Sessions:
    return Sessions(
        bus=bus,
        conductor=stage.conductor,
        services=stage.services,
        capacity=capacity,
        seed=lambda: 3,
        token_bytes=SeededEntropy(1).token_bytes,
    )


async def test_a_pop_admits_up_to_its_capacity_and_each_session_once() -> None:
    stage, bus = Stage(), MemoryBus()
    sessions = make_sessions(stage, bus)
    first = await sessions.open(claims("a"))
    with pytest.raises(AdmissionError, match="already"):
        await sessions.open(claims("a"))
    await sessions.open(claims("b"))
    with pytest.raises(AdmissionError, match="full"):
        await sessions.open(claims("c"))
    first.abandon("bad-sdp", stage.now)
    await sessions.open(claims("c"))
    await sessions.aclose()
    assert len(sessions) == 0
    with pytest.raises(AdmissionError, match="shutting down"):
        await sessions.open(claims("d"))


async def test_what_the_origin_says_reaches_the_session_and_garbage_does_not_hurt() -> None:
    stage, bus = Stage(), MemoryBus()
    sessions = make_sessions(stage, bus)
    link = RecordingLink()
    end = await sessions.open(claims("a"))
    end.attach(link)
    end.on_connected(stage.now)
    await bus.publish(messages.down_subject("a"), b"\xc1garbage")
    await bus.publish(messages.down_subject("a"), messages.encode(messages.Mood(label="calm", valence=0, arousal=0)))
    for _ in range(20):
        if link.words("mood"):
            break
        await asyncio.sleep(0.005)
    assert link.words("mood")[0]["label"] == "calm"
    assert stage.registry.get_sample_value("edge_dropped_total", {"reason": "bad-message"}) == 1
    await sessions.aclose()
    assert link.closed == "pop-stopping"
    assert link.words("goaway")


async def test_one_session_can_be_sent_away_and_says_so() -> None:
    stage, bus = Stage(), MemoryBus()
    sessions = make_sessions(stage, bus)
    link = RecordingLink()
    end = await sessions.open(claims("a"))
    end.attach(link)
    end.on_connected(stage.now)
    sessions.end("a", "origin-lost")
    sessions.end("unknown", "origin-lost")
    assert sessions.ids() == ()
    assert link.words("goaway") == [{"reason": "origin-lost"}]
    await sessions.aclose()


async def test_a_pop_that_stops_while_a_viewer_comes_keeps_nothing_of_it() -> None:
    stage, bus = Stage(), MemoryBus()
    sessions = make_sessions(stage, bus)
    coming = asyncio.create_task(sessions.open(claims("a")))
    asyncio.get_running_loop().call_soon(sessions.end, "a", "pop-stopping")
    subscribe = bus.subscribe

    async def slow(subject: str) -> object:
        await asyncio.sleep(0)
        return await subscribe(subject)

    bus.subscribe = slow  # type: ignore[method-assign, assignment]
    with pytest.raises(AdmissionError, match="shutting down"):
        await coming
    assert len(sessions) == 0


async def test_a_pop_without_time_for_another_face_says_so() -> None:
    stage, bus = Stage(), MemoryBus()
    sessions = Sessions(
        bus=bus,
        conductor=stage.conductor,
        services=stage.services,
        capacity=9,
        seed=lambda: 3,
        token_bytes=SeededEntropy(1).token_bytes,
        admits=lambda there: there < 1,
    )
    await sessions.open(claims("a"))
    with pytest.raises(AdmissionError, match="no time") as caught:
        await sessions.open(claims("b"))
    assert caught.value.code == "overloaded"
    assert len(sessions) == 1
    await sessions.aclose()


async def test_the_same_viewer_comes_again_with_a_newer_ticket() -> None:
    """Its link and its resume token are lost, its key is not."""
    stage, bus = Stage(), MemoryBus()
    sessions = make_sessions(stage, bus)
    mine = replace(claims("a"), thumbprint="mine")
    await sessions.open(mine)
    assert sessions.thumbprint_of("a") == "mine" and sessions.thumbprint_of("b") == ""
    for other in (mine, replace(mine, epoch=2, thumbprint="other"), replace(mine, epoch=2, thumbprint="")):
        with pytest.raises(AdmissionError, match="already"):
            await sessions.open(other)
    link = RecordingLink()
    end = await sessions.open(replace(mine, epoch=2))
    end.attach(link)
    end.on_connected(stage.now)
    assert len(sessions) == 1
    await sessions.aclose()


@pytest.mark.parametrize("epoch", [1, EVERY_EPOCH, 2])
async def test_the_origin_ends_the_session_of_one_epoch_or_of_all(epoch: int) -> None:
    stage, bus = Stage(), MemoryBus()
    sessions = make_sessions(stage, bus)
    link = RecordingLink()
    end = await sessions.open(claims("a"))
    end.attach(link)
    end.on_connected(stage.now)
    ended = messages.SessionEnd(reason="kicked", epoch=epoch)
    await bus.publish(messages.down_subject("a"), messages.encode(ended))
    await asyncio.sleep(0.02)
    assert len(sessions) == (1 if epoch == 2 else 0)
    assert link.words("goaway") == ([] if epoch == 2 else [{"reason": "kicked"}])


async def test_who_was_replaced_is_not_believed_any_more() -> None:
    """A worker that is late, or does not know yet that its session has moved, is refused by its generation."""
    stage, bus = Stage(), MemoryBus()
    sessions = make_sessions(stage, bus)
    await sessions.open(claims())
    subject = messages.down_subject("s1")

    async def say(message: messages.DownMessage) -> None:
        await bus.publish(subject, messages.encode(message))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    await say(messages.Ready(character="mira", display_name="Mira", generation=7))
    assert not stage.sent_up(messages.HandedOver)
    await say(messages.SpeechStart(utterance_id=1, generation=7))
    await say(messages.SpeechPacket(utterance_id=1, index=0, opus=b"\xf8\xff\xfe", log_mel=bytes(40), generation=7))
    await say(messages.Ready(character="mira", display_name="Mira", generation=9))
    told = stage.sent_up(messages.HandedOver)
    assert told == [messages.HandedOver(generation=9, utterance_id=1, packets=1)]
    await say(messages.SpeechStart(utterance_id=2, generation=7))
    await say(messages.TurnState(state="thinking"))
    assert stage.registry.get_sample_value("edge_dropped_total", {"reason": "old-generation"}) == 2
    await say(messages.SpeechStart(utterance_id=65_537, generation=9))
    assert stage.registry.get_sample_value("edge_dropped_total", {"reason": "old-generation"}) == 2
    await sessions.aclose()
