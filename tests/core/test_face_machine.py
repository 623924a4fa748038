"""The face's states: the table is whole, reversible where it must be, and shown as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.session.machine import TRANSITIONS, FaceMachine, Trigger, state_diagram
from core.session.state import FaceState


def _after(*triggers: Trigger) -> FaceState:
    face = FaceMachine(0.0)
    for trigger in triggers:
        face.handle(trigger, 1.0)
    return face.state


def test_every_state_has_a_row_and_a_way_back_to_idle() -> None:
    assert set(TRANSITIONS) == set(FaceState)
    for state in FaceState:
        reachable = {state}
        while True:
            more = reachable | {target for source in reachable for target in TRANSITIONS[source].values()}
            if more == reachable:
                break
            reachable = more
        assert FaceState.IDLE in reachable


def test_a_turn() -> None:
    assert _after(Trigger.USER_STARTED) is FaceState.LISTENING
    assert _after(Trigger.USER_STARTED, Trigger.USER_PAUSED) is FaceState.THINKING
    assert _after(Trigger.USER_STARTED, Trigger.USER_PAUSED, Trigger.VOICE_BEGAN) is FaceState.SPEAKING
    assert _after(Trigger.USER_TYPED, Trigger.VOICE_BEGAN, Trigger.VOICE_ENDED) is FaceState.IDLE


def test_the_edge_reaction_is_reversible() -> None:
    assert _after(Trigger.USER_STARTED, Trigger.USER_PAUSED, Trigger.USER_STARTED) is FaceState.LISTENING
    assert _after(Trigger.USER_STARTED, Trigger.USER_PAUSED, Trigger.TURN_LISTENING) is FaceState.LISTENING


def test_only_the_ear_or_a_request_interrupts_speech() -> None:
    speaking = (Trigger.VOICE_BEGAN,)
    for trigger in (Trigger.USER_STARTED, Trigger.USER_PAUSED, Trigger.TURN_THINKING, Trigger.QUIET):
        assert _after(*speaking, trigger) is FaceState.SPEAKING
    assert _after(*speaking, Trigger.VOICE_CUT) is FaceState.LISTENING


def test_it_remembers_when_it_changed() -> None:
    face = FaceMachine(1.0)
    assert not face.handle(Trigger.QUIET, 2.0)
    assert face.since == 1.0
    assert face.handle(Trigger.USER_STARTED, 3.0)
    assert face.since == 3.0


@pytest.mark.parametrize("document", ["ARCHITECTURE.md"])
def test_the_diagram_in_the_documentation_is_the_table(document: str) -> None:
    root = Path(__file__).parents[2]
    assert state_diagram() in (root / document).read_text(encoding="utf-8")
