"""A slot and its conversation, over a store that goes away in between."""

from __future__ import annotations

from core.limits import LEASE_TRIES_MAX
from core.session.booking import Offer, booking_key
from origin.workers import leases
from origin.workers.leases import Granted
from tests.core.session.records import Records, losing, run

OFFERS = [Offer(slot=f"w{number}.0", worker=f"w{number}", life="1") for number in range(2)]


def test_a_slot_that_may_not_have_been_given_back_is_found_by_whoever_asks_again() -> None:
    records = Records()
    granted = run(records, leases.grant("s", 1, OFFERS))
    assert isinstance(granted, Granted)
    slot = granted.slot
    freeing = leases.free(slot.resource, slot.epoch, slot.request)
    run(records, freeing, losing(set(range(LEASE_TRIES_MAX))))  # the store answers again when the booking's turn comes
    again = run(records, leases.grant("s", 1, list(reversed(OFFERS))))
    assert isinstance(again, Granted) and again.slot == slot
    run(records, leases.free(slot.resource, 0, slot.request))
    assert booking_key(slot.request) not in records.entries
