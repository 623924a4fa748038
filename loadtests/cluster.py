"""A whole cluster of one's own for tests and benchmarks: `visavis run-cluster`, with a hub that can be killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import ConfigError
from core.fabric.config import FabricConfig
from loadtests.stack import Stack, origin_of, stop, wait_for_urls

__all__ = ["Cluster", "cluster_stack"]

_NATS: Final = re.compile(r"core\.host\.child core\.fabric\.nats_server (\S+) --port (\d+)")
_LEAVES: Final = ("pop-a", "pop-b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster(Stack):
    """A running hub, two leaf nodes, an origin with workers, and a POP at each leaf.

    Attributes:
        pops: name → base URL.
        leaves: name → where clients connect to that leaf node.
    """

    pops: dict[str, str]
    leaves: dict[str, str]

    def kill_hub(self) -> None:
        """The hub's server dies as in a power cut, and is not started again before `return_hub`."""
        lines = self.children()
        keeper = next(pid for pid, line in lines.items() if (found := _NATS.search(line)) and found[1] == "hub")
        os.kill(keeper, signal.SIGSTOP)
        os.kill(next(pid for pid, line in lines.items() if "/hub/server.conf" in line), signal.SIGKILL)

    def return_hub(self) -> None:
        """Whoever keeps the hub notices now that it has died: it is started again."""
        keeper = next(
            pid for pid, line in self.children().items() if (found := _NATS.search(line)) and found[1] == "hub"
        )
        os.kill(keeper, signal.SIGCONT)


@contextlib.contextmanager
def cluster_stack(*settings: str) -> Iterator[Cluster]:
    """Start `visavis run-cluster` on free ports and stop it at the end.

    Args:
        settings: `section.key=value`, as for `--set`.
    Raises: ConfigError: it did not start; with the last lines it said.
    """
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        output = Path(folder) / "log.txt"
        command = [sys.executable, "-m", "core.host.cli", "run-cluster", "--directory", folder]
        for setting in settings:
            command += ["--set", setting]
        with output.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603 - our own module
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            urls = wait_for_urls(process, output)
            plain = Stack(
                pop_url=urls[0],
                origin_url=origin_of(urls[0], output),
                pid=process.pid,
                log=output,
                directory=Path(folder) / "cluster",
            )
            servers = {found[1]: found[2] for line in plain.children().values() if (found := _NATS.search(line))}
            if set(servers) != {"hub", *_LEAVES} or len(urls) != len(_LEAVES):
                raise ConfigError(f"`visavis run-cluster` started {', '.join(servers)} and {len(urls)} POPs")
            leaves = {name: f"nats://127.0.0.1:{servers[name]}" for name in _LEAVES}
            yield Cluster(
                pop_url=plain.pop_url,
                origin_url=plain.origin_url,
                pid=plain.pid,
                log=plain.log,
                directory=plain.directory,
                fabric=FabricConfig(store="nats", bus="nats", url=leaves["pop-a"]),
                pops=dict(zip(_LEAVES, urls, strict=True)),
                leaves=leaves,
            )
        finally:
            stop(process)
