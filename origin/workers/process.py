"""What a worker process does from its command line to its exit code."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final

from core.errors import ConfigError, FabricError
from core.fabric.config import FabricConfig
from core.host.cli import EXIT_MISTAKE, Parser
from core.host.config import load_config, overrides_from
from core.host.telemetry import configure_logging
from origin.config import OriginConfig
from origin.workers.arguments import add_worker_arguments

__all__ = ["EXIT_SUPERSEDED", "main", "work"]

EXIT_SUPERSEDED: Final = 3
"""Another process has taken this one's name."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m origin.workers`. Returns: the exit code, see `work`."""
    parser = Parser(prog="python -m origin.workers", description="A worker: answers in the sessions of an origin.")
    add_worker_arguments(parser)
    return work(parser.parse_args(arguments))


def work(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT. Returns: 2 for a wrong configuration, 3 when the name is another's."""
    started_at = time.monotonic()
    try:
        if not _NAME.fullmatch(options.name):
            raise ConfigError(f"--name {options.name!r}: a worker's name has letters, digits, - and _, 63 at most")
        overrides = overrides_from(options)
        config = load_config(OriginConfig, section="origin", path=options.config, overrides=overrides)
        fabric = load_config(FabricConfig, section="fabric", path=options.config, overrides=overrides)
        configure_logging(f"worker-{options.name}", level=config.log_level, style=config.log_format, loguru=True)
        return _run(options, config, fabric, started_at)
    except ConfigError as error:
        sys.stderr.write(f"visavis: {' '.join(str(error).split())}\n")
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        return 130


def _run(options: argparse.Namespace, config: OriginConfig, fabric: FabricConfig, started_at: float) -> int:
    serving = _serve(options, config, fabric, started_at)
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serving)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serving)


async def _serve(
    options: argparse.Namespace, config: OriginConfig, fabric_config: FabricConfig, started_at: float
) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        work = loop.create_task(_live(options, config, fabric_config, started_at, stack))
        stop = loop.create_task(stopping.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            return 0
        except FabricError as error:
            raise ConfigError(f"the fabric cannot be used: {error}") from None
    return EXIT_SUPERSEDED


async def _live(
    options: argparse.Namespace,
    config: OriginConfig,
    fabric_config: FabricConfig,
    started_at: float,
    stack: contextlib.AsyncExitStack,
) -> None:
    """Until cancelled, or until another process has the name."""
    from core.fabric.opening import join_fabric
    from core.host.entropy import SystemEntropy
    from origin.dialogue.character import load_characters
    from origin.dialogue.services import Shared, check_services
    from origin.workers.worker import SupersededError, Worker

    characters = load_characters(config.characters)
    check_services(config)
    fabric = await join_fabric(fabric_config, config.fabric)
    stack.push_async_callback(fabric.aclose)
    shared = Shared(config, characters, SystemEntropy())
    stack.push_async_callback(shared.aclose)
    worker = Worker(
        options.name,
        shared,
        fabric.bus,
        fabric.store,
        slots=config.slots_per_worker,
        instance=options.instance,
        started_at=started_at,
    )
    stack.push_async_callback(worker.aclose)
    try:
        await worker.run()
    except SupersededError as error:
        sys.stderr.write(f"visavis: {error}\n")
