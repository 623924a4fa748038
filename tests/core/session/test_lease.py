"""Leases: one alive per resource, epochs that only grow, and what is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from core.errors import Dropped, LocalProtocolError, RemoteProtocolError
from core.limits import EPOCH_BEGIN_WALL_S, EPOCH_MAX, LEASE_RECORD_SIZE_BYTES_MAX, LEASE_TRIES_MAX
from core.session.lease import (
    Denied,
    Fence,
    Lease,
    LeaseRecord,
    acquire,
    commit,
    decode_lease,
    encode_lease,
    end,
    first_epoch,
    lease_key,
    reserve,
    take_over,
)
from core.session.steps import Create, Steps, Update
from tests.core.session.records import LOST, Records, losing, run


def take(holder: str = "a", request: str = "r", life: str = "1", floor: int = 0) -> Steps[Lease | Denied]:
    return acquire("s", holder=holder, life=life, request=request, floor=floor)


def leased(records: Records, **wanted: str) -> Lease:
    lease = run(records, take(**wanted))  # type: ignore[arg-type]
    assert isinstance(lease, Lease)
    return lease


def stored(records: Records) -> LeaseRecord:
    return decode_lease(records.entries[lease_key("s")][0])


def test_one_holder_at_a_time_and_epochs_grow() -> None:
    records = Records()
    first = leased(records)
    assert first.epoch == 1
    assert run(records, take("b", "other")) == Denied("taken")
    assert run(records, end("s", first.epoch, "released")) is True
    assert run(records, end("s", first.epoch, "released")) is False
    second = leased(records, holder="b", request="other")
    assert second.epoch == first.epoch + 1
    assert run(records, end("s", first.epoch, "expired")) is False, "who comes late ends nobody else's lease"
    assert stored(records).holder == "b"


def test_the_same_request_gets_the_same_lease() -> None:
    records = Records()
    assert leased(records) == leased(records)
    assert run(records, take(life="2")) == Denied("taken"), "another life of the same holder is somebody else"


@pytest.mark.parametrize("lost", [{0}, {1}, {0, 1}, {1, 2}, {0, 2, 4}])
def test_answers_that_are_lost_change_nothing(lost: set[int]) -> None:
    records = Records()
    lease = run(records, take(), losing(lost))
    assert isinstance(lease, Lease)
    assert lease.epoch == stored(records).epoch
    assert run(records, end("s", lease.epoch, "released"), losing(lost)) in (True, False)
    assert stored(records).ended == "released"


def test_a_store_that_never_answers_is_said_to_be_unknown() -> None:
    records = Records()
    lease = leased(records)
    asked = [
        take("b", "x"),
        end("s", lease.epoch, "released"),
        reserve("s", lease),
        commit("s", epoch=lease.epoch + 1, holder="b", life="1", request="x"),
    ]
    for steps in asked:
        rounds = 0

        def between(*_: object) -> object:
            nonlocal rounds
            rounds += 1
            return LOST

        assert run(records, steps, between) == Denied("unknown")  # type: ignore[arg-type]
        assert rounds == LEASE_TRIES_MAX


def wiped(records: Records) -> Records:
    """Everything is gone but the order of revisions."""
    records.entries.clear()
    return records


def test_a_wiped_store_hands_out_no_epoch_twice() -> None:
    records = Records()
    before = leased(records)
    for _ in range(5):
        before = run(records, take_over("s", holder=f"h{_}", life="1", request="x"))  # type: ignore[assignment]
    later = run(wiped(records), take("b", "x"))
    assert isinstance(later, Lease) and later.epoch > before.epoch
    warned = run(wiped(records), take("b", "x", floor=5_000))
    assert isinstance(warned, Lease) and warned.epoch == 5_001


def test_first_epochs() -> None:
    assert first_epoch(7) == 7
    assert first_epoch((EPOCH_BEGIN_WALL_S + 7) * 1_000_000) == 7
    assert first_epoch(0) == 1
    assert first_epoch(0, floor=9) == 10


def test_epochs_run_out_clearly() -> None:
    records = Records()
    last = LeaseRecord(epoch=EPOCH_MAX, reserved=EPOCH_MAX, ended="released")
    records.apply(Create(lease_key("s"), encode_lease(last)))
    assert run(records, take()) == Denied("exhausted")
    held = msgspec.structs.replace(last, holder="a", life="1", request="r", ended="")
    records.apply(Update(lease_key("s"), encode_lease(held), records.revision))
    assert run(records, reserve("s", leased(records))) == Denied("exhausted")


def test_ownership_moves_by_a_reserved_epoch_only() -> None:
    records = Records()
    old = leased(records)
    assert run(records, commit("s", epoch=old.epoch + 1, holder="b", life="1", request="x")) == Denied("superseded")
    epoch = run(records, reserve("s", old))
    assert epoch == old.epoch + 1
    assert stored(records).holder == "a", "a reservation changes nothing"
    moved = run(records, commit("s", epoch=epoch, holder="b", life="1", request="x"))
    assert isinstance(moved, Lease) and moved.epoch == epoch
    assert run(records, commit("s", epoch=epoch, holder="b", life="1", request="x")) == moved, "twice is once"
    assert run(records, commit("s", epoch=epoch, holder="c", life="1", request="y")) == Denied("superseded")
    assert run(records, reserve("s", old)) == Denied("superseded")
    assert run(records, end("s", old.epoch, "released")) is False


def test_a_burnt_epoch_stays_burnt() -> None:
    records = Records()
    old = leased(records)
    burnt = run(records, reserve("s", old))
    newer = run(records, reserve("s", old))
    assert isinstance(burnt, int) and newer == burnt + 1
    run(records, end("s", old.epoch, "released"))
    assert run(records, commit("s", epoch=burnt, holder="b", life="1", request="x")) == Denied("ended")
    assert leased(records, holder="c", request="z").epoch == newer + 1


def test_of_two_tickets_for_two_places_one_counts() -> None:
    records = Records()
    old = leased(records)
    one, two = run(records, reserve("s", old)), run(records, reserve("s", old))
    assert isinstance(one, int) and isinstance(two, int)
    assert isinstance(run(records, commit("s", epoch=two, holder="b", life="1", request="x")), Lease)
    assert run(records, commit("s", epoch=one, holder="c", life="1", request="y")) == Denied("superseded")


@pytest.mark.parametrize("lost", [set[int](), {0}, {1}, {2}, {3}, {1, 3}, {0, 2, 4}])
def test_a_viewer_that_resumes_elsewhere_is_there_at_once(lost: set[int]) -> None:
    records = Records()
    old = leased(records)
    new = take_over("s", holder="b", life="1", request="x")
    moved = run(records, new, losing(lost))
    assert isinstance(moved, Lease) and moved.epoch > old.epoch
    again = run(records, take_over("s", holder="b", life="1", request="x"))
    assert again == moved
    assert run(records, end("s", moved.epoch, "released")) is True
    assert isinstance(run(records, take_over("s", holder="c", life="1", request="y")), Lease)


def test_nothing_moves_where_nothing_is() -> None:
    records = Records()
    lease = Lease(resource="s", epoch=1, holder="a", life="1", request="r")
    assert run(records, reserve("s", lease)) == Denied("ended")
    assert run(records, commit("s", epoch=2, holder="b", life="1", request="x")) == Denied("ended")
    assert run(records, end("s", 1, "released")) is False


@given(st.binary(max_size=64))
def test_any_bytes_are_a_record_or_a_clear_error(value: bytes) -> None:
    try:
        record = decode_lease(value)
    except RemoteProtocolError as error:
        assert error.code == "bad-record"
    else:
        assert decode_lease(encode_lease(record)) == record


@pytest.mark.parametrize(
    "record",
    [
        {"epoch": 0, "reserved": 0, "holder": "a"},
        {"epoch": 5, "reserved": 4, "holder": "a"},
        {"epoch": 1, "reserved": EPOCH_MAX + 1, "holder": "a"},
        {"epoch": 1, "reserved": 1},
        {"epoch": 1, "reserved": 1, "holder": "a", "ended": "released"},
        {"epoch": 1, "reserved": 1, "ended": "vanished"},
        {"epoch": 1.5, "reserved": 2, "holder": "a"},
        {"reserved": 2, "holder": "a"},
        {"epoch": 1, "reserved": 1, "holder": "a", "life": "x" * LEASE_RECORD_SIZE_BYTES_MAX},
    ],
)
def test_records_that_nobody_can_have_written(record: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_lease(msgspec.msgpack.encode(record))
    assert caught.value.code == "bad-record"


def test_names_that_are_too_long_are_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        encode_lease(LeaseRecord(epoch=1, reserved=1, holder="x" * LEASE_RECORD_SIZE_BYTES_MAX))


def test_a_fence_takes_one_sender_of_one_epoch() -> None:
    fence = Fence(5, "a")
    assert fence.receive(5, "a") == "accepted"
    assert fence.receive(5, "b") == Dropped("foreign-sender")
    assert fence.receive(4, "a") == Dropped("old-epoch")
    assert fence.receive(6, "b") == "preview"
    assert fence.commit(6, "b")
    assert fence.receive(5, "a") == Dropped("old-epoch")
    assert fence.receive(6, "b") == "accepted"
    assert not fence.commit(6, "c"), "an epoch is one sender's"
    assert fence.commit(6, "b")
    assert not fence.commit(5, "a")
    assert not fence.commit(EPOCH_MAX + 1, "liar"), "nobody can shut the fence for ever"
    assert (fence.epoch, fence.sender) == (6, "b")


class Racing(RuleBasedStateMachine):
    """Any order of acquisitions, endings, reservations and commits by anybody, with lost answers."""

    leases = Bundle("leases")
    epochs = Bundle("epochs")

    def __init__(self) -> None:
        super().__init__()
        self.records = Records()
        self.handed_out: dict[int, tuple[str, str]] = {}
        self.newest = 0

    def note(self, lease: Lease) -> None:
        owner = (lease.holder, lease.request)
        assert self.handed_out.setdefault(lease.epoch, owner) == owner, "one epoch, one owner"

    @rule(target=leases, holder=st.sampled_from("abc"), request=st.sampled_from("xyz"), lost=st.sets(st.integers(0, 3)))
    def acquire(self, holder: str, request: str, lost: set[int]) -> Lease | Denied:
        result = run(self.records, take(holder, request), losing(lost))
        if isinstance(result, Lease):
            self.note(result)
        return result

    @rule(lease=leases, lost=st.sets(st.integers(0, 3)))
    def release(self, lease: Lease | Denied, lost: set[int]) -> None:
        if isinstance(lease, Lease):
            run(self.records, end("s", lease.epoch, "released"), losing(lost))

    @rule(target=epochs, lease=leases, lost=st.sets(st.integers(0, 3)))
    def reserve(self, lease: Lease | Denied, lost: set[int]) -> int:
        if not isinstance(lease, Lease):
            return 0
        result = run(self.records, reserve("s", lease), losing(lost))
        return result if isinstance(result, int) else 0

    @rule(target=leases, epoch=epochs, holder=st.sampled_from("abc"), lost=st.sets(st.integers(0, 3)))
    def commit(self, epoch: int, holder: str, lost: set[int]) -> Lease | Denied:
        if not epoch:
            return Denied("ended")
        steps = commit("s", epoch=epoch, holder=holder, life="1", request=f"move-{holder}")
        result = run(self.records, steps, losing(lost))
        if isinstance(result, Lease):
            self.note(result)
        return result

    @invariant()
    def epochs_only_grow(self) -> None:
        entry = self.records.entries.get(lease_key("s"))
        if entry is not None:
            record = decode_lease(entry[0])
            assert record.epoch >= self.newest
            self.newest = record.epoch


TestRacing = Racing.TestCase
