"""The agents' WebSocket: who is let in, what is read and written, how it ends; `docs/agents.md` has the messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from core.errors import AdmissionError, RemoteProtocolError
from core.limits import (
    AGENT_ERRORS_MAX,
    AGENT_EVENTS_MAX,
    AGENT_HELLO_S_MAX,
    AGENT_HELLOS_WAITING_MAX,
    AGENT_MESSAGES_BURST_MAX,
    AGENT_MESSAGES_PER_S_MAX,
)
from core.session.allowance import Allowance, Verdict
from core.speech.agent_messages import AgentEvent, ErrorEvent, Hello, decode_agent, encode_agent
from origin.agent.session import AgentSession
from origin.agent.speaking import AgentLeft, Speaking

__all__ = ["AgentSockets"]

_CLOSE_S_MAX: Final = 1.0
_CLOSE_PROTOCOL: Final = 4400
_CLOSE_TOKEN: Final = 4401
_CLOSE_SLOW: Final = 4408
_CLOSE_FLOOD: Final = 4429
_FATAL: Final = {"flood": _CLOSE_FLOOD, "no-hello": _CLOSE_PROTOCOL, "too-many-errors": _CLOSE_PROTOCOL}


class _Socket:
    """One connection's outgoing half; see origin.agent.session.AgentLink."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._waiting: deque[str | bytes] = deque()
        self._changed = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._closed = asyncio.Event()

    def send(self, event: AgentEvent) -> None:
        """See AgentLink."""
        self._push(encode_agent(event))

    def send_sound(self, data: bytes) -> None:
        """See AgentLink."""
        self._push(data)

    def close(self, code: int, reason: str) -> None:
        """See AgentLink."""
        if self._closing is None:
            self._closing = (code, reason)
            self._closed.set()
            self._changed.set()

    @property
    def closing(self) -> bool:
        """Nothing more is read or written but what waits."""
        return self._closing is not None

    def _push(self, data: str | bytes) -> None:
        if self._closing is not None:
            return
        if len(self._waiting) >= AGENT_EVENTS_MAX:
            self._waiting.clear()
            self.close(_CLOSE_SLOW, "too-slow")
            return
        self._waiting.append(data)
        self._changed.set()

    async def write(self) -> None:
        """Write what is sent, until it is closed."""
        while True:
            while self._waiting:
                data = self._waiting.popleft()
                if isinstance(data, str):
                    await self._websocket.send_text(data)
                else:
                    await self._websocket.send_bytes(data)
            if self._closing is not None:
                await self._websocket.close(*self._closing)
                return
            self._changed.clear()
            await self._changed.wait()

    async def closed(self) -> None:
        """Wait until somebody closes it."""
        await self._closed.wait()


class AgentSockets:
    """All of an origin.

    Args:
        find: the open agent session of an id.
        on_error: told the code of everything that is refused.
    """

    def __init__(self, find: Callable[[str], AgentSession | None], on_error: Callable[[str], None]) -> None:
        self._find = find
        self._on_error = on_error
        self._waiting = 0

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from its opening to its end."""
        await websocket.accept()
        socket = _Socket(websocket)
        writing = asyncio.create_task(socket.write(), name="agent writer")
        session: AgentSession | None = None
        try:
            session, speaking = await self._admit(websocket, socket)
            if session is not None and speaking is not None:
                reading = asyncio.create_task(self._read(websocket, socket, session, speaking), name="agent reader")
                await _first(reading, socket.closed())
        except WebSocketDisconnect:
            pass
        finally:
            if session is not None:
                session.detach(socket)
            await _finish(socket, writing)

    async def _admit(self, websocket: WebSocket, socket: _Socket) -> tuple[AgentSession | None, Speaking | None]:
        if self._waiting >= AGENT_HELLOS_WAITING_MAX:
            self._refuse(socket, "busy", "Too many agents connect at once; try again in a moment.", _CLOSE_PROTOCOL)
            return None, None
        self._waiting += 1
        try:
            async with asyncio.timeout(AGENT_HELLO_S_MAX):
                first = await _receive(websocket)
        except TimeoutError:
            self._refuse(socket, "no-hello", f"No hello came within {AGENT_HELLO_S_MAX:g} s.", _CLOSE_PROTOCOL)
            return None, None
        finally:
            self._waiting -= 1
        session = self._find(str(websocket.path_params["session_id"]))
        try:
            hello = decode_agent(first) if isinstance(first, str) else None
            if not isinstance(hello, Hello):
                raise RemoteProtocolError("no-hello", "The first message is a hello with the token.")
            if session is None:
                raise AdmissionError("bad-token", "This token opens nothing here.")
            return session, session.attach(hello, socket)
        except RemoteProtocolError as error:
            self._refuse(socket, error.code, str(error), _CLOSE_PROTOCOL)
        except AdmissionError as error:
            self._refuse(socket, error.code, str(error), _CLOSE_TOKEN)
        return None, None

    async def _read(self, websocket: WebSocket, socket: _Socket, session: AgentSession, speaking: Speaking) -> None:
        now = asyncio.get_running_loop().time
        allowance = Allowance(rate_hz=AGENT_MESSAGES_PER_S_MAX, burst=AGENT_MESSAGES_BURST_MAX)
        errors = 0
        while not socket.closing:
            data = await _receive(websocket)
            try:
                if allowance.ask(now()) is not Verdict.TAKE:
                    raise RemoteProtocolError("flood", "Too many messages at once.")
                if isinstance(data, str):
                    speaking.receive(decode_agent(data))
                else:
                    speaking.receive_sound(data)
            except AgentLeft:
                session.end("agent-left")
            except RemoteProtocolError as error:
                errors += 1
                self._complain(socket, error, errors)

    def _complain(self, socket: _Socket, error: RemoteProtocolError, errors: int) -> None:
        if error.code not in _FATAL and errors > AGENT_ERRORS_MAX:
            error = RemoteProtocolError("too-many-errors", f"More than {AGENT_ERRORS_MAX} messages were no use.")
        if error.code in _FATAL:
            self._refuse(socket, error.code, str(error), _FATAL[error.code])
        else:
            self._on_error(error.code)
            socket.send(ErrorEvent(code=error.code, message=str(error)))

    def _refuse(self, socket: _Socket, code: str, message: str, close: int) -> None:
        self._on_error(code)
        socket.send(ErrorEvent(code=code, message=message, fatal=True))
        socket.close(close, code)


async def _receive(websocket: WebSocket) -> str | bytes:
    """The next message. Raises: WebSocketDisconnect: there is none."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text: str | None = message.get("text")
    data: bytes | None = message.get("bytes")
    return text if text is not None else data or b""


async def _first(reading: asyncio.Task[None], closed: Coroutine[Any, Any, None]) -> None:
    """Wait until the peer has gone, or we want it to. Raises: WebSocketDisconnect: it has gone."""
    closing = asyncio.create_task(closed, name="agent closing")
    try:
        await asyncio.wait({reading, closing}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        closing.cancel()
        reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading


async def _finish(socket: _Socket, writing: asyncio.Task[None]) -> None:
    """What was said last is still sent, but nobody waits long for who does not read."""
    if socket.closing:
        await asyncio.wait({writing}, timeout=_CLOSE_S_MAX)
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError, OSError):
        await writing
