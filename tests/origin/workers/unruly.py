"""A worker process for tests that is no good: it ends at once, or says that it warms up and never is ready."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from core import __version__
from core.fabric.local import connect_local
from origin.workers.messages import PROTOCOL, Status, encode, news_subject
from origin.workers.worker import machine_name


async def warm_up_for_ever(name: str, socket: Path) -> None:
    import os

    bus, _store = await connect_local(socket, timeout_s=5.0)
    while True:
        status = Status(
            name=name,
            life="1",
            version=__version__,
            protocol=PROTOCOL,
            state="warming",
            slots=2,
            pid=os.getpid(),
            machine=machine_name(),
        )
        await bus.publish(news_subject(name), encode(status))
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name")
    parser.add_argument("--socket", type=Path)
    options = parser.parse_args()
    if options.socket is None:
        raise SystemExit(1)
    asyncio.run(warm_up_for_ever(options.name, options.socket))
