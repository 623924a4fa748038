"""`visavis services`: which services listen, think and speak, which are there, and what is missing."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from core.host.config import add_config_arguments, load_config, overrides_from
from core.host.telemetry import configure_logging
from origin.config import OriginConfig

if TYPE_CHECKING:
    from core.host.cli import Subparsers

__all__ = ["register"]


def register(subparsers: Subparsers) -> None:
    """Add `visavis services`."""
    parser = subparsers.add_parser(
        "services",
        help="show which services listen, think and speak, and what is missing",
        description="Show the services an origin may use. Those with an API are asked only where they are configured.",
        epilog="Exit codes: 0 all configured ones are there, 1 one is missing, 2 wrong use.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array and nothing else")
    add_config_arguments(parser, OriginConfig, "origin")
    parser.set_defaults(handler=_services)


def _services(options: argparse.Namespace) -> int:
    configure_logging("services", level="error", loguru=True)  # Pipecat introduces itself when it is loaded
    from origin.dialogue.service_report import examine_services
    from origin.dialogue.services import LLM, STT, TTS

    config = load_config(OriginConfig, section="origin", path=options.config, overrides=overrides_from(options))
    reports = examine_services(config, {"stt": list(STT), "llm": list(LLM), "tts": list(TTS)})
    if options.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(report) for report in reports]) + "\n")
    else:
        for report in reports:
            use = "configured" if report.configured else "available" if report.found else ""
            state = "found" if report.found else "missing"
            sys.stdout.write(f"{report.role}  {report.name:<13} {use:<12}{state:<9}{report.why}\n")
    return 0 if all(report.found for report in reports if report.configured) else 1
