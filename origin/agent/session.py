"""A session whose brain is somebody else's program: it hears the viewer through us, and we speak what it sends.

The program may come, go and come back; the viewer's session is the same meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import Final, Literal, Protocol

from core.errors import FabricError, RemoteProtocolError
from core.fabric.bus import Bus, Subscription
from core.limits import (
    AGENT_GRACE_S,
    AGENT_MISSED_MAX,
    AGENT_SOUND_S_MAX,
    AGENT_STALL_S_MAX,
    AGENT_TOKEN_LIFETIME_S,
    SESSION_IDLE_S_MAX,
    TEXT_CHARS_MAX,
)
from core.speech.agent_messages import (
    AgentEvent,
    Hello,
    Interrupted,
    PlayoutEvent,
    SpeakingStarted,
    SpeakingStopped,
    TypedText,
    ViewerClosed,
    ViewerOpened,
    Welcome,
)
from core.speech.messages import (
    BargeIn,
    Closed,
    DownMessage,
    Fault,
    MicrophonePacket,
    Opened,
    Playout,
    Ready,
    TurnState,
    UpMessage,
    UserSpeech,
    UserText,
    VoiceFormat,
    decode_up,
    down_subject,
    encode,
    up_subject,
)
from origin.agent.hearing import Hearing
from origin.agent.passes import Passes
from origin.agent.speaking import Speaking
from origin.dialogue.character import Character
from origin.dialogue.opus_voice import VoiceEncoding
from origin.dialogue.services import Shared
from origin.sent_again import SentAgain
from origin.session_life import SessionLife

__all__ = ["AgentLink", "AgentSession"]

_log = logging.getLogger(__name__)

CLOSE_DONE: Final = 1000
CLOSE_REPLACED: Final = 4409


class AgentLink(Protocol):
    """The connection to the program. Nothing here waits; what cannot be sent closes it."""

    def send(self, event: AgentEvent) -> None:
        """Send one event."""

    def send_sound(self, data: bytes) -> None:
        """Send a piece of the viewer's microphone."""

    def close(self, code: int, reason: str) -> None:
        """Close it when what was sent has left."""


class AgentSession(SessionLife):
    """See the module; it begins and lives like `origin.dialogue.session.DialogueSession`.

    Args:
        session_id: names the subjects.
        shared: what sessions share.
        open_s_max: the session ends when no viewer has come by then.
        idle_s_max: it ends when nothing has come from its viewer for so long.

    Attributes:
        dropped: messages of the POP that were not the protocol, late or out of range.
    """

    def __init__(
        self,
        session_id: str,
        character: Character,
        shared: Shared,
        bus: Bus,
        *,
        open_s_max: float = 30.0,
        idle_s_max: float = SESSION_IDLE_S_MAX,
    ) -> None:
        super().__init__(session_id)
        self.dropped = 0
        self._bus = bus
        self._down = down_subject(session_id)
        self._ready = Ready(character=character.id, display_name=character.name)
        self._open_s_max = open_s_max
        self._idle_s_max = idle_s_max
        self._passes = Passes(shared.entropy)
        self._link: AgentLink | None = None
        self._missed: deque[TypedText] = deque(maxlen=AGENT_MISSED_MAX)
        self._pop_epoch = 0
        self._again = SentAgain()
        self._viewer = ""
        self._user_speaking = False
        self._turn_id = 0
        self._hearing = Hearing()
        self._speaking = Speaking(
            shared, send=self._send, tell=self._tell, turn_id=lambda: self._turn_id, stall_s=AGENT_STALL_S_MAX
        )
        self._subscription: Subscription | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._away: asyncio.TimerHandle | None = None

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Subscribe. Raises: FabricError: the bus is out of reach."""
        loop = asyncio.get_running_loop()
        self._subscription = await self._bus.subscribe(up_subject(self.id))
        self._tasks = [
            loop.create_task(self._follow(self._subscription), name=f"up {self.id}"),
            loop.create_task(self._run(), name=f"speaking {self.id}"),
        ]
        self._wait_for_agent(AGENT_TOKEN_LIFETIME_S, "no-agent")

    def invite(self) -> str:
        """The token of the agent's first connection."""
        return self._passes.issue(asyncio.get_running_loop().time() + AGENT_TOKEN_LIFETIME_S)

    async def _free(self) -> None:
        if self._away is not None:
            self._away.cancel()
        link, self._link = self._link, None
        if link is not None:
            link.send(ViewerClosed(reason=self.reason))
            link.close(CLOSE_DONE, self.reason)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.aclose()

    async def _run(self) -> None:
        try:
            await self._speaking.run()
        except Exception:
            _log.exception("session %s: the voice has failed", self.id)
            self.end("voice-failed")

    def _wait_for_agent(self, seconds: float, reason: str) -> None:
        if self._away is not None:
            self._away.cancel()
        self._away = asyncio.get_running_loop().call_later(seconds, self.end, reason)

    # --- the agent -----------------------------------------------------------------------------------------------

    def attach(self, hello: Hello, link: AgentLink) -> Speaking:
        """The program has connected, for the first time or again.

        Returns: what takes its messages and its sound.
        Raises: AdmissionError: its token is not good.
        """
        self._passes.spend(hello.token, asyncio.get_running_loop().time())
        former, self._link = self._link, link
        if former is not None:
            former.close(CLOSE_REPLACED, "replaced")
        if self._away is not None:
            self._away.cancel()
        self._hearing.begin(hello.microphone)
        self._speaking.begin(hello)
        link.send(
            Welcome(
                session_id=self.id,
                character=self._ready.display_name,
                resume_token=self._passes.issue(),
                resume_s=AGENT_GRACE_S,
                viewer=bool(self._viewer),
                sound_s_max=AGENT_SOUND_S_MAX,
            )
        )
        while self._missed:
            link.send(self._missed.popleft())
        return self._speaking

    def detach(self, link: AgentLink) -> None:
        """Its connection is gone: what came of its sentence is spoken, and the face waits for it a while."""
        if link is not self._link or self.ending:
            return
        self._link = None
        self._speaking.hang_up()
        self._send(Fault(code="agent-lost", message="The character's agent is away; it may be back in a moment."))
        self._wait_for_agent(AGENT_GRACE_S, "agent-lost")

    def _tell(self, event: AgentEvent) -> None:
        if self._link is not None:
            self._link.send(event)

    # --- the viewer ----------------------------------------------------------------------------------------------

    def _send(self, message: DownMessage) -> None:
        if not self.ending:
            self._again.sent(message)
            with contextlib.suppress(FabricError):  # the fabric counts what it loses
                self._bus.publish_nowait(self._down, encode(message))

    def _turn(self, state: Literal["listening", "thinking", "idle"]) -> None:
        self._send(TurnState(state=state, turn_id=self._turn_id))

    async def _follow(self, subscription: Subscription) -> None:
        self.end(await self._listen(subscription))

    async def _listen(self, subscription: Subscription) -> str:
        """Until the viewer is gone. Returns: the reason."""
        loop = asyncio.get_running_loop()
        messages = aiter(subscription)
        deadline = loop.time() + self._open_s_max
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await anext(messages)
            except TimeoutError:
                return "idle" if self._viewer else "not-opened"
            except StopAsyncIteration:
                return "shutdown"
            try:
                received = decode_up(message.payload)
            except RemoteProtocolError:
                self.dropped += 1
                continue
            if isinstance(received, Closed) and not 0 < received.epoch < self._pop_epoch:
                return "closed"  # not of a POP that has been left
            self._receive(received)
            deadline = loop.time() + (self._idle_s_max if self._viewer else self._open_s_max)

    def _receive(self, received: UpMessage) -> None:
        match received:
            case MicrophonePacket():
                self._microphone(received)
            case Opened():
                if 0 < self._pop_epoch < received.epoch and not received.moved:
                    for message in self._again.rest():
                        self._send(message)
                self._pop_epoch = max(self._pop_epoch, received.epoch)
                first, self._viewer = not self._viewer, received.transport or "unknown"
                self._send(self._ready)
                if first:
                    self._tell(ViewerOpened(transport=self._viewer))
            case UserSpeech():
                self._user_speech(received.speaking)
            case UserText():
                self._typed(received.text)
            case BargeIn():
                self._barge_in(received)
            case Playout():
                self._again.heard(received)
                self._playout(received)
            case VoiceFormat():
                self._speaking.follow(VoiceEncoding.nearest(received.bitrate_bps, received.loss_percent))
            case _:
                pass

    def _microphone(self, packet: MicrophonePacket) -> None:
        if self._link is None:
            return
        try:
            sound = self._hearing.receive(packet)
        except ValueError:
            self.dropped += 1
            return
        if sound:
            self._link.send_sound(sound)

    def _user_speech(self, speaking: bool) -> None:
        if speaking == self._user_speaking:
            return
        self._user_speaking = speaking
        if speaking:
            self._turn_id += 1
        self._tell(SpeakingStarted() if speaking else SpeakingStopped())

    def _typed(self, text: str) -> None:
        if len(text) > TEXT_CHARS_MAX or not text.strip():
            self.dropped += 1
            return
        self._turn_id += 1
        self._turn("thinking")
        typed = TypedText(text=text.strip())
        if self._link is None:
            self._missed.append(typed)  # it is asked when it is there, or there again
        else:
            self._link.send(typed)

    def _barge_in(self, received: BargeIn) -> None:
        name, heard_s, text = self._speaking.cut(received.utterance_id, received.heard_until)
        self._turn("listening" if self._user_speaking else "idle")
        self._tell(Interrupted(cause=received.cause, id=name, heard_s=heard_s, heard_text=text))

    def _playout(self, received: Playout) -> None:
        found = self._speaking.heard(received.utterance_id, received.heard_until)
        if found is not None:
            name, heard_s, complete = found
            self._tell(PlayoutEvent(id=name, heard_s=heard_s, complete=complete))
