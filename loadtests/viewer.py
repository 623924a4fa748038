"""A headless viewer: one conversation with a character over WebRTC, from a ticket to a clean goodbye.

It speaks the wire through core, exactly as a browser does: access units are taken from the RTP packets before any
decoder, feedback rides in the microphone's own packets (on the control channel when there is no microphone), sound
comes out of a small playout clock and motion is drawn for what is audible.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

import httpx
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.rtcrtpsender import RTCEncodedFrame
from aiortc.rtp import RtpPacket
from numpy.typing import NDArray

from core.errors import Dropped, RemoteProtocolError, VisavisError
from core.limits import MEDIA_CLOCK_HZ
from core.wire.control import decode_control, encode_control
from core.wire.feedback import embed_feedback, encode_feedback
from loadtests.microphone import Microphone
from loadtests.recording import ControlEvent, Recording, Spoken
from loadtests.screen import Screen
from loadtests.signals import end_of_speech, start_of_speech

__all__ = ["Ticket", "Viewer", "ViewerError", "fetch_ticket", "find_origin"]

_HTTP_TIMEOUT_S: Final = 10.0
_CONNECT_TIMEOUT_S: Final = 10.0
_FEEDBACK_S: Final = 0.1
"""Without a microphone: how often feedback goes over the control channel."""
_DISPLAY_S: Final = 1.0 / 60.0
_CLOSE_TIMEOUT_S: Final = 3.0


class ViewerError(VisavisError):
    """The conversation cannot be had. The message is one sentence for people.

    Attributes:
        code: `origin-unreachable`, `origin-refused`, `pop-unreachable`, `pop-refused`, `connect-timeout`,
            `connection-lost` or `goaway`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Leave to hold one conversation at one POP."""

    session_id: str
    character: str
    pop_name: str
    pop_url: str
    token: str


async def fetch_ticket(
    origin: str, *, pop: str | None = None, character: str | None = None, api_key: str | None = None
) -> Ticket:
    """Ask an origin for a session.

    Args:
        origin: its URL.
        pop: URL of the POP to use; None: the first one offered.
        character: who to talk to; None: the origin's default.
        api_key: for origins that ask for one.
    Raises:
        ViewerError: the origin cannot be reached or refuses, or does not offer that POP.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    body = {"character": character} if character else {}
    async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False) as http:
        try:
            response = await http.post(f"{origin.rstrip('/')}/v1/sessions", json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ViewerError(
                "origin-unreachable", f"The origin at {origin} cannot be reached ({_reason(error)}); is it running?"
            ) from error
    if response.status_code != httpx.codes.CREATED:
        raise ViewerError("origin-refused", f"The origin at {origin} refused a session: {_problem(response)}")
    try:
        answer = response.json()
        offers = answer["pops"]
        chosen = next((o for o in offers if pop is None or o["url"].rstrip("/") == pop.rstrip("/")), None)
        if chosen is None and len(offers) == 1 and pop is not None:
            chosen = {**offers[0], "url": pop}  # the same POP under another name (localhost, a tunnel)
        if chosen is None:
            raise ViewerError("origin-refused", f"The origin at {origin} offers no POP{f' at {pop}' if pop else ''}.")
        return Ticket(
            session_id=str(answer["session_id"]),
            character=str(answer["character"]["name"]),
            pop_name=str(chosen["name"]),
            pop_url=str(chosen["url"]),
            token=str(chosen["token"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ViewerError("origin-refused", f"{origin} answered, but not like an origin of Visavis.") from error


async def find_origin(pop: str) -> str:
    """Ask a POP which origin its page talks to.

    Raises:
        ViewerError: the POP cannot be reached, or does not say.
    """
    async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False) as http:
        try:
            response = await http.get(f"{pop.rstrip('/')}/config.json")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ViewerError(
                "pop-unreachable", f"The POP at {pop} cannot be reached ({_reason(error)}); is it running?"
            ) from error
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if response.status_code == httpx.codes.OK and (url := str(response.json()["origin_url"])):
            return url
    raise ViewerError("pop-refused", f"{pop} answered, but not like a POP of Visavis; give --origin.")


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    return str(error).strip() or type(error).__name__


def _problem(response: httpx.Response) -> str:
    with contextlib.suppress(ValueError):
        problem = response.json()
        if isinstance(problem, dict):
            text = problem.get("detail") or problem.get("title") or problem.get("code")
            if text:
                return f"{text} ({problem.get('code', response.status_code)})"
    return f"HTTP {response.status_code}"


class _OwnPackets(MediaStreamTrack):
    """A track whose packets the viewer makes itself (`Viewer._next_microphone_frame`)."""

    kind = "audio"

    async def recv(self) -> Any:
        raise AssertionError("the sender's own reading of the track has been replaced")


class Viewer:
    """One conversation. Use `async with Viewer.connect(...)`.

    Args:
        ticket: from `fetch_ticket`.
        microphone: False: no microphone at all; text only.
        record: keep everything that is seen and heard in `recording`.
        clock: monotonic seconds.

    Attributes:
        recording: what was seen and heard so far.
        screen: the face and the sound.
        ready: the POP said `bot-ready`.
    """

    def __init__(
        self,
        ticket: Ticket,
        *,
        microphone: bool = True,
        record: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._with_microphone = microphone
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._control: RTCDataChannel = self._peer.createDataChannel("control")
        self._microphone: Microphone | None = None
        self._location: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._connected = asyncio.Event()
        self._lost: ViewerError | None = None
        self._closed = False
        self.ticket = ticket
        self.recording = Recording()
        self.screen = Screen(self.recording if record else None)
        self.ready = False
        self.packets_skipped = 0

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
        microphone: bool = True,
        record: bool = True,
    ) -> AsyncIterator[Viewer]:
        """A conversation that is up, and is closed properly at the end.

        Raises:
            ViewerError: it could not be set up.
        """
        ticket = await fetch_ticket(origin, pop=pop, character=character, api_key=api_key)
        viewer = cls(ticket, microphone=microphone, record=record)
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
        self._prepare_audio()
        self._control.on("open", self._on_control_open)
        self._control.on("message", self._on_control_message)
        self._control.on("close", lambda: self._lose("connection-lost", "The POP closed the connection."))
        self._peer.on("connectionstatechange", self._on_connection_state)
        await self._peer.setLocalDescription(await self._peer.createOffer())
        answer = await self._signal(self._peer.localDescription.sdp)
        try:
            await self._peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        except Exception as error:  # aiortc raises ValueError, InvalidStateError, OperationError … for a bad answer
            raise ViewerError("pop-refused", f"The POP's answer makes no sense: {error}") from error
        try:
            await asyncio.wait_for(self._connected.wait(), _CONNECT_TIMEOUT_S)
        except TimeoutError as error:
            raise ViewerError(
                "connect-timeout", f"{self.ticket.pop_url} answered, but no media came through (UDP blocked?)."
            ) from error
        self._raise_if_lost()
        self._spawn(self._show())
        if not self._with_microphone:
            self._spawn(self._report())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _prepare_audio(self) -> None:
        if self._with_microphone:
            transceiver = self._peer.addTransceiver(_OwnPackets(), direction="sendrecv")
            self._microphone = Microphone(now=self._clock())
        else:
            transceiver = self._peer.addTransceiver("audio", direction="recvonly")
        codecs = [c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType.lower() == "audio/opus"]
        transceiver.setCodecPreferences(codecs)
        # aiortc offers no encoded transform: these two methods are its innermost ones that see an untouched packet.
        sender: RTCRtpSender = transceiver.sender
        receiver: RTCRtpReceiver = transceiver.receiver
        sender._next_encoded_frame = self._next_microphone_frame  # type: ignore[method-assign]
        receiver._handle_rtp_packet = self._on_rtp  # type: ignore[method-assign]

    async def _signal(self, offer: str) -> str:
        url = f"{self.ticket.pop_url.rstrip('/')}/v1/sessions/{self.ticket.session_id}/webrtc"
        headers = {"Authorization": f"Bearer {self.ticket.token}", "Content-Type": "application/sdp"}
        async with httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, trust_env=False) as http:
            try:
                response = await http.post(url, content=offer.encode(), headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ViewerError(
                    "pop-unreachable",
                    f"The POP at {self.ticket.pop_url} cannot be reached ({_reason(error)}); is it running?",
                ) from error
        if response.status_code != httpx.codes.CREATED:
            raise ViewerError(
                "pop-refused", f"The POP at {self.ticket.pop_url} refused the session: {_problem(response)}"
            )
        self._location = urljoin(url, response.headers.get("location", url))
        return response.text

    async def aclose(self) -> None:
        """Say goodbye and free everything; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._control.readyState == "open":
            self._control.send(encode_control("disconnect-bot"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._location is not None:
            headers = {"Authorization": f"Bearer {self.ticket.token}"}
            with contextlib.suppress(httpx.HTTPError):
                async with httpx.AsyncClient(timeout=_CLOSE_TIMEOUT_S, trust_env=False) as http:
                    await http.delete(self._location, headers=headers)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._peer.close(), _CLOSE_TIMEOUT_S)

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
        self._control.send(encode_control("send-text", {"content": text}))
        return self._clock()

    def interrupt(self) -> float:
        """Ask the character to stop. Returns: monotonic seconds at which that left."""
        self._control.send(encode_control("client-message", {"t": "interrupt"}))
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
        """Where the POP's media answers: addresses and UDP ports it offered."""
        lines = self._peer.remoteDescription.sdp.splitlines() if self._peer.remoteDescription else []
        fields = [line.split() for line in lines if line.startswith("a=candidate:")]
        return [(field[4], int(field[5])) for field in fields if field[2].lower() == "udp" and ":" not in field[4]]

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise self._lost

    # --- the network ---------------------------------------------------------------------------------------------

    async def _next_microphone_frame(self, codec: object) -> RTCEncodedFrame | None:
        """Replaces RTCRtpSender._next_encoded_frame: the next packet when it has been captured, feedback inside."""
        microphone = self._microphone
        if microphone is None:
            await asyncio.Event().wait()
            return None
        self.packets_skipped += microphone.skip_to(self._clock())
        await asyncio.sleep(max(0.0, microphone.due - self._clock()))
        packet = microphone.next_packet()
        if not packet.needed and packet.timestamp % (MEDIA_CLOCK_HZ // 10):
            return None  # DTX: only what feedback needs leaves
        payload = embed_feedback(packet.opus, self.screen.feedback(self._clock()))
        return RTCEncodedFrame([payload], packet.timestamp, -packet.level_dbov)

    async def _on_rtp(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        """Replaces RTCRtpReceiver._handle_rtp_packet: takes the payload before jitter buffer and decoder."""
        if packet.payload:
            self.screen.receive(packet.payload, packet.timestamp, self._clock())
            self._changed.set()

    def _on_control_open(self) -> None:
        self._control.send(
            encode_control("client-ready", {"version": "1.0.0", "about": {"library": "visavis-headless"}}, "ready")
        )
        self._connected.set()

    def _on_control_message(self, message: str | bytes) -> None:
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
        if control.type == "server-message" and control.data.get("t") == "goaway":
            reason = control.data.get("d", {}).get("reason", "no reason given")
            self._lose("goaway", f"The POP ended the session: {reason}.")
        self._changed.set()

    def _on_connection_state(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self._lose("connection-lost", "The connection to the POP was lost.")

    def _lose(self, code: str, message: str) -> None:
        if self._lost is None and not self._closed:
            self._lost = ViewerError(code, message)
        self._connected.set()
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
            await asyncio.sleep(_FEEDBACK_S)
            if self._control.readyState == "open":
                self._control.send(encode_feedback(self.screen.feedback(self._clock())))
