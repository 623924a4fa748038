"""The face's state machine: one table, one writer.

The edge moves the face by itself (a reaction must not wait for the origin), and every such move is reversible: the
origin alone ends a turn. `TRANSITIONS` is the table, `FaceMachine` applies it and remembers when it changed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from core.session.state import FaceState

__all__ = ["TRANSITIONS", "TURN_TRIGGERS", "FaceMachine", "Trigger", "state_diagram"]


class Trigger(StrEnum):
    """Everything that can change what the face does."""

    USER_STARTED = "user started"
    """The ear hears the user begin or go on."""
    USER_PAUSED = "user paused"
    """The ear believes that the user has finished; reversible."""
    USER_TYPED = "user typed"
    TURN_LISTENING = "turn listening"
    """The origin says that the user's turn goes on."""
    TURN_THINKING = "turn thinking"
    """The origin has ended the user's turn."""
    TURN_IDLE = "turn idle"
    """The origin has nothing to say."""
    VOICE_BEGAN = "voice began"
    """The character's first packet of an utterance leaves now."""
    VOICE_ENDED = "voice ended"
    """The last packet of the last utterance has left."""
    VOICE_CUT = "voice cut"
    """Barge-in: the edge has silenced the character."""
    QUIET = "quiet"
    """Nothing has happened for longer than the state may last."""


_S: Final = FaceState
_T: Final = Trigger

TRANSITIONS: Final[dict[FaceState, dict[Trigger, FaceState]]] = {
    _S.IDLE: {
        _T.USER_STARTED: _S.LISTENING,
        _T.USER_TYPED: _S.THINKING,
        _T.TURN_LISTENING: _S.LISTENING,
        _T.TURN_THINKING: _S.THINKING,
        _T.VOICE_BEGAN: _S.SPEAKING,
    },
    _S.LISTENING: {
        _T.USER_PAUSED: _S.THINKING,
        _T.USER_TYPED: _S.THINKING,
        _T.TURN_THINKING: _S.THINKING,
        _T.TURN_IDLE: _S.IDLE,
        _T.VOICE_BEGAN: _S.SPEAKING,
        _T.QUIET: _S.IDLE,
    },
    _S.THINKING: {
        _T.USER_STARTED: _S.LISTENING,
        _T.TURN_LISTENING: _S.LISTENING,
        _T.TURN_IDLE: _S.IDLE,
        _T.VOICE_BEGAN: _S.SPEAKING,
        _T.QUIET: _S.IDLE,
    },
    _S.SPEAKING: {
        _T.VOICE_ENDED: _S.IDLE,
        _T.VOICE_CUT: _S.LISTENING,
        _T.USER_TYPED: _S.THINKING,
    },
}
"""What is not listed leaves the state as it is."""


TURN_TRIGGERS: Final[dict[str, Trigger]] = {
    "listening": _T.TURN_LISTENING,
    "thinking": _T.TURN_THINKING,
    "idle": _T.TURN_IDLE,
}
"""What the origin's word on the turn means for the face; that it speaks, the face knows by its voice."""


class FaceMachine:
    """One session's face state.

    Attributes:
        state: what the face does now.
        since: when it began, monotonic seconds.
    """

    __slots__ = ("since", "state")

    def __init__(self, now: float) -> None:
        self.state = FaceState.IDLE
        self.since = now

    def handle(self, trigger: Trigger, now: float) -> bool:
        """Apply one trigger. Returns: True when the state changed."""
        target = TRANSITIONS[self.state].get(trigger)
        if target is None or target is self.state:
            return False
        self.state = target
        self.since = now
        return True


def state_diagram() -> str:
    """The table as a Mermaid state diagram; ARCHITECTURE.md shows exactly this text."""
    lines = ["stateDiagram-v2", "    [*] --> idle"]
    for state, row in TRANSITIONS.items():
        targets: dict[FaceState, list[str]] = {}
        for trigger, target in row.items():
            targets.setdefault(target, []).append(trigger.value)
        lines += [
            f"    {state.name.lower()} --> {target.name.lower()}: {', '.join(triggers)}"
            for target, triggers in targets.items()
        ]
    return "\n".join(lines)
