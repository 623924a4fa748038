"""What a POP writes about itself into the store."""

from __future__ import annotations

import json

from core.fabric.memory import MemoryStore
from core.host.clock import ManualClock
from core.limits import CERTIFICATE_LIFETIME_S
from edge.announcement import Announcement, Condition
from edge.certificates import RotatingCertificates


async def record(store: MemoryStore) -> dict[str, object]:
    found = await store.get("pops.here")
    assert found is not None
    return json.loads(found.value or b"")  # type: ignore[no-any-return]


async def test_without_webtransport() -> None:
    store = MemoryStore()
    announcement = Announcement("here", "http://x", ManualClock(wall=1_800_000_000))
    announcement.store = store
    await announcement.publish()
    first = await record(store)
    assert {**first, "beats": 0} == {
        "name": "here",
        "url": "http://x",
        "started_at": 1_800_000_000,
        "beats": 0,
        "serving": True,
        "load": 0.0,
        "sessions": 0,
        "capacity": 0,
        "protocols": ["webrtc"],
    }
    await announcement.beat()
    assert await record(store) == {**first, "beats": 2}


async def test_it_says_how_it_is_and_that_it_leaves() -> None:
    store, condition = MemoryStore(), Condition(load=0.25, sessions=3, capacity=12)
    announcement = Announcement("here", "http://x", ManualClock(), region="eu", carrier="acme")
    announcement.store, announcement.condition = store, lambda: condition
    await announcement.publish()
    told = await record(store)
    assert [told[name] for name in ("load", "sessions", "capacity", "region", "carrier", "serving")] == [
        0.25, 3, 12, "eu", "acme", True,
    ]  # fmt: skip
    condition = Condition(serving=False)
    await announcement.beat()
    assert (await record(store))["serving"] is False
    condition = Condition()
    await announcement.leave()
    assert (await record(store))["serving"] is False


async def test_a_fabric_that_is_away_is_no_harm() -> None:
    store = MemoryStore()
    announcement = Announcement("here", "http://x", ManualClock())
    announcement.store = store
    await store.aclose()
    await announcement.beat()
    await announcement.leave()


async def test_certificates_are_told_before_they_are_served() -> None:
    store, clock, certificates = MemoryStore(), ManualClock(wall=1_800_000_000), RotatingCertificates()
    announcement = Announcement("here", "http://x", clock, webtransport_url="https://x:1", certificates=certificates)
    announcement.store = store
    await announcement.publish()
    first = certificates.current(clock.wall())
    assert (await record(store))["webtransport"] == {"url": "https://x:1", "certificate_hashes": [first.hash]}
    clock.advance(CERTIFICATE_LIFETIME_S / 2)
    await announcement.beat()
    webtransport = (await record(store))["webtransport"]
    assert isinstance(webtransport, dict)
    assert webtransport["certificate_hashes"] == list(certificates.hashes(clock.wall()))
    assert len(webtransport["certificate_hashes"]) == 2
    assert certificates.current(clock.wall()) == first
    clock.advance(300.0)
    assert certificates.current(clock.wall()) != first
    await announcement.beat()
    assert (await record(store))["webtransport"] == {
        "url": "https://x:1",
        "certificate_hashes": [certificates.current(clock.wall()).hash],
    }
