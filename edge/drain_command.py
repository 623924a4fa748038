"""`visavis pop drain NAME`: move everybody from a POP to others, while they talk."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from core.errors import ConfigError
from core.host.config import add_config_arguments, load_config, overrides_from
from core.limits import DRAIN_DEADLINE_S_MAX

if TYPE_CHECKING:
    from core.host.cli import Subparsers

__all__ = ["register"]


def register(subparsers: Subparsers) -> None:
    """Add `visavis pop`."""
    parser = subparsers.add_parser("pop", help="empty a POP", description="What can be done with a running POP.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=type(parser))
    drain = verbs.add_parser(
        "drain",
        help="move all sessions of a POP to others; it takes no new ones",
        description="Move all sessions of a POP to others, who is silent first, and let it take no new ones. "
        "Ctrl-C: those that have not moved stay, and the POP takes sessions again.",
    )
    drain.add_argument("name", metavar="NAME", help="the POP's name (edge.name)")
    drain.add_argument(
        "--deadline", type=float, default=120.0, help="seconds; whoever is still there then is sent away (default 120)"
    )
    drain.add_argument("--json", action="store_true", help="one JSON object per change instead of a bar")
    add_config_arguments(drain)
    drain.set_defaults(handler=_run)


def _run(options: argparse.Namespace) -> int:
    if not 0.0 <= options.deadline <= DRAIN_DEADLINE_S_MAX:
        raise ConfigError(f"--deadline is 0 to {DRAIN_DEADLINE_S_MAX:.0f} seconds, not {options.deadline:g}")
    import asyncio

    from core.fabric.config import FabricConfig
    from edge.config import EdgeConfig
    from edge.drain_watch import drain

    overrides = overrides_from(options)
    edge = load_config(EdgeConfig, section="edge", path=options.config, overrides=overrides)
    fabric = load_config(FabricConfig, section="fabric", path=options.config, overrides=overrides)
    return asyncio.run(drain(options, edge, fabric))
