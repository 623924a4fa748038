"""Whether a session's viewer is there: connected, away for a moment, or gone; and what brings it back.

A viewer whose link is lost has limits.RESUME_GRACE_S to come over another one. What it would miss meanwhile waits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

from core.limits import MISSED_MESSAGES_MAX, RESUME_GRACE_S, RESUME_REFRESH_S, SIGN_OF_LIFE_S
from edge.metrics import PopMetrics
from edge.session_links import SessionLinks

__all__ = ["GOODBYES", "Presence"]

GOODBYES: Final = frozenset({"viewer-left", "pop-stopping", "internal-error", "flood", "control-too-large"})
"""Why a link closes after which nobody comes back: an orderly goodbye, or what would only happen again. A link that a
browser closed is not among them: browsers close links when they change networks."""


class Presence:
    """Of one session's viewer.

    Args:
        links: its links.
        metrics: connected sessions, setup times and resumptions are counted there.
        issue_resume: a fresh token that brings this viewer back.
        created_at: when the session began, monotonic seconds.

    Attributes:
        begun: it was connected once.
        connected: it is connected now.
        can_move: it can be handed to another POP without noticing.
    """

    def __init__(
        self, *, links: SessionLinks, metrics: PopMetrics, issue_resume: Callable[[], str], created_at: float
    ) -> None:
        self.begun = False
        self.connected = False
        self.can_move = False
        self._links = links
        self._metrics = metrics
        self._issue_resume = issue_resume
        self._created_at = created_at
        self._missed: deque[str] = deque(maxlen=MISSED_MESSAGES_MAX)
        self._lost_at = 0.0
        self._resume_at = math.inf
        self._life_at = -math.inf

    def ready(self, about: object) -> None:
        """It is up, and says what it is and can."""
        self.can_move = isinstance(about, dict) and about.get("handoff") is True

    def expect(self, now: float) -> None:
        """It is served by another POP, and is about to come here too."""
        self.begun = True
        self._lost_at = now

    def came(self, now: float) -> None:
        """A link counts from now on: the first one, or one that takes the place of another."""
        if not self.connected:
            self._metrics.sessions_active.inc()
        if self.begun:
            self._metrics.resumes.inc()
        else:
            self._metrics.setup_seconds.observe(now - self._created_at)
        self.begun = self.connected = True
        while self._missed:
            self.send(self._missed.popleft())

    def went(self, now: float) -> None:
        """No link counts any more."""
        if self.connected:
            self._metrics.sessions_active.dec()
            self._lost_at = now
        self.connected = False

    def gone(self, now: float) -> bool:
        """It was away for too long."""
        return self.begun and not self.connected and now - self._lost_at > RESUME_GRACE_S

    def send(self, message: str) -> None:
        """Send a control message, if there is a link."""
        link = self._links.link
        if link is not None:
            link.send_control(message)

    def keep(self, message: str) -> None:
        """Send a control message, over the next link if there is none now."""
        if self._links.link is not None:
            self.send(message)
        else:
            self._missed.append(message)

    def resume_token(self, now: float) -> str:
        """A fresh token for it."""
        self._resume_at = now + RESUME_REFRESH_S
        return self._issue_resume()

    def resume_due(self, now: float) -> bool:
        """It was given a token, and that was a while ago."""
        return self.connected and now > self._resume_at

    def sign_of_life_due(self, now: float) -> bool:
        """The origin should hear again that it is there."""
        return self.connected and now - self._life_at > SIGN_OF_LIFE_S

    def life_shown(self, now: float) -> None:
        """The origin heard that it is there."""
        self._life_at = now
