"""What goes up is published at once or counted; a tick never waits for it and never fails with it."""

from __future__ import annotations

from collections import Counter

import pytest

from core.errors import RemoteProtocolError
from core.fabric.memory import MemoryBus
from core.speech.messages import (
    PRESENCE_SUBJECTS,
    Closed,
    Opened,
    PopPresence,
    UserText,
    decode_presence,
    decode_up,
    session_of_presence,
    up_subject,
)
from edge.uplink import NOT_THE_END, Uplink


async def test_messages_go_to_their_session() -> None:
    bus, dropped = MemoryBus(), Counter[str]()
    subscription = await bus.subscribe(up_subject("a"))
    Uplink(bus, on_dropped=lambda reason: dropped.update([reason])).send("a", Closed(reason="over"))
    async for message in subscription:
        assert decode_up(message.payload) == Closed(reason="over")
        break
    assert not dropped


async def test_what_the_bus_does_not_take_is_counted() -> None:
    bus, dropped = MemoryBus(), Counter[str]()
    await bus.aclose()
    uplink = Uplink(bus, on_dropped=lambda reason: dropped.update([reason]))
    uplink.send("a", Closed())
    uplink.send("a", Closed())
    assert dropped == {"fabric-unreachable": 2}


async def test_who_has_come_and_gone_is_told_to_brokers_but_not_what_ends_nothing() -> None:
    bus = MemoryBus()
    uplink = Uplink(bus, on_dropped=lambda reason: None, pop="here")
    brokers, origin = await bus.subscribe(PRESENCE_SUBJECTS), await bus.subscribe(up_subject("a"))
    uplink.send("a", Opened(epoch=3, transport="webrtc"))
    uplink.send("a", UserText(text="hello"))
    for reason in NOT_THE_END:
        uplink.send("a", Closed(reason=reason, epoch=3))
    uplink.send("a", Closed(reason="viewer-left", epoch=3))
    heard, told = aiter(brokers), aiter(origin)
    for here, reason in ((True, ""), (False, "viewer-left")):
        message = await anext(heard)
        assert session_of_presence(message.subject) == "a"
        assert decode_presence(message.payload) == PopPresence(pop="here", epoch=3, here=here, reason=reason)
    assert [type(decode_up((await anext(told)).payload)) for _ in range(3)] == [Opened, UserText, Closed]
    with pytest.raises(RemoteProtocolError):
        decode_presence(b"\xc1")
