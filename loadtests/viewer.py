"""A headless viewer: one conversation with a character, from a ticket to a clean goodbye, over either transport.

It speaks the wire through core, exactly as a browser does: feedback rides in the microphone's own packets (on the
control channel when there is no microphone), sound comes out of our own playout and motion is drawn for what is
audible. It can move to another connection in the middle of a sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from core.errors import Dropped, RemoteProtocolError
from core.limits import MEDIA_CLOCK_HZ
from core.stream.receiver import FEEDBACK_S
from core.wire.control import decode_control, encode_control
from core.wire.feedback import embed_feedback, encode_feedback
from loadtests.microphone import Microphone
from loadtests.recording import ControlEvent, Recording, Spoken
from loadtests.screen import Screen
from loadtests.signals import end_of_speech, start_of_speech
from loadtests.tickets import Ticket, ViewerError, fetch_ticket, find_origin, renew_ticket
from loadtests.viewer_link import Connection, Transport
from loadtests.viewer_moves import LinkEnd, Mover, MoveTimes
from loadtests.viewer_webrtc import WebRtcConnection
from loadtests.viewer_webtransport import WebTransportConnection

__all__ = ["MoveTimes", "Ticket", "TransportChoice", "Viewer", "ViewerError", "fetch_ticket", "find_origin"]

TransportChoice = Literal["auto", "webrtc", "webtransport"]
"""`auto`: WebTransport where the POP offers it and it comes up, else WebRTC, as the page does."""

_ABOUT: Final = {"library": "visavis-headless", "handoff": True}
_SILENCE_S_MAX: Final = 0.6
"""A POP sends a unit every 80 ms at least; one that sends none for so long is gone."""
_DISPLAY_S: Final = 1.0 / 60.0
_LAST_WORD_S: Final = 0.05


class _LinkEnd:
    """A viewer's end of one connection, so that what an old one says too late is known to come from it."""

    def __init__(self, viewer: Viewer, number: int) -> None:
        self._viewer = viewer
        self.number = number
        self.plays_sound_itself = False
        self.standby = False
        """It is of a POP that does not own the session yet."""

    def on_unit(self, payload: bytes, timestamp: int, now: float) -> None:
        """See ConnectionEvents."""
        if self.standby:
            self._viewer._mover.on_preview(self, payload, timestamp)
        else:
            self._viewer._on_unit(self.number, self.plays_sound_itself, payload, timestamp)

    def on_control(self, data: str | bytes, now: float) -> None:
        """See ConnectionEvents."""
        current = self._viewer._events
        if self.standby and self is not current:
            self._viewer._mover.on_control(self, data)
        elif current is None or self.number >= current.number:  # a new link speaks before it is quite up
            self._viewer._on_control(data)

    def on_closed(self, reason: str, now: float) -> None:
        """See ConnectionEvents."""
        self._viewer._on_closed(self, reason)


class Viewer:
    """One conversation. Use `async with Viewer.connect(...)`.

    Args:
        ticket: from `fetch_ticket`.
        transport: which connection to make.
        microphone: False: no microphone at all; text only.
        record: keep everything that is seen and heard in `recording`.
        clock: monotonic seconds.

    Attributes:
        recording: what was seen and heard so far.
        screen: the face and the sound.
        ready: the POP said `bot-ready`.
        resume_token: what another connection is opened with; None until the POP gave one.
        moves: when the session moved to other POPs.
    """

    def __init__(
        self,
        ticket: Ticket,
        *,
        transport: TransportChoice = "webrtc",
        microphone: bool = True,
        record: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._choice: TransportChoice = transport
        self._with_microphone = microphone
        self._microphone: Microphone | None = None
        self._connection: Connection | None = None
        self._mover = Mover(self)
        self._events: _LinkEnd | None = None
        self._links = 0
        self._receiving = 1
        self._fence = 0
        self._unit_at = clock()
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._lost: ViewerError | None = None
        self._closed = False
        self.ticket = ticket
        self.recording = Recording()
        self._record = record
        self.screen = Screen(self.recording if record else None)
        self.ready = False
        self.resume_token: str | None = None
        self.packets_skipped = 0
        self.moves: list[MoveTimes] = []

    # --- life ----------------------------------------------------------------------------------------------------

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        *,
        origin: str,
        pop: str | None = None,
        character: str | None = None,
        api_key: str | None = None,
        transport: TransportChoice = "webrtc",
        microphone: bool = True,
        record: bool = True,
        mode: str | None = None,
    ) -> AsyncIterator[Viewer]:
        """A conversation that is up, and is closed properly at the end.

        Raises:
            ViewerError: it could not be set up.
        """
        ticket = await fetch_ticket(origin, pop=pop, character=character, api_key=api_key, mode=mode)
        viewer = cls(ticket, transport=transport, microphone=microphone, record=record)
        try:
            await viewer.start()
            yield viewer
        finally:
            await viewer.aclose()

    async def start(self) -> None:
        """Set the connection up and wait until media and control flow.

        Raises:
            ViewerError: unreachable, refused, or not connected in time.
        """
        await self._open_any()
        self._send(encode_control("client-ready", {"version": "1.0.0", "about": _ABOUT}, "ready"))
        self._raise_if_lost()
        self.spawn(self._show())
        if self._with_microphone:
            self._microphone = Microphone(now=self._clock())
            self.spawn(self._speak(self._microphone))
        else:
            self.spawn(self._report())

    async def _open_any(self) -> None:
        """The first POP that takes us, in the order of the ticket."""
        offers = (self.ticket, *self.ticket.others)
        for number, offer in enumerate(offers):
            self.ticket = offer
            try:
                await self._open(self._choice, offer.token)
            except ViewerError:
                if number + 1 == len(offers):
                    raise
            else:
                return

    async def survive(self) -> float:
        """Wait until the POP dies, and go on at another one. Returns: seconds from its last unit to the first new one.

        Raises:
            ViewerError: the session has ended, or nobody takes us.
        """
        while self._clock() - self._unit_at < _SILENCE_S_MAX and self._lost is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        died_at = self._unit_at
        await self.change_pop()
        while self._unit_at <= died_at or not self.screen.units:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return self._unit_at - died_at

    async def change_pop(self) -> None:
        """The POP is gone: go on with the same session at another one, with new tickets of the origin.

        Raises:
            ViewerError: the session has ended, or nobody takes us.
        """
        former = self._connection
        self.ticket = await renew_ticket(self.ticket, avoid=(self.ticket.pop_name,))
        self._events, self.resume_token = None, None
        self.screen = Screen(self.recording if self._record else None)  # another track, its media time counts anew
        await self._open_any()
        self._lost = None
        self._send(encode_control("client-ready", {"version": "1.0.0", "about": _ABOUT}, "again"))
        if former is not None:
            await former.aclose(farewell=False)

    async def switch_network(self, transport: Transport | None = None) -> None:
        """Go on over a second connection, as a phone does that changed networks; the first ends without a goodbye.

        Args:
            transport: None: the same kind as before.
        Raises:
            ViewerError: there is no resume token yet, or the second connection does not come up; the first stays.
        """
        token, former = self.resume_token, self._connection
        if token is None or former is None:
            raise ViewerError("no-resume-token", "The POP has not said yet how to come back.")
        self.resume_token = None
        await self._open(transport or former.transport, token)
        self._lost = None  # the old connection's end no longer matters
        await former.aclose(farewell=False)

    def lose_network(self) -> None:
        """The connection is dead from now on, and nobody knows."""
        assert self._connection is not None, "there is no connection yet"
        self._connection.vanish()

    @property
    def transport(self) -> Transport | None:
        """What the conversation goes over; None before it does."""
        return None if self._connection is None else self._connection.transport

    async def _open(self, choice: TransportChoice, token: str) -> None:
        if choice == "webtransport" or (choice == "auto" and self.ticket.webtransport is not None):
            try:
                await self._try("webtransport", token)
                return
            except ViewerError as error:
                if choice != "auto" or error.code != "pop-unreachable":
                    raise
        await self._try("webrtc", token)

    async def _try(self, transport: Transport, token: str) -> None:
        events, connection = self.make_end(self.ticket, transport)
        try:
            await connection.connect(token)
        except BaseException:
            await connection.aclose(farewell=False)
            raise
        self._connection, self._events = connection, events

    def make_end(self, ticket: Ticket, transport: Transport) -> tuple[_LinkEnd, Connection]:
        """See MovingViewer."""
        self._links += 1
        events = _LinkEnd(self, self._links)
        connection = self._make(ticket, transport, events)
        events.plays_sound_itself = connection.plays_sound_itself
        return events, connection

    def go_on_at(self, ticket: Ticket, events: LinkEnd, connection: Connection) -> Connection | None:
        """See MovingViewer."""
        assert isinstance(events, _LinkEnd)
        former = self._connection
        self._connection, self._events, self.ticket = connection, events, ticket
        self._receiving = self._fence = events.number
        self.resume_token = self._lost = None
        self._changed.set()
        return former

    def _make(self, ticket: Ticket, transport: Transport, events: _LinkEnd) -> Connection:
        if transport == "webtransport":
            return WebTransportConnection(ticket, events, clock=self._clock)
        return WebRtcConnection(ticket, events, microphone=self._with_microphone, clock=self._clock)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """See MovingViewer."""
        self._tasks.append(asyncio.create_task(work))

    async def aclose(self) -> None:
        """Say goodbye and free everything; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._send(encode_control("disconnect-bot"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._mover.aclose()
        if self._connection is not None:
            await self._connection.aclose(farewell=True)

    # --- the user ------------------------------------------------------------------------------------------------

    def say(self, samples: NDArray[np.float32]) -> Spoken:
        """Speak a recording into the microphone, in real time, after what is still being said.

        Args:
            samples: float32[n], mono, 48 kHz.
        Returns: when it sounds; known at once, because a microphone's clock does not wait.
        """
        assert self._microphone is not None, "this viewer has no microphone"
        started_at = self._microphone.say(samples)
        begin = start_of_speech(samples, MEDIA_CLOCK_HZ)
        end = end_of_speech(samples, MEDIA_CLOCK_HZ)
        length_s = samples.size / MEDIA_CLOCK_HZ
        return Spoken(
            started_at=started_at,
            speech_from=started_at + (begin if begin is not None else length_s),
            speech_until=started_at + (end if end is not None else length_s),
        )

    def send_text(self, text: str) -> float:
        """Type something. Returns: monotonic seconds at which it left."""
        self._send(encode_control("send-text", {"content": text}))
        return self._clock()

    def interrupt(self) -> float:
        """Ask the character to stop. Returns: monotonic seconds at which that left."""
        self._send(encode_control("client-message", {"t": "interrupt"}))
        return self._clock()

    async def wait_until(self, condition: Callable[[Viewer], bool], timeout_s: float) -> bool:
        """Wait until a condition holds; it is looked at after every packet and message.

        Returns: False when the time was up.
        Raises: ViewerError: the connection was lost meanwhile.
        """
        deadline = self._clock() + timeout_s
        while not condition(self):
            self._raise_if_lost()
            left = deadline - self._clock()
            if left <= 0.0:
                return False
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(left, 0.1))
        return True

    @property
    def now(self) -> float:
        """Monotonic seconds, on the clock of the recording."""
        return self._clock()

    @property
    def remote_addresses(self) -> list[tuple[str, int]]:
        """Where the POP's WebRTC media answers: addresses and UDP ports it offered."""
        return self._connection.remote_addresses if isinstance(self._connection, WebRtcConnection) else []

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _send(self, data: str | bytes) -> None:
        if self._connection is not None:
            self._connection.send_control(data)

    # --- what comes ----------------------------------------------------------------------------------------------

    def _on_unit(self, link: int, plays_sound_itself: bool, payload: bytes, timestamp: int) -> None:
        """Units of an old connection are as good as any; the first of a new one says that the POP has moved."""
        if link < self._fence:
            self.screen.late(payload, timestamp, self._clock())
            return
        if link > self._receiving or not self.screen.units:
            self._receiving = link
            self.screen.on_new_link(protects_sound=plays_sound_itself)
        now = self._unit_at = self._clock()
        self.screen.receive(payload, timestamp, now)
        if self.screen.keyframe_request and self.screen.feedback_due(now):
            self._send(encode_feedback(self.screen.feedback(now)))
        self._changed.set()

    def _on_control(self, message: str | bytes) -> None:
        try:
            control = decode_control(message)
        except RemoteProtocolError:
            self.recording.undecodable += 1
            return
        if isinstance(control, Dropped):
            return
        self.recording.control.append(ControlEvent(self._clock(), control.type, dict(control.data or {})))
        if control.type == "bot-ready":
            self.ready = True
        if control.type == "server-message":
            self._obey(control.data.get("t"), control.data.get("d") or {})
        self._changed.set()

    def _obey(self, kind: object, data: dict[str, Any]) -> None:
        if kind == "goaway" and data.get("reason") == "handoff":
            self.spawn(self._mover.follow(data))
        elif kind == "stay":
            self.spawn(self._mover.stay(int(data.get("epoch", 0))))
        elif kind == "goaway":
            self._lose("goaway", f"The POP ended the session: {data.get('reason', 'no reason given')}.")
        elif kind == "resume":
            self.resume_token = str(data.get("token", ""))

    def _on_closed(self, events: _LinkEnd, reason: str) -> None:
        # What the POP said last comes on another stream, perhaps in the same packet, and says why.
        asyncio.get_running_loop().call_later(_LAST_WORD_S, self._on_lost, events, reason)

    def _on_lost(self, events: _LinkEnd, reason: str) -> None:
        if events.standby and not self._closed:
            self.spawn(self._mover.lose(events))
        elif events is self._events and not self._mover.under_way:
            self._lose("connection-lost", reason)

    def _lose(self, code: str, message: str) -> None:
        if self._lost is None and not self._closed:
            self._lost = ViewerError(code, message)
        self._changed.set()

    # --- clocks --------------------------------------------------------------------------------------------------

    async def _show(self) -> None:
        due = self._clock()
        while True:
            self.screen.draw(self._clock())
            due = max(due + _DISPLAY_S, self._clock())
            await asyncio.sleep(max(0.0, due - self._clock()))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(FEEDBACK_S)
            self._send(encode_feedback(self.screen.feedback(self._clock())))

    async def _speak(self, microphone: Microphone) -> None:
        """The next packet when it has been captured, feedback inside."""
        while True:
            self.packets_skipped += microphone.skip_to(self._clock())
            await asyncio.sleep(max(0.0, microphone.due - self._clock()))
            packet = microphone.next_packet()
            if not packet.needed and packet.timestamp % (MEDIA_CLOCK_HZ // 10):
                continue  # DTX: only what feedback needs leaves
            if self._connection is not None:
                payload = embed_feedback(packet.opus, self.screen.feedback(self._clock()))
                self._connection.send_microphone(payload, timestamp=packet.timestamp, level_dbov=packet.level_dbov)
