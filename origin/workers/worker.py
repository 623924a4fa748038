"""A worker: answers in the sessions that an origin gives it, as long as its heart beats.

One life begins when the heart does and ends when it stops: whatever was held by then is somebody else's, and every
session here ends without a word. A pipeline is made for each session and thrown away with it; only models and voice
stay, so that nothing of one viewer is there for the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import resource
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from core import __version__
from core.errors import FabricError, RemoteProtocolError, VisavisError
from core.fabric.bus import Bus, Message
from core.fabric.stepping import perform
from core.fabric.store import Store
from core.limits import (
    HEARTBEAT_S,
    RESERVATION_S,
    SESSION_IDLE_S_MAX,
    UTTERANCES_PER_EPOCH_MAX,
    WORKER_ORPHAN_S_MAX,
    WORKER_STATUS_S,
)
from core.session.booking import cancel
from core.session.heart import Heart, decode_heart, heart_key
from core.session.lease import LeaseRecord, end, look
from core.session.steps import Steps
from origin.dialogue.memory import decode_memory, encode_memory
from origin.dialogue.services import Shared
from origin.dialogue.session import DialogueSession
from origin.dialogue.state import TurnMarks
from origin.workers.checkpoint import Checkpoint, read_memory
from origin.workers.messages import (
    PROTOCOL,
    Answered,
    Ask,
    Begin,
    CameIn,
    Command,
    Done,
    Drain,
    End,
    Ended,
    Go,
    Hosted,
    News,
    Refused,
    Release,
    Released,
    Reply,
    Status,
    command_subject,
    decode_command,
    encode,
    news_subject,
)

__all__ = ["SupersededError", "Worker", "machine_name"]

_log = logging.getLogger(__name__)

_RETRY_S: Final = 0.25
_AUDIT_S: Final = 5.0
_SILENT_ENDS: Final = frozenset({"moved", "fenced"})
"""Somebody else answers in these sessions: nobody is told that they are over."""


class SupersededError(VisavisError):
    """Another worker uses the same name."""


def machine_name() -> str:
    """Host and boot: two processes that name the same see each other's process ids."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{platform.node()}/{boot[:8]}"
    return platform.node()


@dataclass(slots=True)
class _Held:
    """A session here."""

    begun: Begin
    session: DialogueSession
    generation: int
    checkpoint: Checkpoint | None = None
    came_in: bool = False

    def changed(self) -> None:
        if self.checkpoint is not None:
            self.checkpoint.changed()


class Worker:
    """See the module.

    Args:
        name: in the store and on the bus; the newest process of a name is the one.
        slots: sessions at once.
        instance: what a provider calls this machine.
        started_at: monotonic seconds at which the process began, for how long it took to get warm.
    """

    def __init__(
        self, name: str, shared: Shared, bus: Bus, store: Store, *, slots: int, instance: str = "", started_at: float
    ) -> None:
        self.name = name
        self._shared = shared
        self._bus = bus
        self._store = store
        self._slots = slots
        self._instance = instance
        self._started_at = started_at
        self._warm_up_s = 0.0
        self._state: Literal["warming", "warm", "draining"] = "warming"
        self._held: dict[str, _Held] = {}
        self._reapers: set[asyncio.Task[None]] = set()
        self._heart = self._new_heart()
        self._beats = 0
        self._changed = asyncio.Event()
        self._seen_fabric = time.monotonic()
        self._idle_since: dict[str, float] = {}
        self._counts = Counter[str]()
        shared.on_opening = lambda ready: self._count(f"opening.{'ready' if ready else 'spoken'}")

    def _new_heart(self) -> Heart:
        return Heart(self.name, self._shared.entropy.token_bytes(9).hex())

    @property
    def sessions(self) -> tuple[str, ...]:
        """Ids of the sessions here."""
        return tuple(self._held)

    async def run(self) -> None:
        """Live until cancelled; one life after the other.

        Raises: SupersededError: another process has taken the name. FabricError: no fabric for WORKER_ORPHAN_S_MAX.
        """
        warming = asyncio.get_running_loop().create_task(self._warm_up(), name="warm up")
        telling = asyncio.get_running_loop().create_task(self._tell_always(), name="status")
        auditing = asyncio.get_running_loop().create_task(self._audit_always(), name="audit")
        try:
            while True:
                await self._live(warming)
                self._heart = self._new_heart()
        finally:
            for task in (warming, telling, auditing):
                task.cancel()
            await asyncio.gather(warming, telling, auditing, return_exceptions=True)

    async def aclose(self) -> None:
        """End everything; the heart's record says so, so that nobody has to wait."""
        self._end_all("shutdown")
        await asyncio.gather(*self._reapers, return_exceptions=True)
        with contextlib.suppress(FabricError, TimeoutError):
            async with asyncio.timeout(1.0):
                await perform(self._store, self._heart.end())

    async def _warm_up(self) -> None:
        from origin.sessions import Sessions

        await self._shared.start()
        await Sessions(self._shared, self._bus).warm(f"warm-{self.name}")
        self._warm_up_s = time.monotonic() - self._started_at
        if self._state == "warming":
            self._state = "warm"
        self._changed.set()

    # --- a life ------------------------------------------------------------------------------------------------

    async def _live(self, warming: asyncio.Task[None]) -> None:
        heart, loop = self._heart, asyncio.get_running_loop()
        while not await perform(self._store, heart.begin(loop.time())):
            if heart.stopped:
                return
            self._check_orphan(loop.time())
            await asyncio.sleep(_RETRY_S)
        commands = await self._bus.respond(command_subject(self.name, heart.life), self._answer)
        self._changed.set()
        acknowledged = True
        try:
            while (timer := heart.get_timer()) is not None and (not heart.expires() or heart.alive(loop.time())):
                if warming.done():
                    warming.result()
                expires = heart.expires()
                due = timer if expires is None else min(timer, expires)
                # After a beat that was not acknowledged: the store may be back before the next one is due.
                wait_s = min(due - loop.time(), HEARTBEAT_S if acknowledged else _RETRY_S)
                await asyncio.sleep(max(0.0, wait_s))
                if loop.time() >= timer or not acknowledged:
                    acknowledged = await self._beat(heart, loop.time())
        finally:
            self._end_all("fenced")
            with contextlib.suppress(FabricError):
                await commands.aclose()
        await self._why_it_ended(heart)

    async def _beat(self, heart: Heart, now: float) -> bool:
        heart.draining = self._state == "draining"
        heart.load = min(1.0, len(self._held) / self._slots)
        expires = heart.expires()
        left_s = HEARTBEAT_S if expires is None else max(0.05, expires - now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(HEARTBEAT_S, left_s)):
                if await perform(self._store, heart.beat(now)):
                    self._beats += 1
                    self._seen_fabric = now
                    return True
        self._check_orphan(now)
        return False

    def _check_orphan(self, now: float) -> None:
        if now - self._seen_fabric > WORKER_ORPHAN_S_MAX:
            raise FabricError("unreachable", f"no fabric for {WORKER_ORPHAN_S_MAX:g} s")

    async def _why_it_ended(self, heart: Heart) -> None:
        try:
            record = decode_heart((await self._store.get(heart_key(self.name))).value or b"")
        except (FabricError, RemoteProtocolError):
            record = None
        if record is not None and record.life != heart.life and not record.dead:
            raise SupersededError(f"another worker uses the name {self.name!r}; give each one its own (--name)")
        _log.warning("worker %s was taken for dead; it begins anew", self.name)

    def _end_all(self, reason: str) -> None:
        for held in self._held.values():
            held.session.end(reason)

    # --- commands ------------------------------------------------------------------------------------------------

    async def _answer(self, message: Message) -> bytes:
        try:
            command = decode_command(message.payload)
        except RemoteProtocolError as error:
            _log.warning("a command cannot be understood: %s", error)
            return encode(Refused(code="bad-command"))
        reply = await self._obey(command)
        self._changed.set()
        return encode(reply)

    async def _obey(self, command: Command) -> Reply:
        match command:
            case Ask():
                return self.status()
            case Begin():
                return await self._begin(command)
            case Drain():
                self._state = "draining"
                return Done()
        held = self._held.get(command.session)
        if held is None:
            return Refused(code="unknown-session")
        match command:
            case End():
                held.session.end(command.reason)
                return Done()
            case Release():
                memory = await held.session.release(command.cut, command.wait_s)
                return Released(memory=encode_memory(memory))
            case Go():
                held.generation = command.generation
                self._keep(held)
                numbers = (held.begun.ordinal - 1) * UTTERANCES_PER_EPOCH_MAX
                memory = decode_memory(command.memory)
                held.session.take_over(memory, generation=command.generation, numbers=numbers, after=command.after)
                return Done()

    async def _begin(self, begin: Begin) -> Reply:
        held = self._held.get(begin.session)
        if held is not None:
            return Done() if held.begun.request == begin.request else Refused(code="taken")
        character = self._shared.characters.get(begin.character)
        if character is None:
            return Refused(code="unknown-character")
        if self._state != "warm" or not self._heart.alive(asyncio.get_running_loop().time()):
            return Refused(code="draining")
        if any(other.begun.slot == begin.slot for other in self._held.values()):
            return Refused(code="taken")
        waits = begin.standby or begin.resume
        session = DialogueSession(
            begin.session,
            character,
            self._shared,
            self._bus,
            on_turn=self._answered,
            on_guess=lambda outcome: self._count(f"guess.{outcome}"),
            open_s_max=begin.open_s_max,
            idle_s_max=SESSION_IDLE_S_MAX,
            generation=begin.generation,
            standby=waits,
            on_change=lambda: self._session_changed(begin.session),
        )
        held = self._held[begin.session] = _Held(begin, session, begin.generation)
        reaper = asyncio.get_running_loop().create_task(self._reap(held), name=f"reap {begin.session}")
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reapers.discard)
        try:
            await session.start()
            if begin.resume:
                numbers = (begin.ordinal - 1) * UTTERANCES_PER_EPOCH_MAX
                memory = await read_memory(self._store, begin.session)
                session.take_over(memory, generation=begin.generation, numbers=numbers)
        except (FabricError, TimeoutError) as error:
            _log.warning("session %s cannot be begun here: %s", begin.session, error)
            session.end("moved")
            return Refused(code="failed")
        if not begin.standby:
            self._keep(held)
            held.changed()
        return Done()

    def _keep(self, held: _Held) -> None:
        session = held.session
        held.checkpoint = Checkpoint(self._store, session.id, held.generation, session.snapshot)

    def _session_changed(self, session_id: str) -> None:
        held = self._held.get(session_id)
        if held is None:
            return
        held.changed()
        if held.session.opened and not held.came_in:
            held.came_in = True
            self._tell(CameIn(name=self.name, life=self._heart.life, session=session_id))

    async def _reap(self, held: _Held) -> None:
        session, life = held.session, self._heart.life
        await session.closed.wait()
        if held.checkpoint is not None:
            await held.checkpoint.aclose()
        del self._held[session.id]
        if session.reason not in _SILENT_ENDS:
            self._tell(
                Ended(name=self.name, life=life, session=session.id, generation=held.generation, reason=session.reason)
            )
        self._changed.set()
        _log.info("session ended", extra={"session": session.id, "reason": session.reason})

    # --- news ----------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        """Everything about this worker."""
        hosted = tuple(
            Hosted(
                session=held.session.id,
                character=held.begun.character,
                slot=held.begun.slot,
                request=held.begun.request,
                generation=held.generation,
                opened=held.session.opened,
            )
            for held in self._held.values()
        )
        return Status(
            name=self.name,
            life=self._heart.life,
            version=__version__,
            protocol=PROTOCOL,
            state=self._state,
            slots=self._slots,
            pid=os.getpid(),
            machine=machine_name(),
            instance=self._instance,
            beats=self._beats,
            memory_bytes=_resident_bytes(),
            warm_up_s=round(self._warm_up_s, 3),
            sessions=hosted,
            counts=dict(self._counts),
        )

    def _count(self, name: str) -> None:
        self._counts[name] += 1  # told with the next status

    def _answered(self, marks: TurnMarks) -> None:
        if marks.speech_ended:
            self._tell(Answered(name=self.name, life=self._heart.life, stages=marks.stages()))

    def _tell(self, news: News) -> None:
        with contextlib.suppress(FabricError):
            self._bus.publish_nowait(news_subject(self.name), encode(news))

    async def _tell_always(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WORKER_STATUS_S):
                    await self._changed.wait()
            self._changed.clear()
            if self._heart.alive(asyncio.get_running_loop().time()):
                self._tell(self.status())

    # --- leases of own slots that nobody is served on --------------------------------------------------------------

    async def _audit_always(self) -> None:
        """An origin may have died between two writes."""
        while True:
            await asyncio.sleep(_AUDIT_S)
            for number in range(self._slots):
                with contextlib.suppress(FabricError, RemoteProtocolError):
                    await self._audit(f"{self.name}.{number}", asyncio.get_running_loop().time())

    async def _audit(self, slot: str, now: float) -> None:
        record = await perform(self._store, look(slot))
        served = isinstance(record, LeaseRecord) and any(
            held.begun.request == record.request for held in self._held.values()
        )
        if not isinstance(record, LeaseRecord) or record.life != self._heart.life or served:
            self._idle_since.pop(slot, None)
        elif now - self._idle_since.setdefault(slot, now) > 2 * RESERVATION_S:
            await perform(self._store, _clean(slot, record))


def _clean(slot: str, record: LeaseRecord) -> Steps[None]:
    yield from end(slot, record.epoch, "released")
    yield from cancel(record.request)


def _resident_bytes() -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
