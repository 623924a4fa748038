"""`visavis workers`: who the workers of a running origin are, and draining one; `visavis worker`: being one."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from core.errors import FabricError, VisavisError
from core.fabric.config import FabricConfig
from core.host.config import add_config_arguments, load_config, overrides_from
from core.limits import RELEASE_S_MAX, WORKER_RECOVERY_S_MAX
from origin.config import OriginConfig
from origin.workers.arguments import add_worker_arguments

if TYPE_CHECKING:
    from core.host.cli import Subparsers
    from origin.workers.messages import Control, Controlled

__all__ = ["register", "register_worker"]


def register_worker(subparsers: Subparsers) -> None:
    """Add `visavis worker`."""
    parser = subparsers.add_parser(
        "worker",
        help="run a worker process that answers in the sessions of an origin",
        description="Run a worker process on the fabric of an origin. Ctrl-C stops it.",
        epilog="Exit codes: 0 stopped, 2 wrong use, 3 another process has taken its name.",
    )
    add_worker_arguments(parser)
    parser.set_defaults(handler=_worker)


def _worker(options: argparse.Namespace) -> int:
    from origin.workers.process import work

    return work(options)


def register(subparsers: Subparsers) -> None:
    """Add `visavis workers`."""
    parser = subparsers.add_parser(
        "workers",
        help="show the workers of a running origin, or drain one",
        description="Show the workers of a running origin, or drain one: its conversations move to others.",
        epilog="Exit codes: 0 done, 1 no origin with workers answers or there is no such worker, 2 wrong use.",
    )
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listing = what.add_parser("list", help="show the workers, what they do and whom they serve")
    listing.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    drain = what.add_parser("drain", help="move a worker's conversations to others, each between two turns, and end it")
    drain.add_argument("name", help="as `visavis workers list` shows it")
    for command in (listing, drain):
        add_config_arguments(command, OriginConfig, "origin")
        command.set_defaults(handler=_workers)


def _workers(options: argparse.Namespace) -> int:
    import asyncio

    from origin.workers.messages import Control

    answer = asyncio.run(_ask(options, Control(drain=options.name if options.what == "drain" else "")))
    if answer.error:
        raise VisavisError(answer.error)
    if options.what == "drain":
        sys.stdout.write(f"{options.name} takes nobody new; {answer.moved} of its conversations were moved\n")
    elif options.json:
        sys.stdout.write(json.dumps(answer.workers) + "\n")
    else:
        sys.stdout.write("".join(_line(worker) for worker in answer.workers) or "there are no workers\n")
    return 0


async def _ask(options: argparse.Namespace, control: Control) -> Controlled:
    from core.fabric.opening import join_fabric
    from origin.workers.messages import CONTROL_SUBJECT, decode_controlled, encode

    overrides = overrides_from(options)
    origin = load_config(OriginConfig, section="origin", path=options.config, overrides=overrides)
    config = load_config(FabricConfig, section="fabric", path=options.config, overrides=overrides)
    timeout_s = RELEASE_S_MAX + WORKER_RECOVERY_S_MAX + 10.0 if control.drain else 3.0
    try:
        async with await join_fabric(config, origin.fabric) as fabric:
            return decode_controlled(await fabric.bus.request(CONTROL_SUBJECT, encode(control), timeout_s))
    except FabricError as error:
        if error.code == "no-responder":
            raise VisavisError("no origin with workers is running here (see origin.workers)") from None
        raise VisavisError(f"the origin cannot be asked: {error}") from None


def _line(worker: dict[str, Any]) -> str:
    slots: dict[str, str] = worker["slots"]
    used = sum(state in ("reserved", "leased") for state in slots.values())
    return (
        f"{worker['name']:<16}{worker['state']:<14}{used}/{len(slots)} slots  pid {worker['pid']:<8}"
        f"{worker['memory_bytes'] / 1e6:>6.0f} MB  warm after {worker['warm_up_s']:.1f} s  {worker['version']}\n"
    )
