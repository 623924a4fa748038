"""The fabric beyond one machine: a bus over NATS, and the connection that the store (`core.fabric.nats_store`) shares.

The origin's server is the hub; each POP has a leaf node beside it, which passes on only what somebody there asked for.
Publications and requests have subjects of their own (`visavis.p.…`, `visavis.q.…`), so that neither reaches the other's
listeners. Differences from the local fabric that no protocol can hide:
- a subscription at a hub is known to a leaf, and the other way round, only after it has crossed the link. Whatever is
  sent *because of* a message that followed the subscription finds it in place: a link keeps its order;
- a responder that dies while it works is noticed as `timeout`, and of several the nearest is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from core import limits
from core.errors import FabricError
from core.fabric.bus import Message, Responder
from core.fabric.inbox import MessageInbox
from core.fabric.memory import check_size
from core.fabric.subjects import check_pattern, check_subject

__all__ = ["NatsBus", "NatsLink", "Reply"]

_log = logging.getLogger(__name__)

_ERROR_CODE: Final = "Visavis-Error"
_ERROR_TEXT: Final = "Visavis-Error-Text"
_CONNECT_S_MAX: Final = 2.0
_RECONNECT_S: Final = 0.25
_PING_S: Final = 2
"""A server that is gone without a word is noticed after two of them."""

OnConnection = Callable[[bool], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: payload and headers."""

    payload: bytes
    headers: Mapping[str, str]


class NatsLink:
    """One connection to the nearest NATS server; it is made again by itself for as long as it takes.

    Args:
        url: `nats://host:port`, `tls://…`; several with commas.
        on_connection: called with True after every reconnection and with False after every loss.

    Attributes:
        generation: how many connections there have been; what lives at the server may be gone with the one before.
    """

    def __init__(self, url: str, *, token: str = "", on_connection: OnConnection | None = None) -> None:
        self.url = url
        self.generation = 0
        self._token = token
        self._on_connection = on_connection
        self._client: Any = Client()  # its own annotations are partial, and wrong about seconds
        self._inbox = ""
        self._ids = itertools.count()
        self._calls: dict[str, asyncio.Future[Reply]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self.on_reconnected: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        """Whether the nearest server is reachable now."""
        return not self._closed and bool(self._client.is_connected)

    @property
    def closed(self) -> bool:
        """Whether this end has left."""
        return self._closed

    async def start(self, timeout_s: float = 10.0) -> None:
        """Connect. Raises: FabricError: `unreachable`, nobody answered in time, or not to us."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect()
                self.generation = 1
                self._inbox = self._client.new_inbox()
                await self._client.subscribe(f"{self._inbox}.*", cb=self._replied)
        except (TimeoutError, OSError, ValueError, nats.errors.Error) as error:
            await self.aclose()
            why = str(error) or type(error).__name__
            raise FabricError("unreachable", f"no NATS server at {self.url} within {timeout_s:g} s ({why})") from None

    async def _connect(self) -> None:
        options: dict[str, Any] = {"token": self._token} if self._token else {}
        await self._client.connect(
            servers=self.url.split(","),
            connect_timeout=_CONNECT_S_MAX,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_S,
            ping_interval=_PING_S,
            disconnected_cb=self._lost,
            reconnected_cb=self._back,
            error_cb=self._complained,
            **options,
        )

    async def aclose(self) -> None:
        """Leave; whoever waits for an answer gets `unreachable`. Twice is once."""
        self._closed = True
        self._fail_calls()
        if self._client.is_connected or self._client.is_reconnecting:  # one that never was connected cannot be closed
            with contextlib.suppress(nats.errors.Error, OSError):
                await self._client.close()

    # --- what the client calls ---------------------------------------------------------------------------------

    async def _lost(self) -> None:
        self._fail_calls()
        if not self._closed:
            _log.warning("NATS: connection to %s lost, reconnecting", self.url)
            await self._tell(False)

    async def _back(self) -> None:
        self.generation += 1
        _log.info("NATS: connected to %s again", self.url)
        for call in list(self.on_reconnected):
            call()
        await self._tell(True)

    async def _complained(self, error: Exception) -> None:
        _log.debug("NATS: %s: %s", type(error).__name__, error)

    async def _tell(self, connected: bool) -> None:
        if self._on_connection is None:
            return
        try:
            outcome = self._on_connection(connected)
            if inspect.isawaitable(outcome):
                await outcome
        except FabricError as error:  # lost again meanwhile: the next round tells it again
            _log.warning("NATS: %s", error)

    def _fail_calls(self) -> None:
        for future in self._calls.values():
            if not future.done():
                future.set_exception(FabricError("unreachable", "the connection to the NATS server was lost"))
                future.exception()

    async def _replied(self, message: Msg) -> None:
        future = self._calls.get(message.subject)
        if future is None or future.done():
            return
        headers = message.headers or {}
        if headers.get("Status") == "503":
            future.set_exception(FabricError("no-responder", "nobody answers"))
        else:
            future.set_result(Reply(message.data, headers))

    # --- out ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises: FabricError: `unreachable`, there is no connection now."""
        if not self.connected:
            raise FabricError("unreachable", f"no connection to the NATS server at {self.url}")

    async def publish(
        self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None
    ) -> None:
        """Send one message. Raises: FabricError: `unreachable`."""
        self.check()
        try:
            await self._client.publish(subject, payload, reply=reply, headers=headers)
        except (nats.errors.Error, OSError) as error:
            raise FabricError("unreachable", f"the NATS server at {self.url} takes nothing ({error})") from None

    async def request(
        self, subject: str, payload: bytes, timeout_s: float, headers: dict[str, str] | None = None
    ) -> Reply:
        """One question, one answer. Raises: FabricError: `no-responder`, `timeout`, `unreachable`, `overloaded`."""
        self.check()
        if len(self._calls) >= limits.FABRIC_QUEUE_MESSAGES_MAX:
            raise FabricError("overloaded", "too many calls to the fabric at once")
        if self._ending:  # what has been left must not get this
            await asyncio.wait(set(self._ending))
        reply = f"{self._inbox}.{next(self._ids)}"
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._calls[reply] = future
        try:
            async with asyncio.timeout(timeout_s):
                await self.publish(subject, payload, reply, headers)
                return await future
        except TimeoutError:
            raise FabricError("timeout", f"no answer on {subject} within {timeout_s:g} s") from None
        finally:
            del self._calls[reply]

    async def subscribe(
        self, subject: str, on_message: Callable[[Msg], Awaitable[None]], queue: str = ""
    ) -> Callable[[], None]:
        """Listen; messages that reach the nearest server from now on are seen. Gives the function that ends it."""
        self.check()
        try:
            subscription = await self._client.subscribe(subject, queue=queue, cb=on_message)
        except (nats.errors.Error, OSError) as error:
            raise FabricError("unreachable", f"the NATS server at {self.url} does not answer ({error})") from None
        await self._round_trip()
        return lambda: self._end(subscription)

    async def _round_trip(self) -> None:
        """Until the server has taken everything so far. The client's own `flush` sends its PING past what it has
        queued."""
        reply = f"{self._inbox}.{next(self._ids)}"
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._calls[reply] = future
        try:
            async with asyncio.timeout(limits.FABRIC_CALL_S_MAX):
                await self.publish(reply, b"")
                await future
        except TimeoutError:
            raise FabricError("timeout", f"the NATS server at {self.url} does not answer") from None
        finally:
            del self._calls[reply]

    def _end(self, subscription: Any) -> None:
        if self.connected:
            task = asyncio.get_running_loop().create_task(self._unsubscribe(subscription))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _unsubscribe(self, subscription: Any) -> None:
        # A request that is on its way to a responder that leaves is still answered: the server is told first, what it
        # has
        # sent by then is worked off, and only then the client forgets the subscription.
        with contextlib.suppress(nats.errors.Error, FabricError, OSError, TimeoutError):
            await self._client._send_unsubscribe(subscription._id)
            await self._round_trip()
            await subscription.drain()

    def new_inbox(self) -> str:
        """A subject nobody else uses."""
        return str(self._client.new_inbox())


class NatsBus:
    """`core.fabric.bus.Bus` over a NatsLink. Closing it leaves the fabric, with the store that shares the link.

    Args:
        namespace: the first token of all subjects; several fabrics may share servers.
    """

    def __init__(self, link: NatsLink, namespace: str = "visavis") -> None:
        self._link = link
        self._publications = f"{namespace}.p."
        self._requests = f"{namespace}.q."
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._sending = asyncio.Lock()
        self._scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[MessageInbox] = set()
        self.dropped = 0
        """Messages published in vain: while disconnected, or while the server did not read."""

    @property
    def connected(self) -> bool:
        """Whether the nearest server is reachable now."""
        return self._link.connected

    # --- publish and subscribe ---------------------------------------------------------------------------------

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        """See `Bus.publish_nowait`; dropped and counted while disconnected."""
        if self._accept(subject, payload) and not self._scheduled and not self._sending.locked():
            self._scheduled = True  # one task for all that is published within this turn of the loop
            self._spawn(self._send())

    async def publish(self, subject: str, payload: bytes) -> None:
        """See `Bus.publish`; dropped and counted while disconnected."""
        if self._accept(subject, payload):
            await self._send()

    def _accept(self, subject: str, payload: bytes) -> bool:
        check_subject(subject)
        check_size(payload)
        if self._link.closed:
            raise FabricError("unreachable", "the bus is closed")
        if not self._link.connected:
            self.dropped += 1
            return False
        if len(self._outbox) >= limits.FABRIC_QUEUE_MESSAGES_MAX:
            self._outbox.popleft()
            self.dropped += 1
        self._outbox.append((self._publications + subject, payload))
        return True

    async def _send(self) -> None:
        """Hand everything over in order; whoever comes meanwhile waits, and finds its own message sent."""
        async with self._sending:
            self._scheduled = False
            while self._outbox:
                subject, payload = self._outbox.popleft()
                try:
                    await self._link.publish(subject, payload)
                except FabricError:
                    self.dropped += 1

    async def subscribe(self, subject: str) -> MessageInbox:
        """See `Bus.subscribe`."""
        check_pattern(subject)
        await self._send()
        inbox = MessageInbox()

        async def on_message(message: Msg) -> None:
            inbox.push(Message(message.subject.removeprefix(self._publications), message.data))

        return self._keep(inbox, await self._link.subscribe(self._publications + subject, on_message))

    def _keep(self, inbox: MessageInbox, end: Callable[[], None]) -> MessageInbox:
        def on_close() -> None:
            end()
            self._open.discard(inbox)

        inbox.on_close = on_close
        self._open.add(inbox)
        return inbox

    # --- request and reply -------------------------------------------------------------------------------------

    async def request(self, subject: str, payload: bytes, timeout_s: float = 2.0) -> bytes:
        """See `Bus.request`."""
        check_subject(subject)
        check_size(payload)
        await self._send()
        reply = await self._link.request(self._requests + subject, payload, timeout_s)
        code = reply.headers.get(_ERROR_CODE)
        if code:
            raise FabricError(code, reply.headers.get(_ERROR_TEXT, ""))
        return reply.payload

    async def respond(self, subject: str, responder: Responder) -> MessageInbox:
        """See `Bus.respond`. Each request is answered in a task of its own."""
        check_pattern(subject)
        await self._send()

        async def on_request(message: Msg) -> None:
            if len(self._tasks) >= limits.FABRIC_QUEUE_MESSAGES_MAX:
                await self._refuse(message.reply, FabricError("overloaded", "the responder has too much to do"))
            else:
                self._spawn(self._answer(responder, message))

        end = await self._link.subscribe(self._requests + subject, on_request, queue="visavis")
        return self._keep(MessageInbox(), end)

    async def _answer(self, responder: Responder, message: Msg) -> None:
        subject = message.subject.removeprefix(self._requests)
        try:
            payload = await responder(Message(subject, message.data))
            check_size(payload)
        except FabricError as error:
            await self._refuse(message.reply, error)
        except Exception as error:
            # The responder's fault: it is told in its own log, the asker learns only that it failed.
            _log.exception("responder on %s failed", subject)
            what = f"{type(error).__name__} while answering on {subject}"
            await self._refuse(message.reply, FabricError("responder-failed", what))
        else:
            with contextlib.suppress(FabricError):
                await self._link.publish(message.reply, payload)

    async def _refuse(self, reply: str, error: FabricError) -> None:
        headers = {_ERROR_CODE: error.code, _ERROR_TEXT: str(error)}
        with contextlib.suppress(FabricError):
            await self._link.publish(reply, b"", headers=headers)

    def _spawn(self, work: Any) -> None:
        task = cast("asyncio.Task[None]", asyncio.get_running_loop().create_task(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """See `Bus.aclose`. What was published is sent first."""
        if self._link.connected:
            await self._send()
        for inbox in list(self._open):
            inbox.close()
        for task in list(self._tasks):
            task.cancel()
        await self._link.aclose()
