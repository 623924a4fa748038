"""The origin process: `python -m origin [--config visavis.toml] [--set origin.port=…]`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from core import __version__
from core.errors import ConfigError, FabricError
from core.fabric.config import FabricConfig
from core.host.cli import EXIT_MISTAKE, Parser
from core.host.config import add_config_arguments, load_config, overrides_from
from core.host.telemetry import configure_logging
from core.limits import AGENT_MESSAGE_SIZE_BYTES_MAX, AGENT_PING_S
from origin.config import OriginConfig

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

__all__ = ["main", "serve", "web_server"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns: the exit code; 2 when the configuration or the port is wrong."""
    parser = Parser(prog="python -m origin", description="The origin: listens, thinks and speaks.")
    add_config_arguments(parser, OriginConfig, "origin")
    options = parser.parse_args(arguments)
    try:
        config = _load(options)
        configure_logging("origin", level=config.log_level, style=config.log_format, loguru=True)
        fabric = load_config(FabricConfig, section="fabric", path=options.config, overrides=overrides_from(options))
        return _run(config, fabric, _passed_on(options))
    except ConfigError as error:
        sys.stderr.write(f"visavis: {' '.join(str(error).split())}\n")
        return EXIT_MISTAKE
    except KeyboardInterrupt:
        return 130


def _load(options: argparse.Namespace) -> OriginConfig:
    return load_config(OriginConfig, section="origin", path=options.config, overrides=overrides_from(options))


def _passed_on(options: argparse.Namespace) -> list[str]:
    """What the workers are told as well."""
    arguments = ["--config", str(options.config)] if options.config else []
    for override in overrides_from(options):
        arguments += ["--set", override]
    return arguments


def _run(config: OriginConfig, fabric: FabricConfig, worker_arguments: Sequence[str]) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serve(config, fabric, worker_arguments))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(config, fabric, worker_arguments))


def _bind(config: OriginConfig) -> socket.socket:
    """The API's socket, before anything slow is loaded. Raises: ConfigError: it cannot be bound."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        # Listening claims the port; SO_REUSEADDR alone would let two processes bind it.
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"port {config.port} on {config.host} cannot be used ({error.strerror}); "
            "choose another with --port or origin.port"
        ) from None
    listener.setblocking(False)
    return listener


async def serve(config: OriginConfig, fabric: FabricConfig, worker_arguments: Sequence[str] = ()) -> int:
    """Host the fabric, the workers and the API until the process is told to stop.

    Args:
        worker_arguments: the configuration, as command-line arguments of worker processes.
    """
    listener = _bind(config)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(listener.close)
            work = loop.create_task(_serve(config, fabric, listener, stack, worker_arguments))
            stop = loop.create_task(stopping.wait())
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not stopping.is_set():
                await work  # it has failed
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
    except FabricError as error:
        raise ConfigError(f"the fabric cannot be opened: {error}") from None
    return 0


async def _serve(
    config: OriginConfig,
    fabric_config: FabricConfig,
    listener: socket.socket,
    stack: contextlib.AsyncExitStack,
    worker_arguments: Sequence[str],
) -> None:
    # Imported here: a port that is taken is reported before the second that Pipecat takes to load.
    from core.fabric.opening import host_fabric
    from core.host.clock import SystemClock
    from core.host.entropy import SystemEntropy
    from core.host.telemetry import metrics_registry
    from origin.api_keys import ApiKeys
    from origin.app import OriginMetrics, build_app
    from origin.broker import POPS_PREFIX, Broker
    from origin.dialogue.character import load_characters
    from origin.dialogue.services import Shared, check_services
    from origin.echo import serve_echo
    from origin.handoffs import Handoffs
    from origin.key_rotation import rotate_in_time
    from origin.sessions import SessionRunner, Sessions
    from origin.tokens import load_admin_secret, load_signing_keys
    from origin.workers.opening import open_workers

    characters = load_characters(config.characters)
    if config.character not in characters:
        raise ConfigError(f"origin.character is {config.character!r}; known are {', '.join(characters)}")
    check_services(config)
    key = load_signing_keys(config.fabric.parent)
    admin_secret = load_admin_secret(config.fabric.parent)
    fabric = await host_fabric(fabric_config, config.fabric, forget=POPS_PREFIX)
    stack.push_async_callback(fabric.aclose)
    await serve_echo(fabric.bus)
    metrics = OriginMetrics(metrics_registry("origin", __version__))
    shared = Shared(config, characters, SystemEntropy(), on_opening=metrics.count_opening)
    stack.push_async_callback(shared.aclose)
    if not config.workers:
        await shared.start()
    url = _url(*listener.getsockname()[:2])
    count, answer = metrics.sessions.set, metrics.count_answer
    local = Sessions(
        shared,
        fabric.bus,
        on_turn=metrics.count_turn,
        on_guess=metrics.count_guess,
        on_count=(lambda local: None) if config.workers else count,
    )
    sessions: SessionRunner = local
    if config.workers:
        workers = open_workers(config, local, fabric, metrics.registry, worker_arguments, answer, count)
        sessions = workers
    clock = SystemClock()
    broker = Broker(shared, sessions, fabric.store, key, clock, issuer=config.issuer or url, bus=fabric.bus)
    keys = ApiKeys(fabric.store, clock, shared.entropy, config.api_keys)
    stack.push_async_callback(keys.aclose)
    stack.push_async_callback(broker.aclose)
    moves = Handoffs(fabric.bus, broker, time.monotonic, name=SystemEntropy().token_bytes(8).hex())
    stack.push_async_callback(moves.aclose)
    if config.workers:
        await workers.open()
        await workers.wait_warm(1, config.pool.ready_s)
    else:
        await local.warm("warm")
    await keys.start()
    await broker.start()
    await broker.adopt()
    await moves.start()
    stack.callback(asyncio.create_task(rotate_in_time(key, fabric.bus, clock, config.signing_key_days)).cancel)
    app = build_app(config, broker, key, metrics, keys=keys, admin_secret=admin_secret, bus=fabric.bus)
    await _serve_http(app, listener, url)


async def _serve_http(app: Starlette, listener: socket.socket, url: str) -> None:
    """The API, until cancelled."""
    server = web_server(app)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    sys.stdout.write(f"origin ready on {url}\n")
    sys.stdout.flush()
    serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving


def web_server(app: Starlette) -> uvicorn.Server:
    """The API's server; who runs it, ends it."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        ws="websockets-sansio",
        ws_ping_interval=AGENT_PING_S,
        ws_ping_timeout=2 * AGENT_PING_S,
        ws_max_size=AGENT_MESSAGE_SIZE_BYTES_MAX,
        ws_per_message_deflate=False,  # sound does not shrink, and a small message could become a large one
    )
    server = uvicorn.Server(config)
    # Signals are ours: uvicorn would take them over and raise them again.
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]
    return server


def _url(host: str, port: int) -> str:
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - shown, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


if __name__ == "__main__":
    raise SystemExit(main())
