from __future__ import annotations

import pytest

from core.errors import FabricError
from core.fabric.memory import MemoryBus
from core.speech.messages import ECHO_SUBJECT
from origin.echo import serve_echo


async def test_what_is_asked_comes_back_until_it_is_closed() -> None:
    bus = MemoryBus()
    served = await serve_echo(bus)
    assert await bus.request(ECHO_SUBJECT, b"") == b""
    assert await bus.request(ECHO_SUBJECT, b"\x00 any bytes \xff") == b"\x00 any bytes \xff"
    await served.aclose()
    with pytest.raises(FabricError) as refused:
        await bus.request(ECHO_SUBJECT, b"")
    assert refused.value.code == "no-responder"
    await bus.aclose()
