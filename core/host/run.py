"""`visavis run`: one origin and one POP on this machine, with what they need between them."""

from __future__ import annotations

import argparse
import os
import socket
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError
from core.host.config import add_config_arguments, load_config, overrides_from, setting
from core.host.directory import socket_in
from core.host.sections import load_section

if TYPE_CHECKING:
    from core.host.cli import Subparsers
    from core.host.supervisor import ChildSpec

__all__ = ["RunConfig", "free_port", "patience", "register", "supervise"]

_POP_STOP_S_MAX: Final = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Section [run]: what `visavis run` itself can be told."""

    directory: Path = setting(Path("run"), help="where socket, records and keys live", flag="--directory")
    ready_s: float = setting(60.0, help="how long a process may take to start, in seconds", minimum=1, maximum=600)


def register(subparsers: Subparsers) -> None:
    """Add `visavis run`."""
    parser = subparsers.add_parser(
        "run",
        help="start an origin and a POP on this machine and print the page's address",
        description="Start an origin and a POP on this machine. Ctrl-C stops both.",
    )
    parser.add_argument("--host", help="address the page is served on (same as --set edge.host=…)")
    parser.add_argument("--port", help="TCP port of the page; 0: any free one (same as --set edge.port=…)")
    parser.add_argument("--origin-port", help="TCP port of the origin; 0: any free one (same as --set origin.port=…)")
    add_config_arguments(parser, RunConfig, "run")
    parser.set_defaults(handler=_run)


def _run(options: argparse.Namespace) -> int:
    import asyncio

    config = read(options)
    specs, url = plan(config, options)
    return asyncio.run(supervise(specs, config, url))


def read(options: argparse.Namespace) -> RunConfig:
    """Section [run]; also turns the command's own flags into overrides. Raises: ConfigError."""
    for name, value in (
        ("edge.host", options.host),
        ("edge.port", options.port),
        ("origin.port", options.origin_port),
    ):
        if value is not None:
            options.config_overrides.append(f"{name}={value}")
    return load_config(RunConfig, section="run", path=options.config, overrides=overrides_from(options))


async def supervise(specs: list[ChildSpec], config: RunConfig, url: str, hint: str = "") -> int:
    """Keep the processes alive until a signal; gives the exit code, 0 when somebody wanted the end.

    Args:
        url: of the page, told when all run.
        hint: one more line then.
    """
    import asyncio
    import signal

    from core.host.supervisor import StartError, Supervisor

    def on_ready() -> None:
        more = f"  {hint}\n" if hint else ""
        sys.stdout.write(f"\n  Visavis is running: open {url}\n{more}  Ctrl-C stops it.\n\n")
        sys.stdout.flush()

    supervisor = Supervisor(specs, on_ready=on_ready, ready_s_max=config.ready_s)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)
    try:
        await supervisor.run()
    except StartError as error:
        sys.stderr.write(f"visavis: {error}\n")
        return error.code
    return 0


def plan(config: RunConfig, options: argparse.Namespace) -> tuple[list[ChildSpec], str]:
    """The processes to start and the address of the page.

    Raises: ConfigError: a configuration is wrong, or a port is taken.
    """
    passed = ["--config", str(options.config)] if options.config else []
    for override in overrides_from(options):
        passed += ["--set", override]
    origin, edge = load_section("origin", options), load_section("edge", options)
    origin_port = free_port(origin.host, origin.port, "--origin-port")
    edge_port = free_port(edge.host, edge.port, "--port", avoid=origin_port)
    fabric = _fabric_path(config.directory)
    return [
        _spec("origin", origin, passed, {"port": origin_port, "fabric": fabric}),
        _spec("edge", edge, passed, {"port": edge_port, "fabric": fabric, **_ties(edge, origin, origin_port)}),
    ], f"http://{_shown_host(edge.host)}:{edge_port}/"


def _ties(edge: Any, origin: Any, origin_port: int) -> dict[str, object]:
    """What the POP must know of this origin, unless somebody has said otherwise."""
    ties: dict[str, object] = {}
    if edge.origin_url == type(edge)().origin_url:
        ties["origin_url"] = f"http://{_asked_host(origin.host)}:{origin_port}"
    if not edge.issuer:
        ties["issuer"] = origin.issuer
    return ties


def _spec(name: str, config: Any, passed: list[str], settings: dict[str, object]) -> ChildSpec:
    from core.host.supervisor import ChildSpec

    arguments = [*passed]
    for key, value in settings.items():
        arguments += ["--set", f"{name}.{key}={value}"]
    host = _asked_host(config.host)
    return ChildSpec(
        name=name, module=name, arguments=arguments, host=host, port=int(str(settings["port"])), stop_s=patience(name)
    )


def patience(module: str) -> float:
    """How long a process of this module may take to stop, in seconds: a POP moves its sessions to others first."""
    from core.host.child import STOP_S_MAX

    return _POP_STOP_S_MAX if module == "edge" else STOP_S_MAX


def _asked_host(host: str) -> str:
    """Where to ask who is bound to `host`."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - asked, not bound


def _shown_host(host: str) -> str:
    if host in ("127.0.0.1", "::1", "", "0.0.0.0", "::"):  # noqa: S104 - shown, not bound
        return "localhost"
    return f"[{host}]" if ":" in host else host


def free_port(host: str, port: int, flag: str, avoid: int = 0) -> int:
    """The port, or a free one for 0. Raises: ConfigError: it is taken or may not be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if port and port == avoid:
                raise ConfigError(f"origin and page cannot both use port {port}; choose another with {flag} PORT")
            probe.bind((host, port))
        except PermissionError:
            raise ConfigError(f"port {port} on {host} needs more rights; choose another with {flag} PORT") from None
        except OSError as error:
            why = "is taken" if error.errno in (98, 48) else f"cannot be used ({error.strerror})"
            raise ConfigError(f"port {port} on {host} {why}; choose another with {flag} PORT") from None
        return int(probe.getsockname()[1])


def _fabric_path(directory: Path) -> Path:
    """The runtime directory's socket; its folder is made. Raises: ConfigError: that cannot be, or is not private."""
    path = socket_in(directory)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        there = path.parent.lstat()
    except OSError as error:
        raise ConfigError(
            f"the runtime directory {directory} cannot be made ({error.strerror}); choose another with --directory"
        ) from None
    # A folder below one that anybody may write to could have been there before us.
    elsewhere = path.parent != directory.absolute()
    if elsewhere and (not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid() or there.st_mode & 0o077):
        raise ConfigError(f"{path.parent} is not private to you; remove it, or choose a shorter path with --directory")
    return path
