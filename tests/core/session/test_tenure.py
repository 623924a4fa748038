"""Whatever POPs say in whatever order: one of them has the session, and a newer ticket's POP takes it over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.errors import LocalProtocolError
from core.session.tenure import EVERY_EPOCH, Refused, Tenure, Won, first_tenure


def test_the_first_that_opens_has_it() -> None:
    tenure = first_tenure(("a", "b", "c"))
    assert [tenure.epoch_of(number) for number in range(3)] == [1, 2, 3]
    won = tenure.open("b", 2)
    assert isinstance(won, Won) and won.before == 0 and won.tenure.epoch == 2
    assert won.tenure.open("b", 2) == Won(won.tenure, 2), "it may say so again"
    for pop, epoch in (("a", 1), ("c", 3), ("b", 1), ("b", 4), ("b", 0)):
        assert won.tenure.open(pop, epoch) == Refused()


def test_an_epoch_is_for_the_pop_that_it_was_reserved_for() -> None:
    tenure = first_tenure(("a", "b"))
    assert tenure.open("b", 1) == Refused()
    assert tenure.open("a", 3) == Refused()
    assert tenure.open("a", 0) == Refused()


def test_new_tickets_fence_the_old_ones() -> None:
    opened = first_tenure(("a", "b")).open("a", 1)
    assert isinstance(opened, Won)
    renewed = opened.tenure.offer(("c", "a"))
    assert renewed.open("a", 1) == Won(renewed, 1), "until somebody opens, the owner is the owner"
    assert renewed.open("b", 2) == Refused(), "an old ticket opens nothing any more"
    moved = renewed.open("c", 3)
    assert isinstance(moved, Won) and (moved.before, moved.tenure.epoch) == (1, 3)
    assert moved.tenure.open("a", 1) == Refused()
    assert moved.tenure.open("a", 4) == Refused()


def test_burnt_epochs_belong_to_nobody() -> None:
    tenure = first_tenure(("a",)).burn()
    assert tenure.reserved == 2
    assert tenure.open("a", 2) == Refused()
    assert isinstance(tenure.open("a", 1), Won)
    assert tenure.offer(("b",)).epoch_of(0) == 3


def test_epochs_end() -> None:
    worn = Tenure(reserved=EVERY_EPOCH - 1)
    with pytest.raises(LocalProtocolError):
        worn.offer(("a",))
    with pytest.raises(LocalProtocolError):
        worn.burn()


class Story(RuleBasedStateMachine):
    """Tickets, and POPs that open with any of them, old ones too."""

    def __init__(self) -> None:
        super().__init__()
        self.tenure = first_tenure(("a", "b"))
        self.tickets: list[tuple[str, int]] = [("a", 1), ("b", 2)]
        self.newest = {1, 2}
        self.owners: list[int] = [0]

    @rule(pops=st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
    def renew(self, pops: list[str]) -> None:
        self.tenure = self.tenure.offer(pops)
        fresh = [(pop, self.tenure.epoch_of(number)) for number, pop in enumerate(pops)]
        assert not {epoch for _, epoch in fresh} & {epoch for _, epoch in self.tickets}, "no epoch is given twice"
        self.tickets += fresh
        self.newest = {epoch for _, epoch in fresh}

    @rule()
    def restart(self) -> None:
        self.tenure = self.tenure.burn()

    @precondition(lambda self: bool(self.tickets))
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        pop, epoch = data.draw(st.sampled_from(self.tickets))
        verdict = self.tenure.open(pop, epoch)
        if isinstance(verdict, Won):
            assert epoch == self.owners[-1] or (epoch in self.newest and self.owners[-1] not in self.newest)
            assert verdict.before == self.owners[-1]
            self.tenure = verdict.tenure
            if epoch != self.owners[-1]:
                self.owners.append(epoch)

    @invariant()
    def ownership_only_goes_up(self) -> None:
        assert self.owners == sorted(set(self.owners))
        assert self.tenure.epoch == self.owners[-1] <= self.tenure.reserved


TestStory = Story.TestCase


@given(st.integers(-5, 10), st.sampled_from("abz"))
def test_any_claim_is_judged(epoch: int, pop: str) -> None:
    verdict = first_tenure(("a", "b")).open(pop, epoch)
    assert isinstance(verdict, Won) == ((pop, epoch) in {("a", 1), ("b", 2)})
