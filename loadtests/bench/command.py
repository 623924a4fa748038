"""`visavis bench`: the same as `python -m loadtests.bench`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.host.cli import Subparsers

__all__ = ["register"]


def register(subparsers: Subparsers) -> None:
    """Add `visavis bench`."""
    parser = subparsers.add_parser(
        "bench",
        help="measure something",
        description="Measure something; without a name, list what can be measured.",
    )
    parser.add_argument("name", nargs="?", help="which benchmark; without one, all are listed")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="--json, --quick, and the benchmark's own flags")
    parser.set_defaults(handler=_bench)


def _bench(options: argparse.Namespace) -> int:
    from loadtests.bench.harness import execute

    return execute(options.name, options.arguments, "visavis bench")
