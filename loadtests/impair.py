"""`visavis impair`: a bad network between two UDP ports (`loadtests.relay`), from the command line."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError
from loadtests.link_model import LinkProfile, read_trace
from loadtests.profiles import PROFILES, profile_named

if TYPE_CHECKING:
    from core.host.cli import Subparsers

__all__ = ["add_arguments", "main", "profile_of", "register"]

_EXIT_MISTAKE: Final = 2

Address = tuple[str, int]


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
    parser.add_argument("--tamper", type=_fraction, default=0.0, metavar="SHARE",
                        help="truncate, damage, replay or forge this share of packets")  # fmt: skip
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
    import asyncio

    from loadtests.relay import Relay

    relay = await Relay.start(options.listen, options.to, profile, seed=options.seed, tamper=options.tamper)
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
             for name in ("to_target", "from_target", "tampered", "refused")]  # fmt: skip
    _say(options, report, "\n".join(lines))


def _say(options: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    sys.stdout.write((json.dumps(document) if options.json else text) + "\n")
    sys.stdout.flush()


def _run(options: argparse.Namespace) -> int:
    if options.duration is not None and not options.duration > 0:
        raise ConfigError("--duration must be above 0 seconds")
    import asyncio

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
