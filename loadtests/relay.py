"""A seeded UDP relay in user space, for machines whose kernel has no netem.

Whoever sends to the listening port reaches the target, and the answers come back; each sender gets a port of its own
towards the target, as behind a NAT. Both directions go through a `LinkModel` each. The same seed gives the same losses,
delays and outages per packet number; real time adds what the event loop is late. What the path is like can be changed
while it is in use, and it can be taken away: for ever from those who use it now (`cut`), or from all for a while
(`paused`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from core.errors import ConfigError
from loadtests.link_model import LinkModel, LinkProfile
from loadtests.tamper import Tamperer

__all__ = ["Relay"]

SENDERS_MAX: Final = 256
"""Further senders are ignored and counted."""
IN_FLIGHT_MAX: Final = 8_192
"""Datagrams that are on their way; further ones are dropped and counted."""
_EARLY_MAX: Final = 64
"""Datagrams of a sender that wait while its port is being opened."""
_OVERHEAD_BYTES: Final = 28
"""IPv4 and UDP headers count against the rate."""

Address = tuple[str, int]


class Relay:
    """A UDP relay that treats packets as a profile says. Start with `await Relay.start(…)`, end with `aclose()`.

    Attributes:
        address: host and port that senders use.
        paused: while it is set nothing gets through, either way.
        dropped: datagrams that the relay itself refused, by reason: `too-many-senders`, `too-many-in-flight`,
            `no-port`, `paused`, `cut`; and `target-unreachable`, what the target's machine said about ours.
    """

    def __init__(self, target: Address, profile: LinkProfile, seed: int, tamper: float) -> None:
        self._target = target
        self._profile = profile
        self._seed = seed
        self._tamper = tamper
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._listener: asyncio.DatagramTransport | None = None
        self._senders: dict[Address, _Sender] = {}
        self._in_flight: dict[int, asyncio.TimerHandle] = {}
        self._next_number = 0
        self._closed = False
        self.address: Address = ("", 0)
        self.paused = False
        self.dropped: Counter[str] = Counter()

    @classmethod
    async def start(
        cls, listen: Address, target: Address, profile: LinkProfile, *, seed: int, tamper: float = 0.0
    ) -> Relay:
        """Listen. Port 0 takes any free one.

        Args:
            tamper: share of the datagrams that are tampered with (`loadtests.tamper`) before they enter the link.
        Raises: ConfigError: the address cannot be listened on, or the share is none.
        """
        relay = cls(target, profile, seed, tamper)
        try:
            relay._listener, _ = await relay._loop.create_datagram_endpoint(lambda: _Listener(relay), local_addr=listen)
        except OSError as error:
            raise ConfigError(f"cannot listen on {listen[0]}:{listen[1]}: {error.strerror or error}") from error
        relay.address = relay._listener.get_extra_info("sockname")[:2]
        return relay

    def impair(self, profile: LinkProfile) -> None:
        """Treat packets like this from now on."""
        self._profile = profile
        for sender in self._senders.values():
            sender.impair(profile)

    def cut(self) -> None:
        """Nothing gets through any more from or to those who have sent so far. A viewer whose network is gone has to
        come from elsewhere."""
        for sender in self._senders.values():
            sender.cut = True

    def report(self) -> dict[str, Any]:
        """What became of the packets so far, as JSON can say it."""
        up: Counter[str] = Counter()
        down: Counter[str] = Counter()
        tampered: Counter[str] = Counter()
        for sender in self._senders.values():
            up.update(sender.up.fates)
            down.update(sender.down.fates)
            for tamperer in sender.tamperers:
                tampered.update(tamperer.deeds)
        return {
            "profile": self._profile.name,
            "seed": self._seed,
            "seconds": round(self._loop.time() - self._started, 3),
            "senders": len(self._senders),
            "to_target": dict(up),
            "from_target": dict(down),
            "tampered": dict(tampered),
            "refused": dict(self.dropped),
        }

    async def aclose(self) -> None:
        """Stop; what is under way is lost."""
        self._closed = True
        for handle in self._in_flight.values():
            handle.cancel()
        self._in_flight.clear()
        for sender in self._senders.values():
            if sender.opening is not None:
                await asyncio.wait([sender.opening])
            if sender.transport is not None:
                sender.transport.close()
        if self._listener is not None:
            self._listener.close()
        await asyncio.sleep(0)

    def from_sender(self, data: bytes, address: Address) -> None:
        """A datagram for the target."""
        sender = self._senders.get(address)
        if sender is None:
            if len(self._senders) >= SENDERS_MAX:
                self.dropped["too-many-senders"] += 1
                return
            number = self._seed * 1_000 + len(self._senders) * 2
            sender = self._senders[address] = _Sender(self, address, number, self._profile, self._tamper)
            sender.opening = self._loop.create_task(sender.open(self._target))
        for datagram in sender.tamperers[0].pass_on(data):
            self._carry(sender, sender.up, datagram, sender.to_target)

    def from_target(self, data: bytes, sender: _Sender) -> None:
        """A datagram for a sender."""
        for datagram in sender.tamperers[1].pass_on(data):
            self._carry(sender, sender.down, datagram, sender.to_sender)

    def answer(self, data: bytes, address: Address) -> None:
        """Put it on the listening socket's wire."""
        if self._listener is not None and not self._closed:
            self._listener.sendto(data, address)

    def _carry(self, sender: _Sender, link: LinkModel, data: bytes, deliver: Callable[[bytes], None]) -> None:
        if self._closed:
            return
        if sender.cut or self.paused:
            self.dropped["cut" if sender.cut else "paused"] += 1
            return
        for arrival in link.send(self._loop.time() - self._started, len(data) + _OVERHEAD_BYTES):
            if len(self._in_flight) >= IN_FLIGHT_MAX:
                self.dropped["too-many-in-flight"] += 1
                return
            number = self._next_number
            self._next_number += 1
            self._in_flight[number] = self._loop.call_at(self._started + arrival, self._arrive, number, deliver, data)

    def _arrive(self, number: int, deliver: Callable[[bytes], None], data: bytes) -> None:
        del self._in_flight[number]
        deliver(data)


class _Sender:
    """One sender's own way through the relay."""

    def __init__(self, relay: Relay, address: Address, seed: int, profile: LinkProfile, tamper: float) -> None:
        self._relay = relay
        self._address = address
        self._seed = seed
        self.up = LinkModel(profile, seed)
        self.down = LinkModel(profile, seed + 1)
        self.tamperers = Tamperer(tamper, seed), Tamperer(tamper, seed + 1)
        self.cut = False
        self.transport: asyncio.DatagramTransport | None = None
        self.opening: asyncio.Task[None] | None = None
        self._early: deque[bytes] = deque(maxlen=_EARLY_MAX)

    def impair(self, profile: LinkProfile) -> None:
        """Links of another kind; what they did so far stays counted."""
        before = self.up.fates, self.down.fates
        self.up, self.down = LinkModel(profile, self._seed), LinkModel(profile, self._seed + 1)
        self.up.fates.update(before[0])
        self.down.fates.update(before[1])

    async def open(self, target: Address) -> None:
        """Get a port of its own; what came meanwhile follows."""
        loop = asyncio.get_running_loop()
        try:
            self.transport, _ = await loop.create_datagram_endpoint(
                lambda: _Upstream(self._relay, self), remote_addr=target
            )
        except OSError:
            self._relay.dropped["no-port"] += 1
            return
        while self._early:
            self.transport.sendto(self._early.popleft())

    def to_target(self, data: bytes) -> None:
        """Deliver upstream."""
        if self.transport is None:
            self._early.append(data)
        elif not self.transport.is_closing():
            self.transport.sendto(data)

    def to_sender(self, data: bytes) -> None:
        """Deliver downstream."""
        self._relay.answer(data, self._address)


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._relay.from_sender(data, (addr[0], addr[1]))


class _Upstream(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay, sender: _Sender) -> None:
        self._relay = relay
        self._sender = sender

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._relay.from_target(data, self._sender)

    def error_received(self, exc: Exception) -> None:
        self._relay.dropped["target-unreachable"] += 1
