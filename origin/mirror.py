"""The origin's part in a session in which the viewer performs the character: to know that it is there.

Voice and face never leave the POP; there is no pipeline, and nothing is heard or said here.
"""

from __future__ import annotations

import asyncio
import contextlib

from core.errors import FabricError, RemoteProtocolError
from core.fabric.bus import Bus, Subscription
from core.limits import SESSION_IDLE_S_MAX
from core.speech.messages import Closed, Opened, Ready, decode_up, down_subject, encode, up_subject
from origin.dialogue.character import Character
from origin.session_life import SessionLife

__all__ = ["MirrorSession"]


class MirrorSession(SessionLife):
    """Begins, waits for its viewer's end, and ends.

    Args:
        session_id: names the subjects.
        open_s_max: the session ends when no viewer has come by then.
        idle_s_max: it ends when nothing has come from its viewer for so long.
    """

    def __init__(
        self,
        session_id: str,
        character: Character,
        bus: Bus,
        *,
        open_s_max: float = 30.0,
        idle_s_max: float = SESSION_IDLE_S_MAX,
    ) -> None:
        super().__init__(session_id)
        self._ready = Ready(character=character.id, display_name=character.name)
        self._bus = bus
        self._open_s_max = open_s_max
        self._idle_s_max = idle_s_max
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Subscribe. Raises: FabricError: the bus is out of reach."""
        self._subscription = await self._bus.subscribe(up_subject(self.id))
        follow = self._follow(self._subscription)
        self._task = asyncio.get_running_loop().create_task(follow, name=f"mirror {self.id}")

    async def _free(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._subscription is not None:
            await self._subscription.aclose()

    async def _follow(self, subscription: Subscription) -> None:
        self.end(await self._listen(subscription))

    async def _listen(self, subscription: Subscription) -> str:
        """Until the viewer is gone. Returns: the reason."""
        loop = asyncio.get_running_loop()
        messages = aiter(subscription)
        opened, epoch = False, 0
        deadline = loop.time() + self._open_s_max
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    message = await anext(messages)
            except TimeoutError:
                return "idle" if opened else "not-opened"
            except StopAsyncIteration:
                return "shutdown"
            try:
                received = decode_up(message.payload)
            except RemoteProtocolError:
                continue
            if isinstance(received, Closed) and not 0 < received.epoch < epoch:  # not of a POP that has been left
                return "closed"
            if isinstance(received, Opened):
                opened, epoch = True, max(epoch, received.epoch)
                with contextlib.suppress(FabricError):
                    self._bus.publish_nowait(down_subject(self.id), encode(self._ready))
            deadline = loop.time() + (self._idle_s_max if opened else self._open_s_max)
