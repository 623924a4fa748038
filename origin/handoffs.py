"""Moves sessions from one POP to another, as `core.session.handoff` says: this is its network.

One POP asks (it is being emptied), the other one tells how far the viewer is, and both are told what to do. What is
not answered fails the move while that is possible: the source then is the owner as before, and the viewer has seen
nothing. Once the session's record has changed, the rest is done whether or not anybody answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from core.errors import FabricError, RemoteProtocolError
from core.fabric.bus import Bus, Message, Subscription
from core.limits import HANDOFF_OVERLAP_S_MAX, HANDOFF_STEP_S_MAX, HANDOFFS_AT_ONCE_MAX
from core.session.handoff import Action, Handoff, HandoffState
from core.session.handoff_messages import (
    BROKER_SUBJECT,
    Answer,
    BrokerRequest,
    Demote,
    Demoted,
    Done,
    Drop,
    Expect,
    Export,
    Exported,
    Failed,
    Invite,
    Move,
    Moved,
    PopRequest,
    Prepare,
    Previewed,
    Promote,
    Refused,
    Release,
    Told,
    decode_answer,
    decode_broker_request,
    encode_handoff,
    pop_subject,
)
from core.speech.messages import Owner, down_subject, encode
from origin.problems import ProblemError

__all__ = ["Handoffs", "Ledger"]

_log = logging.getLogger(__name__)
_DONE: Final = Done()
_OVER: Final = (HandoffState.CLOSED, HandoffState.ABORTED)


class Ledger(Protocol):
    """Who knows which POP has a session."""

    async def renew(self, session_id: str, avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Tickets for a session with epochs beyond all before, as `POST /v1/sessions` answers. Raises: ProblemError."""
        ...

    async def move(self, session_id: str, pop: str, epoch: int) -> bool:
        """Compare-and-set: the session is this POP's from now on. False: it has ended, or somebody else was quicker.

        Raises: FabricError: nobody knows.
        """
        ...


class _Move:
    """One move under way: the rules, who is asked, and what the next step waits for."""

    def __init__(self, move: Move, now: float) -> None:
        self.session_id = move.session_id
        self.source = move.pop
        self.target = ""
        self.rules = Handoff(move.epoch, now)
        self.changed = asyncio.Event()
        self.offer: dict[str, Any] = {}


class Handoffs:
    """See the module docstring.

    Args:
        clock: monotonic seconds.
        name: of this broker, as no other has it; one token of a subject.
        on_done: told the outcome of every move, `moved` or why not, and how long both sides have sent.
    """

    def __init__(
        self,
        bus: Bus,
        ledger: Ledger,
        clock: Callable[[], float],
        *,
        name: str,
        on_done: Callable[[str, float], None] = lambda _outcome, _overlap_s: None,
    ) -> None:
        self._bus = bus
        self._ledger = ledger
        self._clock = clock
        self._on_done = on_done
        self._moves: dict[str, _Move] = {}
        self._own_subject = f"{BROKER_SUBJECT}.{name}"
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Answer from now on. Raises: FabricError."""
        for subject in (BROKER_SUBJECT, self._own_subject):
            self._subscriptions.append(await self._bus.respond(subject, self._respond))

    async def aclose(self) -> None:
        """Answer no longer; moves under way end by themselves."""
        for subscription in self._subscriptions:
            await subscription.aclose()

    async def _respond(self, message: Message) -> bytes:
        try:
            answer = await self._answer(decode_broker_request(message.payload))
        except RemoteProtocolError as error:
            answer = Refused(code=error.code)
        return encode_handoff(answer)

    async def _answer(self, request: BrokerRequest) -> Answer:
        if isinstance(request, Move):
            return await self._start(request)
        move = self._moves.get(request.session_id)
        if move is None or request.epoch != move.rules.epoch:
            return Refused(code="unknown-move")
        now = self._clock()
        match request:
            case Previewed():
                move.rules.redeem(request.epoch)
                move.rules.receive_preview(request.epoch, now)
            case Told():
                move.rules.receive_told(now)
            case Failed():
                move.rules.abort(request.reason, now)
        move.changed.set()
        return _DONE

    # --- one move ------------------------------------------------------------------------------------------------

    async def _start(self, request: Move) -> Answer:
        if request.session_id in self._moves:
            return Refused(code="moving-already")
        if len(self._moves) >= HANDOFFS_AT_ONCE_MAX:
            return Refused(code="overloaded")
        move = _Move(request, self._clock())
        self._moves[request.session_id] = move
        try:
            # Whoever asked may be gone before it is over; a move that has begun is never left halfway.
            return await asyncio.shield(asyncio.ensure_future(self._run(move)))
        finally:
            if move.rules.state in _OVER:
                self._moves.pop(request.session_id, None)

    async def _run(self, move: _Move) -> Answer:
        rules = move.rules
        try:
            while True:
                action = rules.next_event()
                if action is not None:
                    await self._act(move, action)
                elif rules.state in _OVER:
                    break
                else:
                    await self._wait(move)
        except Exception:
            _log.exception("a move failed", extra={"session": move.session_id})
            rules.abort("internal-error", self._clock())
            if rules.state is HandoffState.ABORTED:
                await self._act(move, Action.CLOSE_TARGET)
        finally:
            self._moves.pop(move.session_id, None)
        overlap_s = rules.overlap_s or 0.0
        if rules.state is HandoffState.ABORTED:
            self._on_done(rules.reason, overlap_s)
            _log.info("session not moved", extra={"session": move.session_id, "reason": rules.reason})
            return Refused(code=rules.reason)
        self._on_done("moved", overlap_s)
        _log.info(
            "session moved",
            extra={"session": move.session_id, "source": move.source, "target": move.target, "epoch": rules.epoch},
        )
        return Moved(pop=move.target, epoch=rules.epoch, overlap_s=overlap_s)

    async def _wait(self, move: _Move) -> None:
        deadline = move.rules.get_timer()
        timeout_s = None if deadline is None else max(0.0, deadline - self._clock())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(move.changed.wait(), timeout_s)
        move.changed.clear()
        move.rules.handle_timer(self._clock())

    async def _act(self, move: _Move, action: Action) -> None:
        match action:
            case Action.RESERVE:
                await self._reserve(move)
            case Action.COPY:
                await self._copy(move)
            case Action.INVITE:
                offer = msgspec.json.encode(move.offer)
                invite = Invite(session_id=move.session_id, epoch=move.rules.epoch, offer=offer)
                await self._need(move, move.source, invite)
            case Action.MOVE:
                await self._move(move)
            case Action.COMMIT:
                await self._commit(move)
            case Action.CLOSE_SOURCE:
                await self._ask(move.source, Release(session_id=move.session_id, epoch=move.rules.epoch))
            case Action.CLOSE_TARGET:
                drop = Drop(session_id=move.session_id, epoch=move.rules.epoch)
                for pop in filter(None, (move.target, move.source)):
                    await self._ask(pop, drop)

    async def _reserve(self, move: _Move) -> None:
        try:
            ticket = await self._ledger.renew(move.session_id, avoid=frozenset((move.source,)))
        except ProblemError as error:
            move.rules.abort(error.code, self._clock())
            return
        offers = [offer for offer in ticket["pops"] if offer["name"] != move.source]
        if not offers:
            move.rules.abort("no-other-pop", self._clock())
            return
        move.offer, move.target = offers[0], offers[0]["name"]
        move.rules.receive_reserved(offers[0]["epoch"], self._clock())

    async def _copy(self, move: _Move) -> None:
        if await self._need(move, move.target, Expect(session_id=move.session_id)) is None:
            return
        exported = await self._need(move, move.source, Export(session_id=move.session_id))
        if not isinstance(exported, Exported):
            return
        prepare = Prepare(
            session_id=move.session_id,
            epoch=move.rules.epoch,
            character=exported.character,
            mode=exported.mode,
            state=exported.state,
            broker=self._own_subject,
        )
        if isinstance(await self._need(move, move.target, prepare), Done):
            move.rules.receive_state(exported.state, self._clock())

    async def _move(self, move: _Move) -> None:
        """What became of a compare-and-set is found out, never assumed."""
        while True:
            try:
                moved = await self._ledger.move(move.session_id, move.target, move.rules.epoch)
            except FabricError:
                await asyncio.sleep(_RETRY_S)
                continue
            move.rules.receive_moved(moved, self._clock())
            return

    async def _commit(self, move: _Move) -> None:
        """First the mark in what the origin says, then how far the source has come, then the target may speak."""
        session_id, epoch = move.session_id, move.rules.epoch
        with contextlib.suppress(FabricError):
            self._bus.publish_nowait(down_subject(session_id), encode(Owner(epoch=epoch)))
        demoted = await self._ask(move.source, Demote(session_id=session_id, epoch=epoch), HANDOFF_OVERLAP_S_MAX)
        said = demoted.said if isinstance(demoted, Demoted) else None
        for _ in range(_PROMOTE_TRIES):
            if (
                await self._ask(move.target, Promote(session_id=session_id, epoch=epoch, said=said), _PROMOTE_S)
                is not None
            ):
                return

    # --- asking --------------------------------------------------------------------------------------------------

    async def _need(self, move: _Move, pop: str, request: PopRequest) -> Answer | None:
        """Ask a POP for what the move cannot do without. Returns: None when it was not to be had; that ends it."""
        answer = await self._ask(pop, request)
        if answer is None or isinstance(answer, Refused):
            move.rules.abort(answer.code if answer is not None else "pop-unreachable", self._clock())
            return None
        return answer

    async def _ask(self, pop: str, request: PopRequest, timeout_s: float = HANDOFF_STEP_S_MAX) -> Answer | None:
        try:
            return decode_answer(await self._bus.request(pop_subject(pop), encode_handoff(request), timeout_s))
        except (FabricError, RemoteProtocolError) as error:
            _log.info("POP %s does not answer: %s", pop, error.code)
            return None


_RETRY_S: Final = 0.2
_PROMOTE_TRIES: Final = 3
_PROMOTE_S: Final = 1.0
