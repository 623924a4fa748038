"""Which of a session's links is the one: links race when a viewer changes networks, and the last to connect wins.

Every link has an end of its own (`SessionLink`), so that what a link says too late, after another has taken its place,
is known to come from it. The session hears only the link that counts, through the same `LinkEvents`, and of it only as
much as a viewer can mean.
"""

from __future__ import annotations

from collections.abc import Callable

from core.limits import CONTROL_MESSAGES_PER_S_MAX, MICROPHONE_PACKETS_PER_S_MAX, SESSION_LINKS_MAX
from core.session.allowance import Allowance, Verdict
from edge.transports.link import LinkEvents, MicrophoneUnit, ViewerLink

__all__ = ["SessionLink", "SessionLinks"]


class SessionLink:
    """The session's end of one link: its `LinkEvents`.

    Attributes:
        link: what events come from; None until it was attached.
    """

    __slots__ = ("_connected_at", "_control", "_links", "_microphone", "link", "on_failed")

    def __init__(self, links: SessionLinks, on_failed: Callable[[], None]) -> None:
        self.link: ViewerLink | None = None
        self.on_failed = on_failed
        """Called when it goes without ever having counted."""
        self._links = links
        self._connected_at: float | None = None
        self._microphone = Allowance(rate_hz=MICROPHONE_PACKETS_PER_S_MAX, burst=2 * MICROPHONE_PACKETS_PER_S_MAX)
        self._control = Allowance(rate_hz=CONTROL_MESSAGES_PER_S_MAX, burst=2 * CONTROL_MESSAGES_PER_S_MAX)

    def attach(self, link: ViewerLink) -> None:
        """The link that events will come from; it is closed at once when nobody waits for it any more."""
        self.link = link
        self._links.attached(self)
        if self._connected_at is not None:
            self._links.connected(self, self._connected_at)

    def abandon(self, reason: str, now: float) -> None:
        """There will be no link: signalling failed."""
        self.on_closed(reason, now)

    def on_connected(self, now: float) -> None:
        """See LinkEvents."""
        if self.link is None:
            self._connected_at = now  # it counts as soon as there is something to send over
        else:
            self._links.connected(self, now)

    def on_microphone(self, unit: MicrophoneUnit, now: float) -> None:
        """See LinkEvents."""
        if self._links.current is self and self._allowed(self._microphone, now):
            self._links.events.on_microphone(unit, now)

    def on_control(self, data: str | bytes, now: float) -> None:
        """See LinkEvents."""
        if self._links.current is self and self._allowed(self._control, now):
            self._links.events.on_control(data, now)

    def on_closed(self, reason: str, now: float) -> None:
        """See LinkEvents."""
        self._links.closed(self, reason, now)

    def _allowed(self, allowance: Allowance, now: float) -> bool:
        verdict = allowance.ask(now)
        if verdict is Verdict.TAKE:
            return True
        self._links.flooded(verdict)
        return False


class SessionLinks:
    """All links of one session.

    Args:
        events: the session, which hears of the link that counts, and when there is none (any more).
        close: closes a link, soon.
        fail: ends the session with a reason.
        on_dropped: counts what is dropped, by reason.

    Attributes:
        current: the link that counts; None before the first one is connected, and after it was lost.
    """

    def __init__(
        self,
        *,
        events: LinkEvents,
        close: Callable[[ViewerLink, str], None],
        fail: Callable[[str], None],
        on_dropped: Callable[[str], None],
    ) -> None:
        self.events = events
        self.current: SessionLink | None = None
        self._close = close
        self._fail = fail
        self._on_dropped = on_dropped
        self._open: list[SessionLink] = []
        self._begun = False
        self._closed_for = ""

    def open(self, on_failed: Callable[[], None] = lambda: None) -> SessionLink:
        """The end of a link that is about to be made. `on_failed`: it went without ever having counted."""
        waiting = [end for end in self._open if end is not self.current]
        if len(self._open) >= SESSION_LINKS_MAX and waiting:
            self._drop(waiting[0], "replaced")
            waiting[0].on_failed()
        end = SessionLink(self, on_failed)
        self._open.append(end)
        return end

    @property
    def link(self) -> ViewerLink | None:
        """Where things are sent; None while no link counts."""
        return self.current.link if self.current is not None else None

    def attached(self, end: SessionLink) -> None:
        """For SessionLink."""
        if end not in self._open and end.link is not None:
            self._close(end.link, self._closed_for or "replaced")

    def connected(self, end: SessionLink, now: float) -> None:
        """For SessionLink: this link counts from now on."""
        if end not in self._open or self.current is end:
            return
        former, self.current = self.current, end
        self._begun = True
        if former is not None:
            self._drop(former, "replaced")
        self.events.on_connected(now)

    def closed(self, end: SessionLink, reason: str, now: float) -> None:
        """For SessionLink: it is gone. The session hears of it when it was the one, or the only hope of a first one."""
        if end not in self._open:
            return
        self._open.remove(end)
        if self.current is end:
            self.current = None
            self.events.on_closed(reason, now)
            return
        end.on_failed()
        if not self._begun and not self._open:
            self.events.on_closed(reason, now)

    def flooded(self, verdict: Verdict) -> None:
        """For SessionLink: more came than a viewer can mean."""
        self._on_dropped("flood")
        if verdict is Verdict.FLOOD:
            self._fail("flood")

    def close_all(self, reason: str) -> None:
        """The session is over."""
        self._closed_for = reason
        self.current = None
        for end in tuple(self._open):
            self._drop(end, reason)

    def _drop(self, end: SessionLink, reason: str) -> None:
        self._open.remove(end)
        if end.link is not None:
            self._close(end.link, reason)
