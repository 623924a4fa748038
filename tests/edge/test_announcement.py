"""What a POP writes about itself into the store."""

from __future__ import annotations

import json

from core.fabric.memory import MemoryStore
from core.host.clock import ManualClock
from core.limits import CERTIFICATE_LIFETIME_S
from edge.announcement import Announcement
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
    assert await record(store) == {"name": "here", "url": "http://x", "started_at": 1_800_000_000}
    await announcement.check()


async def test_certificates_are_told_before_they_are_served() -> None:
    store, clock, certificates = MemoryStore(), ManualClock(wall=1_800_000_000), RotatingCertificates()
    announcement = Announcement("here", "http://x", clock, webtransport_url="https://x:1", certificates=certificates)
    announcement.store = store
    await announcement.publish()
    first = certificates.current(clock.wall())
    assert (await record(store))["webtransport"] == {"url": "https://x:1", "certificate_hashes": [first.hash]}
    clock.advance(CERTIFICATE_LIFETIME_S / 2)
    await announcement.check()
    webtransport = (await record(store))["webtransport"]
    assert isinstance(webtransport, dict)
    assert webtransport["certificate_hashes"] == list(certificates.hashes(clock.wall()))
    assert len(webtransport["certificate_hashes"]) == 2
    assert certificates.current(clock.wall()) == first
    clock.advance(300.0)
    assert certificates.current(clock.wall()) != first
    await announcement.check()
    assert (await record(store))["webtransport"] == {
        "url": "https://x:1",
        "certificate_hashes": [certificates.current(clock.wall()).hash],
    }
