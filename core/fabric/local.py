"""The local fabric: bus and store shared by the processes of one machine over a Unix socket.

The origin hosts it (`LocalFabricServer`) and uses `server.bus` and `server.store` directly; every other process calls
`connect_local`. When the server goes away, this end keeps trying (backoff 50 ms to 0.5 s), and when it is back,
subscriptions, responders and watches go on by themselves; a watch also reports what was deleted meanwhile.

While there is no connection:
- `publish` drops the message and counts it (`LocalBus.dropped`): delivery is at most once, media is worthless later,
  and a 20 ms loop must not handle exceptions per packet. Whoever must know asks `connected` or is called back.
- everything that has an answer (subscribe, respond, request, the store) raises FabricError `unreachable` at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from core import limits
from core.errors import FabricError, RemoteProtocolError
from core.fabric import frames
from core.fabric.bus import Message, Responder
from core.fabric.connection import FrameConnection
from core.fabric.frames import encode
from core.fabric.inbox import EntryInbox, MessageInbox
from core.fabric.memory import check_size
from core.fabric.server import LocalFabricServer
from core.fabric.store import Entry
from core.fabric.subjects import check_pattern, check_subject

__all__ = ["LocalBus", "LocalFabricServer", "LocalStore", "connect_local"]

_log = logging.getLogger(__name__)

_BACKOFF_S_MIN: Final = 0.05
_BACKOFF_S_MAX: Final = 0.5
_REQUEST_GRACE_S: Final = 0.5
"""The server enforces a request's timeout; this end waits a little longer, in case the server itself hangs."""

OnConnection = Callable[[bool], Awaitable[None] | None]


async def connect_local(
    path: Path, *, timeout_s: float = 10.0, on_connection: OnConnection | None = None
) -> tuple[LocalBus, LocalStore]:
    """Join the fabric that a server hosts at `path`.

    Closing the bus leaves the fabric; closing the store only ends its watches.

    Args:
        timeout_s: how long to keep trying the first time.
        on_connection: called with True after every later reconnection (re-announce here what the store should know: a
            restarted server has an empty one) and with False after every loss.

    Raises: FabricError: `unreachable`, nobody answered in time.
    """
    link = _Link(path, on_connection)
    await link.start(timeout_s)
    return LocalBus(link), LocalStore(link)


class _Route:
    """Something the server must be told of again after a reconnection."""

    def __init__(self, announce: Callable[[int], frames.ClientFrame]) -> None:
        self.announce = announce
        self.inbox: MessageInbox | None = None
        self.responder: Responder | None = None
        self.changes: EntryInbox | None = None
        self.known: dict[str, int] = {}
        self.revision = 0


class _Link:
    """The connection, what must survive its loss, and the calls in progress."""

    def __init__(self, path: Path, on_connection: OnConnection | None) -> None:
        self.path = path
        self.connected = False
        self._dropped = 0
        self._on_connection = on_connection
        self._connection: FrameConnection | None = None
        self._lost = asyncio.Event()
        self._welcome: asyncio.Future[None] | None = None
        self._calls: dict[int, asyncio.Future[frames.Done]] = {}
        self._routes: dict[int, _Route] = {}
        self._ids = itertools.count(1)
        self._keeper: asyncio.Task[None] | None = None
        self._answers: set[asyncio.Task[None]] = set()

    @property
    def dropped(self) -> int:
        return self._dropped + (0 if self._connection is None else self._connection.dropped)

    # --- life --------------------------------------------------------------------------------------------------

    async def start(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect()
        except TimeoutError:
            self._drop_connection()
            raise FabricError(
                "unreachable",
                f"no fabric at {self.path} within {timeout_s:g} s; is an origin running there (run.directory)?",
            ) from None
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def aclose(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        for answer in list(self._answers):
            answer.cancel()
        if self._connection is not None:
            self._connection.close()
        self._drop_connection()
        for route in list(self._routes.values()):
            for inbox in (route.inbox, route.changes):
                if inbox is not None:
                    inbox.close()
        self._routes.clear()

    async def _connect(self) -> None:
        """Try until it works."""
        delay_s = _BACKOFF_S_MIN
        loop = asyncio.get_running_loop()
        while True:
            self._welcome = loop.create_future()
            self._lost.clear()
            try:
                _, connection = await loop.create_unix_connection(
                    lambda: FrameConnection(_ignore, self._on_frame, self._on_closed), str(self.path)
                )
                self._connection = connection
                connection.send(encode(frames.Hello(frames.VERSION)))
                await self._welcome
            except (OSError, FabricError):
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, _BACKOFF_S_MAX)
                continue
            self.connected = True
            return

    async def _keep(self) -> None:
        while True:
            await self._lost.wait()
            _log.warning("local fabric: connection to %s lost, reconnecting", self.path)
            await self._tell(False)
            await self._connect()
            for number, route in list(self._routes.items()):
                self._announce(number, route)
            _log.info("local fabric: connected to %s again", self.path)
            await self._tell(True)

    def _announce(self, number: int, route: _Route) -> None:
        try:
            self._send(route.announce(number))
        except FabricError:
            # More keys than one frame can name: begin this watch anew; what was deleted meanwhile stays unreported.
            _log.warning("local fabric: a watch of %d keys begins anew", len(route.known))
            route.known.clear()
            route.revision = 0
            self._send(route.announce(number))

    async def _tell(self, connected: bool) -> None:
        if self._on_connection is None:
            return
        try:
            outcome = self._on_connection(connected)
            if inspect.isawaitable(outcome):
                await outcome
        except FabricError as error:  # lost again meanwhile: the next round tells it again
            _log.warning("local fabric: %s", error)

    def _on_closed(self, connection: FrameConnection) -> None:
        if connection is self._connection:
            self._dropped += connection.dropped
            self._drop_connection()

    def _drop_connection(self) -> None:
        self._connection = None
        self.connected = False
        if self._welcome is not None and not self._welcome.done():
            self._welcome.set_exception(FabricError("unreachable", "the fabric has closed the connection"))
            self._welcome.exception()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(FabricError("unreachable", "the connection to the fabric was lost"))
                future.exception()
        self._lost.set()

    # --- out ---------------------------------------------------------------------------------------------------

    def publish(self, subject: str, payload: bytes) -> None:
        check_subject(subject)
        check_size(payload)
        connection = self._connection
        if connection is None or not self.connected:
            if self._keeper is None:
                raise FabricError("unreachable", "the bus is closed")
            self._dropped += 1
            return
        connection.send_message(encode(frames.Publish(subject, payload)))

    def _send(self, frame: frames.ClientFrame) -> None:
        if self._connection is not None:
            self._connection.send(encode(frame))

    async def call(
        self, make: Callable[[int], frames.ClientFrame], timeout_s: float = limits.FABRIC_CALL_S_MAX
    ) -> frames.Done:
        if not self.connected or self._connection is None:
            raise FabricError("unreachable", f"no connection to the fabric at {self.path}")
        if len(self._calls) >= limits.FABRIC_QUEUE_MESSAGES_MAX:
            raise FabricError("overloaded", "too many calls to the fabric at once")
        number = next(self._ids)
        future: asyncio.Future[frames.Done] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        self._send(make(number))
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise FabricError("timeout", f"the fabric did not answer within {timeout_s:g} s") from None
        finally:
            del self._calls[number]

    async def open(self, route: _Route) -> Callable[[], None]:
        """Announce a route; gives the function that ends it."""
        number = next(self._ids)
        self._routes[number] = route

        def end() -> None:
            if self._routes.pop(number, None) is not None and self.connected:
                self._send(frames.Unsubscribe(number))

        def make(call: int) -> frames.ClientFrame:
            return _with_call(route.announce(number), call)

        try:
            await self.call(make)
        except BaseException:
            end()
            raise
        return end

    # --- in ----------------------------------------------------------------------------------------------------

    def _on_frame(self, connection: FrameConnection, body: bytes) -> None:
        frame = frames.decode_server(body)
        if isinstance(frame, frames.Deliver):
            route = self._routes.get(frame.route)
            if route is not None and route.inbox is not None:
                route.inbox.push(Message(frame.subject, frame.payload))
            return
        match frame:
            case frames.Done():
                future = self._calls.get(frame.call)
                if future is not None and not future.done():
                    future.set_result(frame)
            case frames.Failed():
                future = self._calls.get(frame.call)
                if future is not None and not future.done():
                    future.set_exception(FabricError(frame.code, frame.message))
            case frames.Ask():
                self._asked(frame)
            case frames.Changed():
                self._changed(frame)
            case frames.Synced():
                route = self._routes.get(frame.route)
                if route is not None:
                    route.revision = max(route.revision, frame.revision)
            case frames.Welcome():
                if frame.version != frames.VERSION:
                    raise RemoteProtocolError("bad-version", f"the fabric speaks version {frame.version}")
                if self._welcome is not None and not self._welcome.done():
                    self._welcome.set_result(None)

    def _changed(self, frame: frames.Changed) -> None:
        route = self._routes.get(frame.route)
        if route is None or route.changes is None:
            return
        route.revision = max(route.revision, frame.revision)
        if frame.value is None:
            route.known.pop(frame.key, None)
        else:
            route.known[frame.key] = frame.revision
        route.changes.push(Entry(frame.key, frame.value, frame.revision))

    def _asked(self, frame: frames.Ask) -> None:
        route = self._routes.get(frame.route)
        if route is None or route.responder is None:
            self._send(frames.Answer(frame.ask, b"", "no-responder", "the responder has stopped"))
            return
        if len(self._answers) >= limits.FABRIC_QUEUE_MESSAGES_MAX:
            self._send(frames.Answer(frame.ask, b"", "overloaded", "the responder has too much to do"))
            return
        task = asyncio.get_running_loop().create_task(self._answer(route.responder, frame))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, responder: Responder, frame: frames.Ask) -> None:
        try:
            payload = await responder(Message(frame.subject, frame.payload))
            check_size(payload)
            answer = frames.Answer(frame.ask, payload)
        except FabricError as error:
            answer = frames.Answer(frame.ask, b"", error.code, str(error))
        except Exception as error:
            _log.exception("responder on %s failed", frame.subject)
            what = f"{type(error).__name__} while answering on {frame.subject}"
            answer = frames.Answer(frame.ask, b"", "responder-failed", what)
        self._send(answer)


def _ignore(connection: FrameConnection) -> None:
    """Nothing to do when a connection opens: whoever opened it goes on by itself."""


def _with_call(frame: frames.ClientFrame, call: int) -> frames.ClientFrame:
    match frame:
        case frames.Subscribe(_, route, pattern):
            return frames.Subscribe(call, route, pattern)
        case frames.Respond(_, route, pattern):
            return frames.Respond(call, route, pattern)
        case frames.WatchKeys(_, route, prefix, from_revision, known):
            return frames.WatchKeys(call, route, prefix, from_revision, known)
        case _:
            raise AssertionError(frame)


class LocalBus:
    """`core.fabric.bus.Bus` of a process that is not the server. Made by `connect_local`."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    @property
    def connected(self) -> bool:
        """Whether the server is reachable now."""
        return self._link.connected

    @property
    def dropped(self) -> int:
        """Messages published in vain: while disconnected, or while the server did not read."""
        return self._link.dropped

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        """See `Bus.publish_nowait`; dropped and counted while disconnected."""
        self._link.publish(subject, payload)

    async def publish(self, subject: str, payload: bytes) -> None:
        """See `Bus.publish`; dropped and counted while disconnected."""
        self._link.publish(subject, payload)

    async def subscribe(self, subject: str) -> MessageInbox:
        """See `Bus.subscribe`."""
        check_pattern(subject)
        inbox = MessageInbox()
        route = _Route(lambda number: frames.Subscribe(0, number, subject))
        route.inbox = inbox
        inbox.on_close = await self._link.open(route)
        return inbox

    async def request(self, subject: str, payload: bytes, timeout_s: float = 2.0) -> bytes:
        """See `Bus.request`."""
        check_subject(subject)
        check_size(payload)
        done = await self._link.call(
            lambda call: frames.Request(call, subject, payload, timeout_s), timeout_s + _REQUEST_GRACE_S
        )
        return done.payload

    async def respond(self, subject: str, responder: Responder) -> MessageInbox:
        """See `Bus.respond`. Each request is answered in a task of its own."""
        check_pattern(subject)
        inbox = MessageInbox()
        route = _Route(lambda number: frames.Respond(0, number, subject))
        route.inbox, route.responder = inbox, responder
        inbox.on_close = await self._link.open(route)
        return inbox

    async def aclose(self) -> None:
        """See `Bus.aclose`. Leaves the fabric, with the store that came along."""
        await self._link.aclose()


class LocalStore:
    """`core.fabric.store.Store` of a process that is not the server. Made by `connect_local`."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._watches: set[EntryInbox] = set()

    async def _call(self, verb: str, key: str, value: bytes = b"", revision: int = 0) -> frames.Done:
        check_subject(key)
        check_size(value)
        return await self._link.call(lambda call: frames.StoreCall(call, verb, key, value, revision))

    async def create(self, key: str, value: bytes) -> int:
        """See `Store.create`."""
        return (await self._call("create", key, value)).revision

    async def get(self, key: str) -> Entry:
        """See `Store.get`."""
        done = await self._call("get", key)
        return Entry(key, done.payload, done.revision)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """See `Store.update`."""
        return (await self._call("update", key, value, revision)).revision

    async def put(self, key: str, value: bytes) -> int:
        """See `Store.put`."""
        return (await self._call("put", key, value)).revision

    async def delete(self, key: str, revision: int) -> None:
        """See `Store.delete`."""
        await self._call("delete", key, revision=revision)

    async def keys(self, prefix: str) -> list[str]:
        """See `Store.keys`."""
        return (await self._link.call(lambda call: frames.StoreCall(call, "keys", prefix))).names

    async def watch(self, prefix: str, from_revision: int = 0) -> EntryInbox:
        """See `Store.watch`. Goes on over reconnections, deletions included."""
        inbox = EntryInbox()
        route = _Route(
            lambda number: frames.WatchKeys(0, number, prefix, max(from_revision, route.revision), list(route.known))
        )
        route.changes = inbox
        end = await self._link.open(route)

        def on_close() -> None:
            end()
            self._watches.discard(inbox)

        inbox.on_close = on_close
        self._watches.add(inbox)
        return inbox

    async def aclose(self) -> None:
        """See `Store.aclose`. The bus that came along stays."""
        for inbox in list(self._watches):
            inbox.close()
