"""What goes up is published at once or counted; a tick never waits for it and never fails with it."""

from __future__ import annotations

from collections import Counter

from core.fabric.memory import MemoryBus
from core.speech.messages import Closed, decode_up, up_subject
from edge.uplink import Uplink


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
