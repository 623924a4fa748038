"""A POP's part in moving sessions (`core.session.handoff_messages`): what the broker asks of it, and what it tells."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from core.errors import AdmissionError, FabricError, RemoteProtocolError
from core.fabric.bus import Bus, Message, Subscription
from core.limits import HANDOFF_STEP_S_MAX
from core.session.claims import SCOPE_WEBRTC, SCOPE_WEBTRANSPORT, Claims
from core.session.handoff_messages import (
    BROKER_SUBJECT,
    Answer,
    BrokerRequest,
    CancelDrain,
    Demote,
    Demoted,
    Done,
    Drain,
    DrainProgress,
    Drop,
    Expect,
    Export,
    Exported,
    Failed,
    Invite,
    PopRequest,
    Prepare,
    Previewed,
    Promote,
    Refused,
    Release,
    Told,
    decode_pop_request,
    encode_handoff,
    pop_subject,
)
from edge.handoff_state import capture, decode_state
from edge.session import Session
from edge.session_parts import Role
from edge.sessions import Sessions

__all__ = ["HandoffAgent"]

_log = logging.getLogger(__name__)
_DONE = Done()


class HandoffAgent:
    """See the module docstring.

    Args:
        name: this POP's.
        sessions: that are here; their `on_moving` and `on_lost` come to this agent.
        drain: begins or goes on; cancel: takes it back. Both say how far it is.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        name: str,
        bus: Bus,
        sessions: Sessions,
        drain: Callable[[float], DrainProgress],
        cancel: Callable[[], DrainProgress],
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._bus = bus
        self._sessions = sessions
        self._drain = drain
        self._cancel = cancel
        self._clock = clock
        self._subscription: Subscription | None = None
        self._brokers: dict[str, str] = {}
        self._telling: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Answer from now on. Raises: FabricError."""
        self._subscription = await self._bus.respond(pop_subject(self._name), self._respond)

    async def aclose(self) -> None:
        """Answer no longer."""
        if self._subscription is not None:
            await self._subscription.aclose()
        for task in tuple(self._telling):
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    # --- what the viewer does --------------------------------------------------------------------------------------

    def on_moving(self, session: Session, word: str, epoch: int) -> None:
        """The viewer of a session that is to move here, or has, says how far it is."""
        session_id = session.claims.session_id
        if word == "preview":
            self._tell(Previewed(session_id=session_id, epoch=epoch))
        else:
            self._tell(Told(session_id=session_id, epoch=epoch))
            self._brokers.pop(session_id, None)

    def on_lost(self, session: Session, reason: str) -> None:
        """A session that was to move here is gone."""
        self._tell(Failed(session_id=session.claims.session_id, epoch=session.claims.epoch, reason=reason))
        self._brokers.pop(session.claims.session_id, None)

    def _tell(self, request: BrokerRequest) -> None:
        subject = self._brokers.get(request.session_id, BROKER_SUBJECT)
        self._later(self._send(subject, request))

    async def _send(self, subject: str, request: BrokerRequest) -> None:
        try:
            await self._bus.request(subject, encode_handoff(request), HANDOFF_STEP_S_MAX)
        except FabricError as error:
            _log.info("the broker does not hear of a move: %s", error.code)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    # --- what the broker asks --------------------------------------------------------------------------------------

    async def _respond(self, message: Message) -> bytes:
        try:
            answer = await self._answer(decode_pop_request(message.payload))
        except RemoteProtocolError as error:
            answer = Refused(code=error.code)
        except (AdmissionError, FabricError) as error:
            answer = Refused(code=error.code)
        except Exception:
            _log.exception("a request about a session's move failed")
            answer = Refused(code="internal-error")
        return encode_handoff(answer)

    async def _answer(self, request: PopRequest) -> Answer:
        match request:
            case Drain():
                return self._drain(request.deadline_s)
            case CancelDrain():
                return self._cancel()
            case Expect():
                await self._sessions.expect(request.session_id)
                return _DONE
            case Prepare():
                await self._sessions.prepare(_claims(request, self._name), decode_state(request.state))
                self._brokers[request.session_id] = request.broker
                return _DONE
        if isinstance(request, Drop):
            await self._sessions.unexpect(request.session_id)
        session = self._sessions.find(request.session_id)
        if session is None:
            return _DONE if isinstance(request, Release | Drop) else Refused(code="unknown-session")
        return self._of_session(session, request)

    def _of_session(self, session: Session, request: PopRequest) -> Answer:
        parts, now = session.parts, self._clock()
        match request:
            case Export():
                if not parts.owner or not parts.presence.connected:
                    return Refused(code="no-viewer")
                if not parts.presence.can_move:
                    return Refused(code="viewer-cannot")
                claims = session.claims
                return Exported(state=capture(parts, now), character=claims.character, mode=claims.mode)
            case Invite():
                if not parts.owner or not parts.presence.connected:
                    return Refused(code="no-viewer")
                parts.narrator.move(request.epoch, json.loads(request.offer))
            case Demote():
                session.own(request.epoch, now)
                return Demoted(said=parts.narrator.said)
            case Promote():
                session.own(request.epoch, now)
                if parts.role is not Role.OWNER:
                    return Refused(code="superseded")
                if request.said is not None:
                    session.words_said(request.said)
            case Release():
                if session.claims.epoch < request.epoch:
                    session.release()
            case Drop():
                if session.claims.epoch == request.epoch and parts.role is Role.SUCCESSOR:
                    session.release()
                elif session.claims.epoch < request.epoch:
                    parts.narrator.stay(request.epoch)
            case _:
                pass
        return _DONE


def _claims(request: Prepare, name: str) -> Claims:
    """What the ticket will say, as far as it is known before the viewer brings it."""
    return Claims(
        issuer="",
        audience=name,
        session_id=request.session_id,
        ticket_id="",
        issued_at=0,
        expires_at=0,
        epoch=request.epoch,
        scopes=(SCOPE_WEBRTC, SCOPE_WEBTRANSPORT),
        character=request.character,
        mode=request.mode,
    )
