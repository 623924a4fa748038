"""The way in, the same for every transport: a token opens one link to one session.

A transport that was asked for a link admits the token, makes the link with the entry's events, and attaches it, or
abandons the entry with the reason. What came of it is counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from core.errors import VisavisError
from core.session.claims import Claims
from core.session.proof import ProvenRequest
from edge.admission import Admission
from edge.metrics import PopMetrics
from edge.resume import RESUME_PREFIX
from edge.transports.link import LinkEvents, ViewerLink

__all__ = ["Door", "Entrance", "Entry", "SessionHost"]


class Door(LinkEvents, Protocol):
    """A session's end of one link."""

    def attach(self, link: ViewerLink) -> None:
        """The link, still connecting."""

    def abandon(self, reason: str, now: float) -> None:
        """There will be no link."""


class SessionHost(Protocol):
    """Who keeps the sessions."""

    async def open(self, claims: Claims) -> Door:
        """Create the session. Raises: AdmissionError: `overloaded`, `draining`, `session-exists`; FabricError."""
        ...

    def thumbprint_of(self, session_id: str) -> str:
        """Of the key that a session's viewer proved to hold; empty: none, or there is no such session."""
        ...

    def resume(self, token: str, session_id: str) -> Door:
        """Open another link of a session that is here.

        Raises: AdmissionError: `bad-token`, `wrong-session`, `token-expired`, `token-spent`, `draining`.
        """
        ...


class Entry:
    """What an admitted viewer's link is made with.

    Attributes:
        events: what the link tells its session; of this link alone.
        thumbprint: of the viewer's key; empty: none.
    """

    def __init__(self, door: Door, *, metrics: PopMetrics, clock: Callable[[], float], thumbprint: str = "") -> None:
        self.events: LinkEvents = door
        self.thumbprint = thumbprint
        self._door = door
        self._metrics = metrics
        self._clock = clock

    def attach(self, link: ViewerLink) -> None:
        """The link is being set up; may come after its `on_connected`."""
        self._metrics.setups.labels("accepted", "").inc()
        self._door.attach(link)

    def abandon(self, reason: str) -> None:
        """There will be no link; `reason` is an error code."""
        self._metrics.setups.labels("refused", reason).inc()
        self._door.abandon(reason, self._clock())


class Entrance:
    """See the module docstring.

    Args:
        admission: checks tickets.
        sessions: opens sessions.
        clock: monotonic seconds.
    """

    def __init__(
        self, *, admission: Admission, sessions: SessionHost, metrics: PopMetrics, clock: Callable[[], float]
    ) -> None:
        self._admission = admission
        self._sessions = sessions
        self._metrics = metrics
        self._clock = clock

    async def admit(
        self, token: str, session_id: str, *, scope: str, now_wall: int, request: ProvenRequest | None = None
    ) -> Entry:
        """Let a viewer in, or back in; its token is spent.

        Args:
            token: a ticket, or a resume token (`edge.resume`).
            session_id: the session that the viewer asks for.
            scope: what it opens, e.g. core.session.claims.SCOPE_WEBRTC.
            now_wall: wall time in whole seconds.
            request: what the token came with, its proof of possession above all.

        Raises:
            AdmissionError: see `Admission.admit`, `SessionHost.open` and `SessionHost.resume`.
            FabricError: the origin cannot be reached.
        """
        try:
            if token.startswith(RESUME_PREFIX):
                thumbprint = self._sessions.thumbprint_of(session_id)
                self.prove(request, token=token, thumbprint=thumbprint, now_wall=now_wall)
                door = self._sessions.resume(token, session_id)
            else:
                claims = await self._admission.admit(token, session_id, scope=scope, now_wall=now_wall, request=request)
                thumbprint = claims.thumbprint
                door = await self._sessions.open(claims)
        except VisavisError as error:
            self.refused(getattr(error, "code", "internal-error"))
            raise
        return Entry(door, metrics=self._metrics, clock=self._clock, thumbprint=thumbprint)

    def prove(self, request: ProvenRequest | None, *, token: str, thumbprint: str, now_wall: int) -> None:
        """See `Admission.prove`."""
        self._admission.prove(request, token=token, thumbprint=thumbprint, now_wall=now_wall)

    def refused(self, code: str) -> None:
        """A request was refused before it came to its token."""
        self._metrics.setups.labels("refused", code).inc()
