"""Make before break: a session moves from one POP or worker to another, and its viewer sees one face.

reserve an epoch → copy the state → GOAWAY with a one-use ticket → the target sends too, as a preview → the viewer can
decode it → compare-and-set → commit to the viewer, which only now fences the old epoch → close the old. Until the
compare-and-set the source is the only owner, and whatever goes wrong burns the epoch and leaves everything as it was.
From it on there is no way
back: the target is the owner, and what remains is done however long it takes.

`Handoff` knows no network: it says what to do next (`next_event`), is told what happened (`receive_…`) and when time
has passed (`handle_timer`).
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

from core.errors import LocalProtocolError
from core.limits import (
    HANDOFF_INVITED_S_MAX,
    HANDOFF_OVERLAP_S_MAX,
    HANDOFF_STATE_SIZE_BYTES_MAX,
    HANDOFF_STEP_S_MAX,
)

__all__ = ["TRANSITIONS", "Action", "Handoff", "HandoffState", "HandoffTrigger", "handoff_diagram"]


class HandoffState(StrEnum):
    """How far it is."""

    RESERVING = "reserving"
    COPYING = "copying"
    INVITED = "invited"
    """The viewer has the ticket; the target may send, nobody believes it yet."""
    PREVIEWED = "previewed"
    """The viewer can decode the target; the compare-and-set is under way."""
    COMMITTED = "committed"
    CLOSED = "closed"
    ABORTED = "aborted"


class HandoffTrigger(StrEnum):
    """What moves it on."""

    RESERVED = "reserved"
    COPIED = "copied"
    PREVIEW = "preview"
    MOVED = "moved"
    """The compare-and-set has succeeded."""
    TOLD = "told"
    """The viewer has fenced the old epoch, or is gone."""
    FAIL = "fail"


class Action(StrEnum):
    """What the caller shall do now."""

    RESERVE = "reserve"
    COPY = "copy"
    INVITE = "invite"
    """Send GOAWAY with a ticket for `epoch`, good once."""
    MOVE = "move"
    """Compare-and-set to `epoch` (`core.session.lease.commit`)."""
    COMMIT = "commit"
    """Tell the viewer that `epoch` counts from now on."""
    CLOSE_SOURCE = "close-source"
    CLOSE_TARGET = "close-target"
    """It was for nothing; the epoch is burnt."""


_S: Final = HandoffState
_T: Final = HandoffTrigger

TRANSITIONS: Final[dict[HandoffState, dict[HandoffTrigger, HandoffState]]] = {
    _S.RESERVING: {_T.RESERVED: _S.COPYING, _T.FAIL: _S.ABORTED},
    _S.COPYING: {_T.COPIED: _S.INVITED, _T.FAIL: _S.ABORTED},
    _S.INVITED: {_T.PREVIEW: _S.PREVIEWED, _T.FAIL: _S.ABORTED},
    _S.PREVIEWED: {_T.MOVED: _S.COMMITTED, _T.FAIL: _S.ABORTED},
    _S.COMMITTED: {_T.TOLD: _S.CLOSED},
    _S.CLOSED: {},
    _S.ABORTED: {},
}
"""What is not listed changes nothing: nothing aborts what is committed, nothing commits what was aborted."""

_ENTERED: Final[dict[HandoffState, tuple[Action, ...]]] = {
    _S.RESERVING: (Action.RESERVE,),
    _S.COPYING: (Action.COPY,),
    _S.INVITED: (Action.INVITE,),
    _S.PREVIEWED: (Action.MOVE,),
    _S.COMMITTED: (Action.COMMIT,),
    _S.CLOSED: (Action.CLOSE_SOURCE,),
    _S.ABORTED: (Action.CLOSE_TARGET,),
}

_PATIENCE_S: Final[dict[HandoffState, float]] = {
    _S.RESERVING: HANDOFF_STEP_S_MAX,
    _S.COPYING: HANDOFF_STEP_S_MAX,
    _S.INVITED: HANDOFF_INVITED_S_MAX,
    _S.COMMITTED: HANDOFF_OVERLAP_S_MAX,
}
"""PREVIEWED has none: what became of a compare-and-set is found out, never assumed."""


def handoff_diagram() -> str:
    """The table as a Mermaid state diagram; ARCHITECTURE.md shows exactly this text."""
    lines = ["stateDiagram-v2", "    [*] --> reserving"]
    lines += [
        f"    {state} --> {after}: {trigger}" for state, row in TRANSITIONS.items() for trigger, after in row.items()
    ]
    return "\n".join(lines)


class Handoff:
    """One move of one session.

    Args:
        source_epoch: what counts now.
        now: monotonic seconds.

    Attributes:
        state: how far it is.
        epoch: of the target; 0 before it is reserved.
        reason: why it was aborted.
    """

    def __init__(self, source_epoch: int, now: float) -> None:
        self.state = HandoffState.RESERVING
        self.epoch = 0
        self.reason = ""
        self._source_epoch = source_epoch
        self._since = now
        self._previewed_at: float | None = None
        self._closed_at: float | None = None
        self._ticket_spent = False
        self._payload = b""
        self._events: deque[Action] = deque(_ENTERED[self.state])

    def next_event(self) -> Action | None:
        """What to do next; None: wait."""
        return self._events.popleft() if self._events else None

    @property
    def payload(self) -> bytes:
        """The state to hand to the target, opaque."""
        return self._payload

    @property
    def overlap_s(self) -> float | None:
        """How long both sides have sent; None while it is not over."""
        if self._previewed_at is None or self._closed_at is None:
            return None
        return self._closed_at - self._previewed_at

    def _apply(self, trigger: HandoffTrigger, now: float) -> bool:
        after = TRANSITIONS[self.state].get(trigger)
        if after is None:
            return False
        self.state, self._since = after, now
        if after is HandoffState.PREVIEWED:
            self._previewed_at = now
        if after in (HandoffState.CLOSED, HandoffState.ABORTED):
            self._closed_at = now
        self._events.extend(_ENTERED[after])
        return True

    def receive_reserved(self, epoch: int, now: float) -> bool:
        """The store has reserved an epoch. Raises: LocalProtocolError: it is not beyond the source's."""
        if epoch <= self._source_epoch:
            raise LocalProtocolError(f"epoch {epoch} was reserved for a successor of {self._source_epoch}")
        if self.state is HandoffState.RESERVING:
            self.epoch = epoch
        return self._apply(HandoffTrigger.RESERVED, now)

    def receive_state(self, payload: bytes, now: float) -> bool:
        """The source's state has come and the target has taken it: sequence number, last frame, seeds, character."""
        if len(payload) > HANDOFF_STATE_SIZE_BYTES_MAX:
            self.abort("state-too-large", now)
            return False
        if self.state is HandoffState.COPYING:
            self._payload = payload
        return self._apply(HandoffTrigger.COPIED, now)

    def redeem(self, epoch: int) -> bool:
        """The ticket was presented at the target. Returns: True once, for the right epoch, while it is invited."""
        good = self.state is HandoffState.INVITED and epoch == self.epoch and not self._ticket_spent
        self._ticket_spent = self._ticket_spent or good
        return good

    def receive_preview(self, epoch: int, now: float) -> bool:
        """The viewer can decode a frame of this epoch. One without the ticket spent is nobody's."""
        if epoch != self.epoch or not self._ticket_spent:
            return False
        return self._apply(HandoffTrigger.PREVIEW, now)

    def receive_moved(self, moved: bool, now: float) -> bool:
        """The compare-and-set has an outcome. False: somebody else was quicker, or the session has ended."""
        if moved:
            return self._apply(HandoffTrigger.MOVED, now)
        return self.abort("superseded", now)

    def receive_told(self, now: float) -> bool:
        """The viewer has acknowledged the commit, or is gone."""
        return self._apply(HandoffTrigger.TOLD, now)

    def abort(self, reason: str, now: float) -> bool:
        """Leave everything as it was. Returns: False when it is too late for that."""
        if not self._apply(HandoffTrigger.FAIL, now):
            return False
        self.reason = reason
        self._payload = b""
        return True

    def get_timer(self) -> float | None:
        """When patience ends, monotonic seconds; None: there is nothing to wait for, or no end to it."""
        patience_s = _PATIENCE_S.get(self.state)
        if patience_s is None:
            return None
        # The overlap counts from the first preview, however long the compare-and-set took.
        began = self._previewed_at if self.state is HandoffState.COMMITTED else None
        return (self._since if began is None else began) + patience_s

    def handle_timer(self, now: float) -> None:
        """Time has passed."""
        deadline = self.get_timer()
        if deadline is None or now < deadline:
            return
        if self.state is HandoffState.COMMITTED:
            # The viewer fences by itself when it hears the target; the source must not be heard any longer.
            self._apply(HandoffTrigger.TOLD, now)
        else:
            self.abort(f"{self.state}-timeout", now)
