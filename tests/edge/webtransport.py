"""For tests: a WebTransport server on loopback, who it lets in, and viewers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.errors import AdmissionError, ConfigError
from core.host.clock import Clock, SystemClock
from core.session.proof import ProvenRequest
from edge.certificates import Certificates, RotatingCertificates
from edge.transports.link import ViewerLink
from edge.transports.quic.endpoint import open_udp
from edge.transports.quic.engine import EngineName, load_engine
from edge.transports.webtransport.link import WebTransportLink
from edge.transports.webtransport.server import WebTransportServer
from loadtests.webtransport import WebTransportClient
from tests.e2e.chromium import unavailable
from tests.edge.peers import Listener

__all__ = ["Guest", "Inn", "inn"]


class Entry:
    """What an admitted viewer's link tells."""

    def __init__(self) -> None:
        self.events = Listener()
        self.links: list[WebTransportLink] = []
        self.abandoned: list[str] = []

    def attach(self, link: ViewerLink) -> None:
        assert isinstance(link, WebTransportLink)
        self.links.append(link)

    def abandon(self, reason: str) -> None:
        self.abandoned.append(reason)


class Inn:
    """A server that lets in whoever has a good token.

    Attributes:
        entries: of those who were let in, in order.
        gate: an admission waits for it.
        dropped: what the server dropped, by reason.
    """

    server: WebTransportServer

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.guests: list[Guest] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.dropped: Counter[str] = Counter()
        self.asked: list[tuple[str, str]] = []

    async def admit(self, token: str, session_id: str, request: ProvenRequest) -> Entry:
        self.asked.append((token, session_id))
        await self.gate.wait()
        if token == "breaks":
            raise RuntimeError("a bug")
        if token != "good":
            raise AdmissionError(token, "refused")
        self.entries.append(Entry())
        return self.entries[-1]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"

    @property
    def link(self) -> WebTransportLink:
        return self.entries[-1].links[-1]

    @property
    def events(self) -> Listener:
        return self.entries[-1].events

    def guest(self, engine: EngineName = "aioquic", **options: Any) -> Guest:
        self.guests.append(Guest(self, engine, **options))
        return self.guests[-1]


class Guest:
    """A viewer, and what it got."""

    def __init__(self, place: Inn, engine: EngineName, **options: Any) -> None:
        self.units: list[tuple[bytes, int]] = []
        self.control: list[str | bytes] = []
        self.reasons: list[str] = []
        self.client = WebTransportClient(place.url, options.pop("session_id", "s1"), self, engine=engine, **options)

    def on_unit(self, payload: bytes, timestamp: int, now: float) -> None:
        self.units.append((payload, timestamp))

    def on_control(self, data: str | bytes, now: float) -> None:
        self.control.append(data)

    def on_closed(self, reason: str, now: float) -> None:
        self.reasons.append(reason)

    async def enter(self) -> Guest:
        await self.client.connect("good")
        return self


@asynccontextmanager
async def inn(
    engine: EngineName,
    *,
    certificates: Certificates | None = None,
    clock: Clock | None = None,
    capacity: int = 50,
    allowed_origins: tuple[str, ...] = ("*",),
) -> AsyncIterator[Inn]:
    """A server on a free port, and a conductor's phases for it."""
    place = Inn()
    try:
        made = load_engine(engine)
    except ConfigError as error:
        unavailable(str(error))
    place.server = WebTransportServer(
        open_udp("127.0.0.1", 0),
        engine=made,
        certificates=certificates or RotatingCertificates(),
        admit=place.admit,
        clock=clock or SystemClock(),
        capacity=capacity,
        allowed_origins=allowed_origins,
        on_dropped=lambda reason: place.dropped.update((reason,)),
    )

    async def phases() -> None:
        while True:
            await asyncio.sleep(0.005)
            place.server.flush()

    task = asyncio.create_task(phases())
    try:
        yield place
    finally:
        task.cancel()
        await place.server.aclose()
        for guest in place.guests:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2 if guest.client.connected else 0.0):
                    await guest.client.wait_closed()
            guest.client.vanish()
        assert len(place.server) == 0
        assert len(place.server.endpoint) == 0


@pytest.fixture(params=["aioquic", "qh3"])
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Every test with both."""
    name: EngineName = request.param
    return name
