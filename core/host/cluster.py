"""`visavis run-cluster`: what runs in many places, on this machine: a NATS hub, two leaf nodes, an origin with three
worker processes, and two POPs.

Each POP talks to the leaf node beside it, the origin and its workers to the hub; nothing else is shared. What one
machine cannot show is distance: `loadtests.tcp_relay` adds it where it is measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.errors import ConfigError
from core.host.config import add_config_arguments, load_config, overrides_from
from core.host.run import RunConfig, free_port, patience, supervise
from core.host.sections import load_section

if TYPE_CHECKING:
    from core.host.cli import Subparsers
    from core.host.supervisor import ChildSpec

__all__ = ["plan", "register"]

_POPS: Final = ("pop-a", "pop-b")
_WORKERS: Final = 3
_HOST: Final = "127.0.0.1"
_OPERATORS: Final = "visavis.toml"


def register(subparsers: Subparsers) -> None:
    """Add `visavis run-cluster`."""
    parser = subparsers.add_parser(
        "run-cluster",
        help="start a NATS hub, two leaf nodes, an origin with three workers and two POPs on this machine",
        description="Start a NATS hub, two leaf nodes, an origin with three worker processes (or origin.workers of "
        "them) and two POPs on loopback. Ctrl-C stops all.",
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port of the first POP's page; 0: any free one")
    add_config_arguments(parser, RunConfig, "run")
    parser.set_defaults(handler=_run)


def _run(options: argparse.Namespace) -> int:
    import asyncio

    config = load_config(RunConfig, section="run", path=options.config, overrides=overrides_from(options))
    specs, urls = plan(config, options)
    hint = f"Operators' commands reach it with --config {_folder(config.directory) / _OPERATORS}"
    return asyncio.run(supervise(specs, config, " and ".join(urls), hint))


def plan(config: RunConfig, options: argparse.Namespace) -> tuple[list[ChildSpec], list[str]]:
    """The processes to start, in this order, and the addresses of the POPs' pages.

    Beside the records it leaves a configuration with which operators' commands find this cluster.

    Raises: ConfigError: a configuration is wrong, or a port is taken.
    """
    folder = _folder(config.directory)
    taken: set[int] = set()
    leaf_port = _port(taken)
    hub, hub_url = _nats("hub", folder, taken, ["--leaf-port", str(leaf_port)])
    specs, urls = [hub], list[str]()
    leaves = {name: _nats(name, folder, taken, ["--hub-leaf-port", str(leaf_port)]) for name in _POPS}
    specs += [spec for spec, _ in leaves.values()]
    origin_port = _port(taken)
    origin = load_section("origin", options)
    settings: dict[str, object] = {
        "origin.host": _HOST,
        "origin.port": origin_port,
        "origin.fabric": folder / "fabric.sock",
        "origin.workers": origin.workers or _WORKERS,
    }
    settings |= _fabric(hub_url)
    specs.append(_process("origin", "origin", origin_port, options, settings))
    _write_operators(folder / _OPERATORS, settings)
    for number, name in enumerate(_POPS):
        port = options.port if number == 0 and options.port else _port(taken)
        free_port(_HOST, port, "--port")
        settings = {
            "edge.name": name,
            "edge.host": _HOST,
            "edge.port": port,
            "edge.origin_url": f"http://{_HOST}:{origin_port}",
            "edge.issuer": origin.issuer,
        }
        specs.append(
            _process(
                f"edge {name}", "edge", port, options, {**settings, **_fabric(leaves[name][1]), "fabric.mirror": name}
            )
        )
        urls.append(f"http://localhost:{port}/")
    return specs, urls


def _fabric(url: str) -> dict[str, object]:
    return {"fabric.store": "nats", "fabric.bus": "nats", "fabric.url": url}


def _write_operators(path: Path, settings: dict[str, object]) -> None:
    lines = ["# How operators' commands find the cluster that was started last: --config FILE"]
    for key, value in settings.items():
        # A JSON string or integer is a TOML one, too.
        lines.append(f"{key} = {json.dumps(value if isinstance(value, int) else str(value))}")
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None


def _nats(name: str, folder: Path, taken: set[int], more: Sequence[str]) -> tuple[ChildSpec, str]:
    from core.host.supervisor import ChildSpec

    port, http_port = _port(taken), _port(taken)
    arguments = [name, "--port", str(port), "--http-port", str(http_port), "--directory", str(folder / name), *more]
    spec = ChildSpec(name=f"nats {name}", module="core.fabric.nats_server", arguments=arguments, port=http_port)
    return spec, f"nats://{_HOST}:{port}"


def _process(name: str, module: str, port: int, options: argparse.Namespace, settings: dict[str, object]) -> ChildSpec:
    from core.host.supervisor import ChildSpec

    arguments = ["--config", str(options.config)] if options.config else []
    for override in overrides_from(options):
        arguments += ["--set", override]
    for key, value in settings.items():
        arguments += ["--set", f"{key}={value}"]
    return ChildSpec(name=name, module=module, arguments=arguments, port=port, stop_s=patience(module))


def _port(taken: set[int]) -> int:
    while (port := free_port(_HOST, 0, "--port")) in taken:
        pass
    taken.add(port)
    return port


def _folder(directory: Path) -> Path:
    folder = directory.absolute() / "cluster"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the runtime directory {directory} cannot be made ({error.strerror}); choose another with --directory"
        ) from None
    return folder
