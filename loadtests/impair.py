"""A bad network between two UDP ports: a seeded relay in user space, for machines whose kernel has no netem.

Whoever sends to the listening port reaches the target, and the answers come back; each sender gets a port of its own
towards the target, as behind a NAT. Both directions go through a `LinkModel` each. The same seed gives the same losses,
delays and outages per packet number; real time adds what the event loop is late.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError
from loadtests.link_model import LinkModel, LinkProfile, read_trace
from loadtests.profiles import PROFILES, profile_named

if TYPE_CHECKING:
    from core.host.cli import Subparsers

__all__ = ["Relay", "add_arguments", "main", "profile_of", "register"]

SENDERS_MAX: Final = 256
"""Further senders are ignored and counted."""
IN_FLIGHT_MAX: Final = 8_192
"""Datagrams that are on their way; further ones are dropped and counted."""
_EARLY_MAX: Final = 64
"""Datagrams of a sender that wait while its port is being opened."""
_OVERHEAD_BYTES: Final = 28
"""IPv4 and UDP headers count against the rate."""
_EXIT_MISTAKE: Final = 2

Address = tuple[str, int]


class Relay:
    """A UDP relay that treats packets as a profile says. Start with `await Relay.start(…)`, end with `aclose()`.

    Attributes:
        address: host and port that senders use.
        dropped: datagrams that the relay itself refused, by reason: `too-many-senders`, `too-many-in-flight`,
            `no-port`; and `target-unreachable`, what the target's machine said about ours.
    """

    def __init__(self, target: Address, profile: LinkProfile, seed: int) -> None:
        self._target = target
        self._profile = profile
        self._seed = seed
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._listener: asyncio.DatagramTransport | None = None
        self._senders: dict[Address, _Sender] = {}
        self._in_flight: dict[int, asyncio.TimerHandle] = {}
        self._next_number = 0
        self._closed = False
        self.address: Address = ("", 0)
        self.dropped: Counter[str] = Counter()

    @classmethod
    async def start(cls, listen: Address, target: Address, profile: LinkProfile, *, seed: int) -> Relay:
        """Listen. Port 0 takes any free one.

        Raises: ConfigError: the address cannot be listened on.
        """
        relay = cls(target, profile, seed)
        try:
            relay._listener, _ = await relay._loop.create_datagram_endpoint(lambda: _Listener(relay), local_addr=listen)
        except OSError as error:
            raise ConfigError(f"cannot listen on {listen[0]}:{listen[1]}: {error.strerror or error}") from error
        relay.address = relay._listener.get_extra_info("sockname")[:2]
        return relay

    def report(self) -> dict[str, Any]:
        """What became of the packets so far, as JSON can say it."""
        up: Counter[str] = Counter()
        down: Counter[str] = Counter()
        for sender in self._senders.values():
            up.update(sender.up.fates)
            down.update(sender.down.fates)
        return {
            "profile": self._profile.name,
            "seed": self._seed,
            "seconds": round(self._loop.time() - self._started, 3),
            "senders": len(self._senders),
            "to_target": dict(up),
            "from_target": dict(down),
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
            sender = self._senders[address] = _Sender(self, address, len(self._senders), self._profile, self._seed)
            sender.opening = self._loop.create_task(sender.open(self._target))
        self._carry(sender.up, data, sender.to_target)

    def from_target(self, data: bytes, sender: _Sender) -> None:
        """A datagram for a sender."""
        self._carry(sender.down, data, sender.to_sender)

    def answer(self, data: bytes, address: Address) -> None:
        """Put it on the listening socket's wire."""
        if self._listener is not None and not self._closed:
            self._listener.sendto(data, address)

    def _carry(self, link: LinkModel, data: bytes, deliver: Callable[[bytes], None]) -> None:
        if self._closed:
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

    def __init__(self, relay: Relay, address: Address, number: int, profile: LinkProfile, seed: int) -> None:
        self._relay = relay
        self._address = address
        self.up = LinkModel(profile, seed * 1_000 + number * 2)
        self.down = LinkModel(profile, seed * 1_000 + number * 2 + 1)
        self.transport: asyncio.DatagramTransport | None = None
        self.opening: asyncio.Task[None] | None = None
        self._early: deque[bytes] = deque(maxlen=_EARLY_MAX)

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


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _fraction(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1 (or 0% and 100%)")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0), metavar="HOST:PORT",
                        help="where senders send to (default 127.0.0.1 and any free port)")  # fmt: skip
    parser.add_argument("--to", type=_address, required=True, metavar="HOST:PORT", help="where it goes")
    parser.add_argument("--profile", default="perfect", help=f"one of {', '.join(PROFILES)} (default perfect)")
    parser.add_argument("--seed", type=int, default=1, help="one seed, one trace (default 1)")
    parser.add_argument("--loss", type=_fraction, metavar="SHARE", help="lose this share of packets, such as 10%%")
    parser.add_argument("--burst", type=float, metavar="N", help="mean length of a run of losses (default 1)")
    parser.add_argument("--delay-ms", type=float, metavar="MS", help="mean one-way delay")
    parser.add_argument("--jitter-ms", type=float, metavar="MS", help="its standard deviation")
    parser.add_argument("--reorder", type=_fraction, metavar="SHARE", help="hold back this share of packets")
    parser.add_argument("--duplicate", type=_fraction, metavar="SHARE", help="send this share of packets twice")
    parser.add_argument("--rate-kbps", type=float, metavar="KBPS", help="bottleneck in kbit/s")
    parser.add_argument("--outage", nargs=2, type=float, metavar=("EVERY_S", "FOR_S"), help="outages, in seconds")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="delivery opportunities (Mahimahi's format)")
    parser.add_argument("--duration", type=float, metavar="S", help="end after so many seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON object when it begins and one at the end")


def profile_of(options: argparse.Namespace) -> LinkProfile:
    """The profile that the flags ask for. Raises: ConfigError: they ask for the impossible."""
    profile = profile_named(options.profile)
    changes: dict[str, Any] = {}
    if options.burst is not None and options.loss is None:
        raise ConfigError("--burst says how losses come in runs; say with --loss how many there are")
    if options.loss is not None:
        burst = 1.0 if options.burst is None else options.burst
        if burst < 1.0 or options.loss >= 1.0:
            raise ConfigError("a run of losses has at least 1 packet, and less than all packets are lost")
        leave = 1.0 / burst
        # A state machine that leaves with r and is bad a share L of the time enters with r L / (1 - L).
        enter = leave * options.loss / (1.0 - options.loss)
        if enter > 1.0:
            raise ConfigError(
                f"{options.loss:.0%} of all packets cannot be lost in runs of {burst:g}: make them longer"
            )
        changes |= {"loss_enter": enter, "loss_leave": leave, "loss_bad": 1.0}
    for flag, name, scale in (
        ("delay_ms", "delay_s", 1e-3), ("jitter_ms", "jitter_s", 1e-3), ("reorder", "reorder", 1.0),
        ("duplicate", "duplicate", 1.0), ("rate_kbps", "rate_bps", 1e3),
    ):  # fmt: skip
        if (value := getattr(options, flag)) is not None:
            changes[name] = value * scale
    if options.outage is not None:
        every, lasts = options.outage
        changes |= {"outage_every_s": every, "outage_s": (lasts, lasts)}
    if options.trace is not None:
        changes["trace"] = read_trace(options.trace)
    return replace(profile, name=f"{profile.name} (changed)", **changes) if changes else profile


async def _serve(options: argparse.Namespace, profile: LinkProfile) -> None:
    relay = await Relay.start(options.listen, options.to, profile, seed=options.seed)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        _say(options, {"listening": f"{relay.address[0]}:{relay.address[1]}", "profile": profile.name},
             f"{relay.address[0]}:{relay.address[1]} -> {options.to[0]}:{options.to[1]} over {profile.name}, "
             f"seed {options.seed}; Ctrl-C ends it")  # fmt: skip
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), options.duration)
        report = relay.report()
    finally:
        await relay.aclose()
    lines = [f"{name}: {', '.join(f'{count} {fate}' for fate, count in report[name].items()) or 'nothing'}"
             for name in ("to_target", "from_target", "refused")]  # fmt: skip
    _say(options, report, "\n".join(lines))


def _say(options: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    sys.stdout.write((json.dumps(document) if options.json else text) + "\n")
    sys.stdout.flush()


def _run(options: argparse.Namespace) -> int:
    if options.duration is not None and not options.duration > 0:
        raise ConfigError("--duration must be above 0 seconds")
    asyncio.run(_serve(options, profile_of(options)))
    return 0


def register(subparsers: Subparsers) -> None:
    """Add `visavis impair`."""
    parser = subparsers.add_parser(
        "impair",
        help="relay UDP over a bad network",
        description="Relay UDP packets over a network that loses, delays and reorders them; one seed is one trace.",
        epilog="Exit codes: 0 ended, 2 wrong use or an address that cannot be listened on.",
    )
    add_arguments(parser)
    parser.set_defaults(handler=_run)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m loadtests.impair`."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.impair", description="A bad network between two ports.")
    add_arguments(parser)
    try:
        return _run(parser.parse_args(arguments))
    except ConfigError as error:
        sys.stderr.write(f"impair: {error}\n")
        return _EXIT_MISTAKE


if __name__ == "__main__":
    raise SystemExit(main())
