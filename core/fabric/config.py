"""What carries the fabric: section [fabric] of the configuration, the same for the origin and its POPs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.host.config import setting

__all__ = ["FabricConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricConfig:
    """Section [fabric].

    On one machine the origin hosts bus and store on a Unix socket. Beyond it both are NATS: the origin connects to
    the hub, each POP to the leaf node beside it, and `url` is a setting of each process.
    """

    store: Literal["memory", "sqlite", "nats"] = setting(
        "sqlite", help="where records are: memory, a file of the origin (survives its restart), or NATS JetStream"
    )
    bus: Literal["local", "nats"] = setting("local", help="what carries messages: the origin's Unix socket, or NATS")
    database: Path | None = setting(None, help="file of the SQLite store; default: beside the socket")
    url: str = setting("nats://127.0.0.1:4222", help="the nearest NATS server; several with commas")
    token: str = setting("", help="what the NATS server asks of clients", secret=True)
    domain: str = setting("hub", help="JetStream domain that has the records")
    mirror: str = setting(
        "", help="JetStream domain of the leaf node beside a POP, which keeps a copy of the records; empty: none does"
    )
    namespace: str = setting("visavis", help="name of the bucket, and first token of all subjects on NATS")
    connect_s: float = setting(10.0, help="how long to look for the fabric at start", minimum=0.1, maximum=300)

    @property
    def needs_socket(self) -> bool:
        """Whether bus or store are on the origin's Unix socket."""
        return self.bus == "local" or self.store != "nats"
