"""Slots of workers as they come, serve, drain and go."""

from __future__ import annotations

import msgspec

from core.session.pool import PoolPolicy, SlotState
from origin.workers.fleet import Fleet
from origin.workers.messages import PROTOCOL, Hosted, Status

WARM = Status(name="w", life="1", version="1", protocol=PROTOCOL, state="warm", slots=2, pid=7, machine="here")


def fleet(*statuses: Status) -> Fleet:
    one = Fleet(PoolPolicy())
    for status in statuses:
        one.update(status, 0.0)
    return one


def test_a_worker_that_warms_up_is_not_offered_before_it_is_warm() -> None:
    one = fleet(msgspec.structs.replace(WARM, state="warming"))
    assert one.take() is None
    one.update(WARM, 1.0)
    offer = one.take()
    assert offer is not None and (offer.slot, offer.worker, offer.life) == ("w.0", "w", "1")
    one.give_back(offer.slot)
    assert one.pool.count(SlotState.WARM) == 2


def test_sessions_of_before_a_restart_are_known_by_what_workers_say() -> None:
    hosted = Hosted(session="s", character="mira", slot="w.1", request="s/1", generation=3, opened=True)
    one = fleet(msgspec.structs.replace(WARM, sessions=(hosted,)))
    one.adopt(hosted)
    assert one.pool.state("w.1") is SlotState.LEASED
    offer = one.take()
    assert offer is not None and offer.slot == "w.0"
    assert one.take() is None


def test_a_new_life_holds_nothing_of_the_one_before() -> None:
    one = fleet(WARM)
    one.take()
    former = one.update(msgspec.structs.replace(WARM, life="2"), 2.0)
    assert former is not None and former.status.life == "1"
    assert one.pool.count(SlotState.WARM) == 2 and len(one.pool) == 2


def test_what_is_counted_is_added_once_whoever_counts() -> None:
    one = fleet()

    def says(**counts: int) -> dict[str, int]:
        return heard(msgspec.structs.replace(WARM, counts=counts))

    def heard(status: Status) -> dict[str, int]:
        added = one.counted(status)
        one.update(status, 0.0)
        return added

    assert says(a=5) == {}, "an origin of before has been told"
    assert says(a=7, b=1) == {"a": 2, "b": 1}
    assert says(a=7, b=1) == {}
    assert heard(msgspec.structs.replace(WARM, life="2", counts={"a": 8, "b": 1})) == {"a": 1}, "another life"
    assert heard(msgspec.structs.replace(WARM, pid=8, counts={"a": 2})) == {"a": 2}, "another process"


def test_another_protocol_is_shown_and_never_used() -> None:
    one = fleet(msgspec.structs.replace(WARM, protocol=PROTOCOL + 1, version="9"))
    assert one.take() is None and one.running() == []
    assert [(row["state"], row["version"]) for row in one.report(0.0)] == [("other-version", "9")]
    one.update(msgspec.structs.replace(WARM, name="v", version="0.9"), 0.0)
    offer = one.take()
    assert offer is not None and offer.worker == "v", "another version of the same protocol is fine"


def test_a_draining_worker_is_not_offered() -> None:
    one = fleet(WARM)
    assert one.drain("w") and not one.drain("nobody")
    assert one.take() is None and one.running() == []
    assert one.lose("w") is not None and one.lose("w") is None
    assert len(one.pool) == 0


def test_a_session_moves_to_another_worker() -> None:
    one = fleet(WARM, msgspec.structs.replace(WARM, name="v", life="9"))
    offer = one.take(but="w")
    assert offer is not None and offer.worker == "v"
    assert one.pool.count(SlotState.WARM) == 3, "those that were passed over are warm again"
