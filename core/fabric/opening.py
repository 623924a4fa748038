"""Opening the fabric as the configuration says: the origin hosts it, POPs join it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

from core.errors import ConfigError, FabricError
from core.fabric.bus import Bus
from core.fabric.config import FabricConfig
from core.fabric.local import LocalFabricServer, OnConnection, connect_local
from core.fabric.sqlite import SqliteStore
from core.fabric.store import Store

__all__ = ["OpenFabric", "host_fabric", "join_fabric"]


class OpenFabric:
    """Bus and store of one process; close it once, at the end."""

    def __init__(self, bus: Bus, store: Store, stack: AsyncExitStack) -> None:
        self.bus = bus
        self.store = store
        self._stack = stack

    async def aclose(self) -> None:
        """Leave, in the reverse order of coming. Twice is once."""
        await self._stack.aclose()

    async def __aenter__(self) -> OpenFabric:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


async def host_fabric(config: FabricConfig, socket_path: Path, *, forget: str = "") -> OpenFabric:
    """The origin's end. On one machine this is where the fabric lives.

    Args:
        socket_path: the Unix socket to serve, where the configuration needs one.
        forget: prefix of keys in a file that others write again when they connect; what an earlier life left of them is
            deleted before anybody can.
    Raises: ConfigError: the socket or the file cannot be used, or the client of NATS is not installed; FabricError:
        `unreachable`, NATS does not answer.
    """
    async with AsyncExitStack() as stack:
        server: LocalFabricServer | None = None
        if config.needs_socket:
            hosted = None
            if config.store == "sqlite":
                hosted = await SqliteStore.open(config.database or socket_path.with_suffix(".sqlite"))
                stack.push_async_callback(hosted.aclose)
                for key in await hosted.keys(forget) if forget else ():
                    await hosted.delete(key, (await hosted.get(key)).revision)
            server = LocalFabricServer(socket_path, hosted)
            await server.start()
            stack.push_async_callback(server.aclose)
        ends = (server.bus, server.store) if server is not None else None
        bus, store = await _choose(config, ends, stack, None)
        return OpenFabric(bus, store, stack.pop_all())


async def join_fabric(
    config: FabricConfig, socket_path: Path, *, on_connection: OnConnection | None = None
) -> OpenFabric:
    """A POP's end.

    Args:
        on_connection: called with True after every later reconnection and with False after every loss of whatever
            carries the store: write again what the store should know, it may be a new one.
    Raises: ConfigError: the client of NATS is not installed; FabricError: `unreachable`, nobody answered in time.
    """
    async with AsyncExitStack() as stack:
        ends: tuple[Bus, Store] | None = None
        if config.needs_socket:
            tell = on_connection if config.store != "nats" else None
            bus, store = await connect_local(socket_path, timeout_s=config.connect_s, on_connection=tell)
            stack.push_async_callback(bus.aclose)
            stack.push_async_callback(store.aclose)
            ends = bus, store
        chosen = await _choose(config, ends, stack, on_connection)
        return OpenFabric(*chosen, stack.pop_all())


async def _choose(
    config: FabricConfig, ends: tuple[Bus, Store] | None, stack: AsyncExitStack, on_connection: OnConnection | None
) -> tuple[Bus, Store]:
    """What the socket does not carry comes from NATS."""
    if ends is not None and config.bus == "local" and config.store != "nats":
        return ends
    try:
        from core.fabric.nats import NatsBus, NatsLink
        from core.fabric.nats_mirror import MirroredStore
        from core.fabric.nats_store import NatsStore
    except ImportError:
        raise ConfigError('fabric needs the NATS client; install it with `pip install "visavis[nats]"`') from None
    link = NatsLink(config.url, token=config.token, on_connection=on_connection if config.store == "nats" else None)
    try:
        await link.start(config.connect_s)
    except FabricError as error:
        raise FabricError(error.code, f"{error}; start it, or say where it is with fabric.url") from None
    nats_bus = NatsBus(link, config.namespace)
    stack.push_async_callback(nats_bus.aclose)
    store: Store
    if config.store == "nats":
        bucket, domain = config.namespace, config.domain
        if config.mirror:
            store = await MirroredStore.open(link, bucket=bucket, domain=domain, mirror_domain=config.mirror)
        else:
            store = await NatsStore.open(link, bucket=bucket, domain=domain)
        stack.push_async_callback(store.aclose)
    else:
        assert ends is not None  # `needs_socket`
        store = ends[1]
    if config.bus == "nats":
        return nats_bus, store
    assert ends is not None
    return ends[0], store
