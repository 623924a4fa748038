"""The local fabric's server: one process's bus and store, shared with others over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final, Protocol

from core import limits
from core.errors import ConfigError, FabricError, LocalProtocolError, RemoteProtocolError
from core.fabric import frames
from core.fabric.bus import Message
from core.fabric.connection import FrameConnection
from core.fabric.frames import encode
from core.fabric.memory import MemoryBus, MemoryStore
from core.fabric.store import Entry, Store

__all__ = ["HostedStore", "LocalFabricServer"]

_log = logging.getLogger(__name__)

_HANDSHAKE_S_MAX: Final = 5.0
_ANSWER_S_MAX: Final = 60.0
_SOCKET_PATH_BYTES_MAX: Final = 107
"""sun_path on Linux holds 108 bytes with its final zero; macOS holds 104, and says so itself."""


class HostedStore(Store, Protocol):
    """A store that lives in the server's own process: watches of its clients are called at once, without a queue."""

    @property
    def revision(self) -> int:
        """The newest revision."""
        ...

    def holds(self, key: str) -> bool:
        """Whether the key is alive."""
        ...

    def attach(self, prefix: str, from_revision: int, sink: Callable[[Entry], None]) -> Callable[[], None]:
        """See `MemoryStore.attach`."""
        ...


class LocalFabricServer:
    """Hosts the fabric. The hosting process uses `bus` and `store` directly; others come through `connect_local`.

    Clients subscribe and watch again by themselves when a server has been restarted. What its store then knows depends
    on the store: one in memory knows nothing (its revisions go on increasing, they start from the wall clock).

    Args:
        path: the Unix socket; only this user may open it. A stale file left by a dead server is replaced.
        store: where the entries are; None: in memory. It is closed with the server.
    """

    def __init__(self, path: Path, store: HostedStore | None = None) -> None:
        self.path = path
        self.bus = MemoryBus()
        self.store: HostedStore = store or MemoryStore(revision=time.time_ns() // 1_000)
        self._peers: dict[FrameConnection, _Peer] = {}
        self._server: asyncio.Server | None = None
        self._inode: int | None = None

    @property
    def peers(self) -> int:
        """Connected clients."""
        return sum(connection.greeted for connection in self._peers)

    @property
    def dropped(self) -> int:
        """Messages dropped for clients that are connected now and do not read fast enough."""
        return sum(connection.dropped for connection in self._peers)

    async def start(self) -> None:
        """Begin to listen.

        Raises: ConfigError: the path is too long, is no socket, or another server answers on it.
        """
        listener = _bind(self.path)
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: FrameConnection(self._on_open, self._on_frame, self._on_closed), sock=listener
        )

    async def aclose(self) -> None:
        """Stop listening, disconnect everybody, end bus and store, remove the socket. Twice is once."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in list(self._peers):
            connection.close()
        if server is not None:
            await server.wait_closed()
        await self.bus.aclose()
        await self.store.aclose()
        with contextlib.suppress(FileNotFoundError):
            # A successor may have replaced the file already; its socket stays.
            if self._inode is not None and self.path.stat().st_ino == self._inode:
                self.path.unlink()
        self._inode = None

    async def __aenter__(self) -> LocalFabricServer:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _on_open(self, connection: FrameConnection) -> None:
        self._peers[connection] = _Peer(self, connection)

    def _on_frame(self, connection: FrameConnection, body: bytes) -> None:
        self._peers[connection].receive(frames.decode_client(body))

    def _on_closed(self, connection: FrameConnection) -> None:
        peer = self._peers.pop(connection, None)
        if peer is not None:
            peer.close()


def _bind(path: Path) -> socket.socket:
    """A listening socket file of mode 0600 at `path`."""
    if len(os.fsencode(path)) > _SOCKET_PATH_BYTES_MAX:
        raise ConfigError(
            f"the fabric's socket path {path} is too long for a Unix socket; choose a shorter run directory"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ConfigError(f"{path} exists and is no socket; remove it or choose another path for the fabric")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                path.unlink(missing_ok=True)  # its server is dead
            else:
                raise ConfigError(f"another origin already serves {path}; stop it or choose another run directory")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Between bind and chmod somebody could connect: the mask makes the file private from its first moment.
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigError(f"the fabric cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    listener.setblocking(False)
    return listener


class _Peer:
    """One connected client: its subscriptions, responders, watches and calls in progress."""

    def __init__(self, server: LocalFabricServer, connection: FrameConnection) -> None:
        self._bus = server.bus
        self._store = server.store
        self._connection = connection
        self._routes: dict[int, Callable[[], None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asks: dict[int, asyncio.Future[bytes]] = {}
        self._ask_ids = itertools.count(1)
        self._deadline = asyncio.get_running_loop().call_later(_HANDSHAKE_S_MAX, connection.abort)

    def close(self) -> None:
        self._deadline.cancel()
        for end in self._routes.values():
            end()
        for task in self._tasks:
            task.cancel()
        for future in self._asks.values():
            if not future.done():
                future.set_exception(FabricError("unreachable", "the responder has left"))
                future.exception()  # marks it as seen: the asker may have gone as well
        self._routes.clear()

    def receive(self, frame: frames.ClientFrame) -> None:
        if not self._connection.greeted:
            if not isinstance(frame, frames.Hello):
                raise RemoteProtocolError("no-hello", "the first frame is not Hello")
            if frame.version != frames.VERSION:
                raise RemoteProtocolError(
                    "bad-version", f"version {frame.version}, this server speaks {frames.VERSION}"
                )
            self._connection.greeted = True
            self._deadline.cancel()
            self._connection.send(encode(frames.Welcome(frames.VERSION)))
            return
        try:
            self._serve(frame)
        except LocalProtocolError as error:  # the *client's* subject or key is not one
            raise RemoteProtocolError("bad-subject", str(error)) from error

    def _serve(self, frame: frames.ClientFrame) -> None:
        match frame:
            case frames.Publish():
                with contextlib.suppress(FabricError):
                    self._bus.publish_nowait(frame.subject, frame.payload)
            case frames.Subscribe():
                self._add(frame.call, frame.route, self._bus.attach(frame.pattern, self._deliver(frame.route)))
            case frames.Unsubscribe():
                end = self._routes.pop(frame.route, None)
                if end is not None:
                    end()
            case frames.Answer():
                self._answered(frame)
            case frames.Request():
                self._spawn(frame.call, self._request(frame))
            case frames.Respond():
                self._spawn(frame.call, self._respond(frame))
            case frames.StoreCall():
                self._spawn(frame.call, self._store_call(frame))
            case frames.WatchKeys():
                self._watch(frame)
            case frames.Hello():
                raise RemoteProtocolError("bad-frame", "Hello twice")

    def _add(self, call: int, route: int, end: Callable[[], None]) -> None:
        if route in self._routes:
            end()
            raise RemoteProtocolError("bad-frame", f"route {route} is taken")
        self._routes[route] = end
        self._connection.send(encode(frames.Done(call)))

    def _deliver(self, route: int) -> Callable[[Message], None]:
        send = self._connection.send_message

        def sink(message: Message) -> None:
            send(encode(frames.Deliver(route, message.subject, message.payload)))

        return sink

    # --- calls that take a task ------------------------------------------------------------------------------

    def _spawn(self, call: int, work: Coroutine[None, None, frames.Done]) -> None:
        if len(self._tasks) >= limits.FABRIC_QUEUE_MESSAGES_MAX:
            work.close()
            self._connection.send(encode(frames.Failed(call, "overloaded", "too many calls at once")))
            return
        task = asyncio.get_running_loop().create_task(self._finish(call, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, call: int, work: Coroutine[None, None, frames.Done]) -> None:
        try:
            answer = encode(await work)
        except FabricError as error:
            answer = encode(frames.Failed(call, error.code, str(error)))
        except (LocalProtocolError, RemoteProtocolError) as error:
            _log.warning("local fabric: peer disconnected, it does not speak the protocol (%s)", error)
            self._connection.abort()
            return
        self._connection.send(answer)

    async def _request(self, frame: frames.Request) -> frames.Done:
        payload = await self._bus.request(frame.subject, frame.payload, min(frame.timeout_s, _ANSWER_S_MAX))
        return frames.Done(frame.call, payload)

    async def _respond(self, frame: frames.Respond) -> frames.Done:
        if frame.route in self._routes:
            raise RemoteProtocolError("bad-frame", f"route {frame.route} is taken")
        responder = await self._bus.respond(frame.pattern, functools.partial(self._ask, frame.route))
        self._routes[frame.route] = responder.close
        return frames.Done(frame.call)

    async def _ask(self, route: int, message: Message) -> bytes:
        """Somebody's request, passed on to this client; runs in the asker's task and within the asker's timeout."""
        if self._connection.closed:
            raise FabricError("unreachable", "the responder has left")
        ask = next(self._ask_ids)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asks[ask] = future
        self._connection.send(encode(frames.Ask(ask, route, message.subject, message.payload)))
        try:
            return await future
        finally:
            del self._asks[ask]

    def _answered(self, frame: frames.Answer) -> None:
        future = self._asks.get(frame.ask)
        if future is None or future.done():
            return  # it came after the asker's timeout
        if frame.code:
            future.set_exception(FabricError(frame.code, frame.message))
        else:
            future.set_result(frame.payload)

    async def _store_call(self, frame: frames.StoreCall) -> frames.Done:
        store, call = self._store, frame.call
        match frame.verb:
            case "create":
                return frames.Done(call, revision=await store.create(frame.key, frame.value))
            case "get":
                entry = await store.get(frame.key)
                return frames.Done(call, entry.value or b"", entry.revision)
            case "update":
                return frames.Done(call, revision=await store.update(frame.key, frame.value, frame.revision))
            case "put":
                return frames.Done(call, revision=await store.put(frame.key, frame.value))
            case "delete":
                await store.delete(frame.key, frame.revision)
                return frames.Done(call)
            case "keys":
                return frames.Done(call, names=await store.keys(frame.key))
            case _:
                raise RemoteProtocolError("bad-frame", f"no store operation {frame.verb!r}")

    def _watch(self, frame: frames.WatchKeys) -> None:
        route, send = frame.route, self._connection.send

        def sink(entry: Entry) -> None:
            send(encode(frames.Changed(route, entry.key, entry.value, entry.revision)))

        self._add(frame.call, route, self._store.attach(frame.prefix, frame.from_revision, sink))
        for key in frame.known:
            if not self._store.holds(key):
                sink(Entry(key, None, self._store.revision))
        send(encode(frames.Synced(route, self._store.revision)))
