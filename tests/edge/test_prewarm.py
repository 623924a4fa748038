"""Who is announced finds the POP prepared; an announcement that is none hurts nobody."""

from __future__ import annotations

import asyncio

from core.fabric.memory import MemoryBus
from core.speech.messages import Prepare, encode_prepare, prepare_subject
from edge.admission import KeySet
from edge.prewarm import Prewarm

KEYS = b'{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'


async def test_keys_are_asked_for_when_a_ticket_is_minted_and_not_again_for_its_viewer() -> None:
    fetched: list[bytes] = []

    async def fetch() -> bytes:
        fetched.append(KEYS)
        return KEYS

    bus, keys = MemoryBus(), KeySet(fetch, clock=lambda: 100.0)
    prewarm = Prewarm(bus, "pop-a", keys)
    task = asyncio.create_task(prewarm.run())
    await asyncio.sleep(0)
    for payload in (b"garbage", encode_prepare(Prepare(key_id="k")), encode_prepare(Prepare(key_id="other"))):
        await bus.publish(prepare_subject("pop-a"), payload)
    await bus.publish(prepare_subject("pop-b"), encode_prepare(Prepare(key_id="k")))
    async with asyncio.timeout(2.0):
        while prewarm.prepared < 2:
            await asyncio.sleep(0)
    assert len(fetched) == 1
    await keys.key("k")
    assert len(fetched) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
