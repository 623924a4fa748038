"""The command line of a worker process."""

from __future__ import annotations

import argparse

from core.host.config import add_config_arguments
from origin.config import OriginConfig

__all__ = ["add_worker_arguments"]


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of a worker process."""
    parser.add_argument("--name", required=True, help="unique among the workers of a fabric")
    parser.add_argument("--instance", default="", help="what the provider calls this machine, for example i-0123")
    add_config_arguments(parser, OriginConfig, "origin")
