"""A POP of several processes: one address for the page and the probe, one process per core behind it.

Every process is a whole POP with a name, a record, a load and ports of its own: a ticket names one of them, so that
whatever belongs to a session comes to it, and the broker spreads sessions over them as over any POPs. Only the page's
address is shared (SO_REUSEPORT): whoever asks there is answered by any of them. One that dies is started again; its
viewers go on at the others, as they do when any POP dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from core.errors import ConfigError
from core.host.run import free_port, patience
from core.host.supervisor import ChildSpec, StartError, Supervisor
from edge.config import EdgeConfig

__all__ = ["PROCESS_MARK", "plan_processes", "process_count", "run_processes"]

PROCESS_MARK = "{process}"
"""In `edge.public_url`: the number of the process."""


def process_count(config: EdgeConfig) -> int:
    """How many processes this POP has."""
    if config.processes:
        return config.processes
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plan_processes(config: EdgeConfig, arguments: Sequence[str]) -> list[ChildSpec]:
    """The processes of a POP, `NAME-1` and so on.

    Args:
        arguments: this process's own command line; theirs is the same and more.
    Raises: ConfigError: a port is taken, or nobody could reach the processes apart.
    """
    count = process_count(config)
    if config.public_url and PROCESS_MARK not in config.public_url:
        raise ConfigError(
            f"edge.public_url must say with {PROCESS_MARK} how each of the {count} processes is reached, "
            "e.g. https://pop-{process}.example.org"
        )
    if config.webtransport_port:
        raise ConfigError("edge.webtransport_port cannot be one port for several processes; leave it out")
    page_port = free_port(config.host, config.port, "--port")
    taken = {page_port}
    specs: list[ChildSpec] = []
    for number in range(1, count + 1):
        while (port := free_port(config.host, 0, "--port")) in taken:
            pass
        taken.add(port)
        settings: dict[str, object] = {
            "processes": 1,
            "name": f"{config.name}-{number}",
            "port": port,
            "page_port": page_port,
            "capacity": -(-config.capacity // count),
        }
        if config.public_url:
            settings["public_url"] = config.public_url.replace(PROCESS_MARK, str(number))
        own = [*arguments]
        for key, value in settings.items():
            own += ["--set", f"edge.{key}={value}"]
        name = f"{config.name}-{number}"
        specs.append(
            ChildSpec(name=name, module="edge", arguments=own, host=config.host, port=port, stop_s=patience("edge"))
        )
    return specs


async def run_processes(config: EdgeConfig, arguments: Sequence[str]) -> int:
    """Keep the processes of a POP alive until SIGTERM or SIGINT. Returns: the exit code.

    Raises: ConfigError: see `plan_processes`.
    """
    supervisor = Supervisor(plan_processes(config, arguments), on_ready=lambda: None)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, supervisor.stop)
    try:
        await supervisor.run()
    except StartError as error:
        sys.stderr.write(f"visavis: {error}\n")
        return error.code
    return 0
