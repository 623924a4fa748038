"""Which of a session's links is the one: links race when a viewer changes networks, and the last to connect wins.

Every link has an end of its own (`SessionLink`), so that what a link says too late, after another has taken its place,
is known to come from it. The session hears only the link that counts, through the same `LinkEvents`.
"""

from __future__ import annotations

from collections.abc import Callable

from edge.transports.link import LinkEvents, MicrophoneUnit, ViewerLink

__all__ = ["SessionLink", "SessionLinks"]


class SessionLink:
    """The session's end of one link: its `LinkEvents`.

    Attributes:
        link: what events come from; None until it was attached.
    """

    __slots__ = ("_links", "link")

    def __init__(self, links: SessionLinks) -> None:
        self._links = links
        self.link: ViewerLink | None = None

    def attach(self, link: ViewerLink) -> None:
        """The link that events will come from; it is closed at once when nobody waits for it any more."""
        self.link = link
        self._links.attached(self)

    def abandon(self, reason: str, now: float) -> None:
        """There will be no link: signalling failed."""
        self.on_closed(reason, now)

    def on_connected(self, now: float) -> None:
        """See LinkEvents."""
        self._links.connected(self, now)

    def on_microphone(self, unit: MicrophoneUnit, now: float) -> None:
        """See LinkEvents."""
        if self._links.current is self:
            self._links.events.on_microphone(unit, now)

    def on_control(self, data: str | bytes, now: float) -> None:
        """See LinkEvents."""
        if self._links.current is self:
            self._links.events.on_control(data, now)

    def on_closed(self, reason: str, now: float) -> None:
        """See LinkEvents."""
        self._links.closed(self, reason, now)


class SessionLinks:
    """All links of one session.

    Args:
        events: the session, which hears of the link that counts, and that there is none any more.
        close: closes a link, soon.

    Attributes:
        current: the link that counts; None before the first one is connected.
    """

    def __init__(self, *, events: LinkEvents, close: Callable[[ViewerLink, str], None]) -> None:
        self.events = events
        self.current: SessionLink | None = None
        self._close = close
        self._open: list[SessionLink] = []
        self._closed_for = ""

    def open(self) -> SessionLink:
        """The end of a link that is about to be made."""
        link = SessionLink(self)
        self._open.append(link)
        return link

    @property
    def link(self) -> ViewerLink | None:
        """Where things are sent: the link that counts, before there is one the newest that was attached."""
        if self.current is not None:
            return self.current.link
        return next((end.link for end in reversed(self._open) if end.link is not None), None)

    def attached(self, end: SessionLink) -> None:
        """For SessionLink."""
        if end not in self._open and end.link is not None:
            self._close(end.link, self._closed_for or "closed")

    def connected(self, end: SessionLink, now: float) -> None:
        """For SessionLink: this link counts from now on."""
        if end not in self._open or self.current is end:
            return
        former, self.current = self.current, end
        if former is not None:
            self._drop(former, "moved")
        self.events.on_connected(now)

    def closed(self, end: SessionLink, reason: str, now: float) -> None:
        """For SessionLink: it is gone. The session hears of it when there is no other."""
        if end not in self._open:
            return
        self._open.remove(end)
        if self.current is end:
            self.current = None
        if self.current is None and not self._open:
            self.events.on_closed(reason, now)

    def close_all(self, reason: str) -> None:
        """The session is over."""
        self._closed_for = reason
        for end in tuple(self._open):
            self._drop(end, reason)

    def _drop(self, end: SessionLink, reason: str) -> None:
        self._open.remove(end)
        if end.link is not None:
            self._close(end.link, reason)
