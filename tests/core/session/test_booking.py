"""One request, one lease."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RemoteProtocolError
from core.limits import LEASE_TRIES_MAX
from core.session.booking import Offer, book, booking_key, cancel, decode_booking, sweep
from core.session.lease import Denied, Lease, decode_lease, end
from tests.core.session.records import LOST, Records, losing, run

OFFERS = [Offer(slot=f"w.{number}", worker="w", life="1") for number in range(3)]


def held(records: Records) -> list[str]:
    keys = [key for key in records.entries if key.startswith("leases.")]
    return [key for key in keys if decode_lease(records.entries[key][0]).holder]


def test_requests_get_different_slots_and_keep_them() -> None:
    records = Records()
    leases = [run(records, book(request, OFFERS)) for request in ("a", "b", "c")]
    assert [lease.resource for lease in leases if isinstance(lease, Lease)] == ["w.0", "w.1", "w.2"]
    assert run(records, book("b", OFFERS)) == leases[1]
    assert run(records, book("d", OFFERS)) == Denied("taken")
    assert run(records, book("e", [])) == Denied("taken")


@given(st.sets(st.integers(0, 8)), st.permutations(range(3)))
def test_whatever_is_lost_on_the_way_one_slot_is_held(lost: set[int], order: list[int]) -> None:
    records = Records()
    run(records, book("a", OFFERS), losing(lost))
    again = run(records, book("a", [OFFERS[number] for number in order]))
    assert isinstance(again, Lease)
    assert held(records) == [f"leases.{again.resource}"]


def test_two_brokers_with_one_request_hold_one_slot_between_them() -> None:
    records = Records()
    slow = book("a", OFFERS)
    outcome = records.apply(next(slow))  # it has read that there is no booking
    quick = run(records, book("a", list(reversed(OFFERS))))
    try:
        while True:
            outcome = records.apply(slow.send(outcome))
    except StopIteration as finished:
        assert finished.value == quick
    assert len(held(records)) == 1


def test_a_booking_whose_lease_is_over_gets_a_new_one() -> None:
    records = Records()
    first = run(records, book("a", OFFERS))
    assert isinstance(first, Lease)
    run(records, end(first.resource, first.epoch, "expired"))
    second = run(records, book("a", OFFERS[1:]))
    assert isinstance(second, Lease) and second.resource == "w.1"


def test_a_slot_that_is_not_offered_any_more_is_given_back() -> None:
    records = Records()
    first = run(records, book("a", OFFERS))
    second = run(records, book("a", OFFERS[1:]))
    assert isinstance(first, Lease) and isinstance(second, Lease)
    assert held(records) == [f"leases.{second.resource}"] == ["leases.w.1"]


def test_a_booking_that_leads_nowhere_is_swept_away_and_cannot_be_confirmed() -> None:
    records = Records()
    slow = book("a", OFFERS)
    outcome = records.apply(next(slow))
    outcome = records.apply(slow.send(outcome))  # the booking is written, nothing is leased yet
    assert run(records, sweep("a"))
    try:
        while True:
            outcome = records.apply(slow.send(outcome))
    except StopIteration as finished:
        assert isinstance(finished.value, Lease)
    assert held(records) == ["leases.w.0"]
    assert decode_booking(records.entries[booking_key("a")][0]).confirmed
    assert not run(records, sweep("a")), "what leads to a lease stays"
    assert not run(records, sweep("none"))
    assert not run(records, sweep("a"), losing({1, 2, 3, 4, 5, 6, 7, 8}))
    records.entries[booking_key("a")] = (b"junk", 99)
    assert run(records, sweep("a"))


def test_who_has_seen_the_lease_before_end_cannot_book_another_slot_beside_the_new_one() -> None:
    records = Records()
    first = run(records, book("a", OFFERS))
    assert isinstance(first, Lease)
    run(records, end(first.resource, first.epoch, "expired"))
    other = book("a", OFFERS[1:])
    outcome = records.apply(next(other))
    outcome = records.apply(other.send(outcome))  # it has read that nobody holds the slot
    again = run(records, book("a", OFFERS))
    assert isinstance(again, Lease) and again.resource == "w.0" and again.epoch > first.epoch
    try:
        while True:
            outcome = records.apply(other.send(outcome))
    except StopIteration as finished:
        assert isinstance(finished.value, Lease)
    assert len(held(records)) == 1


def test_a_broken_booking_is_written_anew() -> None:
    records = Records()
    records.entries[booking_key("a")] = (b"junk", 7)
    assert isinstance(run(records, book("a", OFFERS)), Lease)
    assert decode_booking(records.entries[booking_key("a")][0]).slot == "w.0"


def test_a_store_that_does_not_answer() -> None:
    records = Records()
    assert run(records, book("a", OFFERS), lambda *_: LOST) == Denied("unknown")
    assert not run(records, cancel("a"), lambda *_: LOST)


def test_bookings_are_forgotten_on_purpose() -> None:
    records = Records()
    lease = run(records, book("a", OFFERS))
    assert isinstance(lease, Lease)
    run(records, end(lease.resource, lease.epoch, "released"))
    assert run(records, cancel("a")) and run(records, cancel("a"))
    assert booking_key("a") not in records.entries
    records.entries[booking_key("a")] = (b"junk", 99)
    assert run(records, cancel("a"))


def test_a_booking_is_kept_when_nobody_knows_whether_its_lease_has_ended() -> None:
    # The store is away while a slot is given back, and there again when the booking is to be forgotten.
    records = Records()
    lease = run(records, book("a", OFFERS))
    assert isinstance(lease, Lease)
    ending = end(lease.resource, lease.epoch, "released")
    assert run(records, ending, losing(set(range(LEASE_TRIES_MAX)))) == Denied("unknown")
    assert not run(records, cancel("a"))
    assert run(records, book("a", list(reversed(OFFERS)))) == lease, "a repeat finds what was granted"
    assert held(records) == ["leases.w.0"]
    assert not run(records, cancel("a"), losing(set(range(1, 1 + LEASE_TRIES_MAX)))), (
        "nor when the lease cannot be read"
    )


def test_a_booking_that_a_repeat_has_led_to_a_new_lease_is_not_forgotten() -> None:
    records = Records()
    first = run(records, book("a", OFFERS))
    assert isinstance(first, Lease)
    run(records, end(first.resource, first.epoch, "released"))
    slow = cancel("a")
    outcome = records.apply(next(slow))
    outcome = records.apply(slow.send(outcome))  # it has read that the lease is over
    again = run(records, book("a", OFFERS))
    try:
        while True:
            outcome = records.apply(slow.send(outcome))
    except StopIteration as finished:
        assert finished.value is False
    assert run(records, book("a", list(reversed(OFFERS)))) == again
    assert held(records) == ["leases.w.0"]


def test_a_repeat_that_cannot_be_confirmed_does_not_end_what_was_granted() -> None:
    records = Records()
    first = run(records, book("a", OFFERS))
    # The booking and the lease are read, and then nothing more of the booking.
    assert run(records, book("a", OFFERS), losing(set(range(2, 2 + LEASE_TRIES_MAX)))) == Denied("unknown")
    assert held(records) == ["leases.w.0"]
    assert run(records, book("a", OFFERS)) == first


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x80", bytes(5_000)])
def test_what_is_no_booking(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_booking(value)
