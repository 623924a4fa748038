"""The agent's end: opens a session at an origin, speaks as `docs/agents.md` says, and comes back when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from core.errors import RemoteProtocolError, VisavisError
from core.limits import AGENT_MESSAGE_SIZE_BYTES_MAX
from core.session.claims import MODE_AGENT
from core.speech.agent_messages import (
    AgentEvent,
    AgentMessage,
    Bye,
    ErrorEvent,
    Hello,
    ViewerClosed,
    Welcome,
    decode_event,
    encode_agent,
)

__all__ = ["AgentClient", "AgentError"]

_log = logging.getLogger(__name__)

_HTTP_S_MAX: Final = 10.0
_RETRY_S: Final = 0.5
_OVER: Final = ("token-spent", "bad-token", "token-expired")


class AgentError(VisavisError):
    """The session cannot be had. The message is one sentence for people."""


class AgentClient:
    """One session of an agent.

    Args:
        origin: base URL of the origin.
        hello: what the agent speaks and wants to hear; its token is filled in.
        on_event: called with every event, at every new connection with its welcome first.
        on_sound: called with every piece of the viewer's microphone.
        on_lost: called once, when the session is over or cannot be reached any more.
        character: who speaks; None: the origin's default.
        api_key: for origins that ask for one.

    Attributes:
        ticket: what the viewer needs, as the origin would answer a page; None before `open`.
    """

    def __init__(
        self,
        origin: str,
        hello: Hello,
        *,
        on_event: Callable[[AgentEvent], Awaitable[None]],
        on_sound: Callable[[bytes], Awaitable[None]],
        on_lost: Callable[[], Awaitable[None]],
        character: str | None = None,
        api_key: str | None = None,
    ) -> None:
        self.ticket: dict[str, Any] | None = None
        self._origin = origin.rstrip("/")
        self._hello = hello
        self._on_event = on_event
        self._on_sound = on_sound
        self._on_lost = on_lost
        self._character = character
        self._api_key = api_key
        self._url = ""
        self._token = ""
        self._resume_s = 0.0
        self._connection: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._over = False
        self._dialling = asyncio.Lock()

    async def open(self) -> dict[str, Any]:
        """Ask the origin for a session.

        Returns: the ticket for the viewer, without the agent's own part.
        Raises: AgentError: unreachable or refused.
        """
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        body = {"mode": MODE_AGENT, **({"character": self._character} if self._character else {})}
        try:
            async with httpx.AsyncClient(timeout=_HTTP_S_MAX, trust_env=False) as http:
                response = await http.post(f"{self._origin}/v1/sessions", json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise AgentError(f"The origin at {self._origin} cannot be reached ({why}); is it running?") from None
        try:
            answer = response.json()
            if response.status_code != httpx.codes.CREATED:
                raise AgentError(f"The origin at {self._origin} refused a session: {answer['detail']}")
            agent = answer.pop("agent")
            self._url, self._token = str(agent["url"]), str(agent["token"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise AgentError(f"{self._origin} answered, but not like an origin of Visavis.") from None
        self.ticket = dict(answer)
        return self.ticket

    async def connect(self) -> None:
        """Connect as the session's agent; opens the session first where nobody has. Raises: AgentError: refused."""
        async with self._dialling:
            if self._reader is None:
                if self.ticket is None:
                    await self.open()
                await self._dial()
                self._reader = asyncio.get_running_loop().create_task(self._read(), name="agent")

    async def send(self, message: AgentMessage) -> None:
        """Send one message; while the connection is away it is lost."""
        await self._send(encode_agent(message))

    async def send_sound(self, data: bytes) -> None:
        """Send a piece of sound of the utterance that is open."""
        for at in range(0, len(data), AGENT_MESSAGE_SIZE_BYTES_MAX):
            await self._send(data[at : at + AGENT_MESSAGE_SIZE_BYTES_MAX])

    async def aclose(self, *, farewell: bool = True) -> None:
        """End it. Args: farewell: the session ends as well."""
        self._over = True
        if farewell:
            await self.send(Bye())
        reader, self._reader = self._reader, None
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _send(self, data: str | bytes) -> None:
        if self._connection is not None:
            with contextlib.suppress(ConnectionClosed):
                await self._connection.send(data)

    async def _dial(self) -> None:
        try:
            connection = await connect(self._url, compression=None, max_size=None, proxy=None)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            raise AgentError(f"The origin's agent socket cannot be reached ({error}).") from None
        try:
            await connection.send(encode_agent(msgspec.structs.replace(self._hello, token=self._token)))
            answer = decode_event(str(await connection.recv()))
        except (ConnectionClosed, RemoteProtocolError) as error:
            raise AgentError(f"The origin did not welcome the agent ({error}).") from None
        if isinstance(answer, ErrorEvent):
            self._over = answer.code in _OVER
            raise AgentError(f"The origin did not welcome the agent: {answer.message}")
        if isinstance(answer, Welcome):
            self._token, self._resume_s = answer.resume_token, answer.resume_s
            await self._on_event(answer)
        self._connection = connection

    async def _read(self) -> None:
        while not self._over:
            connection = self._connection
            if connection is not None:
                await self._listen(connection)
            if not self._over and not await self._again():
                break
        self._over = True
        await self._on_lost()

    async def _listen(self, connection: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for data in connection:
                if isinstance(data, bytes):
                    await self._on_sound(data)
                    continue
                try:
                    event = decode_event(data)
                except RemoteProtocolError:
                    continue  # of a newer origin
                if isinstance(event, ErrorEvent):
                    _log.warning("the origin says: %s (%s)", event.message, event.code)
                self._over = self._over or isinstance(event, ViewerClosed)
                await self._on_event(event)

    async def _again(self) -> bool:
        """Come back with the resume token. Returns: False: it is too late."""
        loop = asyncio.get_running_loop()
        self._connection = None
        deadline = loop.time() + self._resume_s
        while loop.time() < deadline and not self._over:
            try:
                await self._dial()
                return True
            except AgentError as error:
                _log.warning("%s", error)
                await asyncio.sleep(_RETRY_S)
        return False
