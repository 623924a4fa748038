"""Make before break: the way that works, and every way that does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from core.errors import LocalProtocolError
from core.limits import (
    HANDOFF_INVITED_S_MAX,
    HANDOFF_OVERLAP_S_MAX,
    HANDOFF_STATE_SIZE_BYTES_MAX,
    HANDOFF_STEP_S_MAX,
)
from core.session.handoff import TRANSITIONS, Action, Handoff, HandoffState, HandoffTrigger, handoff_diagram

S = HandoffState


def events(handoff: Handoff) -> list[Action]:
    found = []
    while (event := handoff.next_event()) is not None:
        found.append(event)
    return found


def invited(now: float = 0.0) -> Handoff:
    handoff = Handoff(7, now)
    assert handoff.receive_reserved(8, now) and handoff.receive_state(b"state", now)
    return handoff


def previewed() -> Handoff:
    handoff = invited()
    assert handoff.redeem(8) and handoff.receive_preview(8, 1.0)
    return handoff


def test_the_way_that_works() -> None:
    handoff = Handoff(7, 0.0)
    assert events(handoff) == [Action.RESERVE]
    assert handoff.receive_reserved(8, 0.1) and events(handoff) == [Action.COPY]
    assert handoff.receive_state(b"state", 0.2) and events(handoff) == [Action.INVITE]
    assert handoff.payload == b"state"
    assert not handoff.receive_preview(8, 0.3), "nobody has come with the ticket"
    assert handoff.redeem(8) and not handoff.redeem(8)
    assert handoff.receive_preview(8, 0.4) and events(handoff) == [Action.MOVE]
    assert handoff.overlap_s is None
    assert handoff.receive_moved(True, 0.45) and events(handoff) == [Action.COMMIT]
    assert handoff.receive_told(0.5) and events(handoff) == [Action.CLOSE_SOURCE]
    assert handoff.overlap_s == pytest.approx(0.1)
    assert (handoff.state, handoff.get_timer()) == (S.CLOSED, None)


def test_before_the_move_anything_may_end_it_and_the_source_stays() -> None:
    for handoff in (Handoff(7, 0.0), invited(), previewed()):
        events(handoff)
        assert handoff.abort("viewer-left", 2.0)
        assert events(handoff) == [Action.CLOSE_TARGET]
        assert (handoff.state, handoff.reason, handoff.payload) == (S.ABORTED, "viewer-left", b"")
        assert not handoff.receive_moved(True, 3.0)
        assert not handoff.redeem(8)
        assert events(handoff) == []


def test_after_the_move_nothing_ends_it() -> None:
    handoff = previewed()
    handoff.receive_moved(True, 1.0)
    assert not handoff.abort("too-late", 1.1)
    assert handoff.state is S.COMMITTED


def test_a_move_that_somebody_else_made_first() -> None:
    handoff = previewed()
    events(handoff)
    handoff.receive_moved(False, 1.1)
    assert (handoff.reason, events(handoff)) == ("superseded", [Action.CLOSE_TARGET])


def test_a_state_that_is_too_large_is_not_copied() -> None:
    handoff = Handoff(7, 0.0)
    handoff.receive_reserved(8, 0.0)
    assert not handoff.receive_state(bytes(HANDOFF_STATE_SIZE_BYTES_MAX + 1), 0.1)
    assert (handoff.state, handoff.reason) == (S.ABORTED, "state-too-large")
    fitting = Handoff(7, 0.0)
    fitting.receive_reserved(8, 0.0)
    assert fitting.receive_state(bytes(HANDOFF_STATE_SIZE_BYTES_MAX), 0.1)


@pytest.mark.parametrize("epoch", [7, 6, 0])
def test_an_epoch_that_is_not_beyond_is_our_own_fault(epoch: int) -> None:
    with pytest.raises(LocalProtocolError):
        Handoff(7, 0.0).receive_reserved(epoch, 0.0)


def test_foreign_tickets_and_previews() -> None:
    handoff = invited()
    assert not handoff.redeem(9) and not handoff.redeem(7)
    assert handoff.redeem(8)
    assert not handoff.receive_preview(9, 1.0)
    assert handoff.state is S.INVITED


@pytest.mark.parametrize(
    ("handoff", "patience_s", "reason"),
    [
        (Handoff(7, 0.0), HANDOFF_STEP_S_MAX, "reserving-timeout"),
        (invited(), HANDOFF_INVITED_S_MAX, "invited-timeout"),
    ],
)
def test_patience_ends(handoff: Handoff, patience_s: float, reason: str) -> None:
    assert handoff.get_timer() == patience_s
    handoff.handle_timer(patience_s - 0.01)
    assert handoff.state is not S.ABORTED
    handoff.handle_timer(patience_s)
    assert handoff.reason == reason


def test_what_became_of_the_move_is_never_assumed() -> None:
    handoff = previewed()
    assert handoff.get_timer() is None
    handoff.handle_timer(1e9)
    assert handoff.state is S.PREVIEWED


def test_a_viewer_that_says_nothing_does_not_keep_both_sides_sending() -> None:
    handoff = previewed()
    handoff.receive_moved(True, 1.1)
    events(handoff)
    assert handoff.get_timer() == pytest.approx(1.0 + HANDOFF_OVERLAP_S_MAX)  # from the first preview on
    handoff.handle_timer(1.1 + HANDOFF_OVERLAP_S_MAX)
    assert (handoff.state, events(handoff)) == (S.CLOSED, [Action.CLOSE_SOURCE])


def test_the_diagram_shows_all_of_it() -> None:
    assert handoff_diagram() in (Path(__file__).parents[3] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert handoff_diagram().count("-->") == 1 + sum(len(row) for row in TRANSITIONS.values())
    assert all(HandoffTrigger.FAIL not in TRANSITIONS[state] for state in (S.COMMITTED, S.CLOSED))


class AnyOrder(RuleBasedStateMachine):
    """Messages in any order, twice, late, wrong."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.handoff = Handoff(7, self.now)
        self.actions: list[Action] = []
        self.moved = False

    @rule(epoch=st.integers(8, 10))
    def reserved(self, epoch: int) -> None:
        self.handoff.receive_reserved(epoch, self.now)

    @rule(size=st.sampled_from([0, 100, HANDOFF_STATE_SIZE_BYTES_MAX, HANDOFF_STATE_SIZE_BYTES_MAX + 1]))
    def copied(self, size: int) -> None:
        self.handoff.receive_state(bytes(size), self.now)

    @rule(epoch=st.integers(7, 10))
    def ticket(self, epoch: int) -> None:
        self.handoff.redeem(epoch)

    @rule(epoch=st.integers(7, 10))
    def preview(self, epoch: int) -> None:
        self.handoff.receive_preview(epoch, self.now)

    @rule(moved=st.booleans())
    def move(self, moved: bool) -> None:
        if self.handoff.receive_moved(moved, self.now) and moved:
            self.moved = True

    @rule()
    def told(self) -> None:
        self.handoff.receive_told(self.now)

    @rule(reason=st.sampled_from(["viewer-left", "source-died"]))
    def fail(self, reason: str) -> None:
        self.handoff.abort(reason, self.now)

    @rule(seconds=st.floats(0.0, 20.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.handoff.handle_timer(self.now)

    @invariant()
    def one_owner(self) -> None:
        self.actions += events(self.handoff)
        assert len(self.actions) == len(set(self.actions)), "nothing is done twice"
        assert not {Action.CLOSE_SOURCE, Action.CLOSE_TARGET} <= set(self.actions), "one side stays"
        if Action.COMMIT in self.actions or Action.CLOSE_SOURCE in self.actions:
            assert self.moved, "the source is the owner until the compare-and-set"
        if self.moved:
            assert Action.CLOSE_TARGET not in self.actions


TestAnyOrder = AnyOrder.TestCase
