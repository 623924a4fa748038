"""One request, one lease."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RemoteProtocolError
from core.session.booking import Offer, book, booking_key, cancel, decode_booking
from core.session.lease import Denied, Lease, decode_lease, end
from tests.core.session.records import LOST, Records, losing, run

OFFERS = [Offer(slot=f"w.{number}", worker="w", life="1") for number in range(3)]


def held(records: Records) -> list[str]:
    keys = [key for key in records.entries if key.startswith("leases.")]
    return [key for key in keys if decode_lease(records.entries[key][0]).holder]


def test_requests_get_different_slots_and_keep_them() -> None:
    records = Records()
    leases = [run(records, book(request, OFFERS, 0)) for request in ("a", "b", "c")]
    assert [lease.resource for lease in leases if isinstance(lease, Lease)] == ["w.0", "w.1", "w.2"]
    assert run(records, book("b", OFFERS, 0)) == leases[1]
    assert run(records, book("d", OFFERS, 0)) == Denied("taken")
    assert run(records, book("e", [], 0)) == Denied("taken")


@given(st.sets(st.integers(0, 8)), st.permutations(range(3)))
def test_whatever_is_lost_on_the_way_one_slot_is_held(lost: set[int], order: list[int]) -> None:
    records = Records()
    run(records, book("a", OFFERS, 0), losing(lost))
    again = run(records, book("a", [OFFERS[number] for number in order], 0))
    assert isinstance(again, Lease)
    assert held(records) == [f"leases.{again.resource}"]


def test_two_brokers_with_one_request_hold_one_slot_between_them() -> None:
    records = Records()
    slow = book("a", OFFERS, 0)
    outcome = records.apply(next(slow))  # it has read that there is no booking
    quick = run(records, book("a", list(reversed(OFFERS)), 0))
    try:
        while True:
            outcome = records.apply(slow.send(outcome))
    except StopIteration as finished:
        assert finished.value == quick
    assert len(held(records)) == 1


def test_a_booking_whose_lease_is_over_gets_a_new_one() -> None:
    records = Records()
    first = run(records, book("a", OFFERS, 0))
    assert isinstance(first, Lease)
    run(records, end(first.resource, first.epoch, "expired"))
    second = run(records, book("a", OFFERS[1:], 0))
    assert isinstance(second, Lease) and second.resource == "w.1"


def test_a_broken_booking_is_written_anew() -> None:
    records = Records()
    records.entries[booking_key("a")] = (b"junk", 7)
    assert isinstance(run(records, book("a", OFFERS, 0)), Lease)
    assert decode_booking(records.entries[booking_key("a")][0]).slot == "w.0"


def test_a_store_that_does_not_answer() -> None:
    records = Records()
    assert run(records, book("a", OFFERS, 0), lambda *_: LOST) == Denied("unknown")
    assert not run(records, cancel("a"), lambda *_: LOST)


def test_bookings_are_forgotten_on_purpose() -> None:
    records = Records()
    run(records, book("a", OFFERS, 0))
    assert run(records, cancel("a")) and run(records, cancel("a"))
    assert booking_key("a") not in records.entries


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x80", bytes(5_000)])
def test_what_is_no_booking(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_booking(value)
