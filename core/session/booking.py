"""One request, one lease: which slot a request was given, kept in the store so that no broker gives it a second one.

The booking is written before the slot is leased, and confirmed after it. Whoever repeats the request, at this broker or
another, before or after a crash in between, finds it and asks for the same slot again. One that leads to no lease is
swept away (`sweep`); a broker that slept through that cannot confirm it, and gives the slot back.

Whatever removes or replaces a booking reads it first, makes sure then that the lease it leads to is over, and writes
only over what it has read: so a lease that was granted is found by its booking as long as it lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from core.errors import RemoteProtocolError
from core.limits import LEASE_RECORD_SIZE_BYTES_MAX, LEASE_TRIES_MAX
from core.packed import unpack
from core.session.lease import Denied, Lease, acquire, end, look
from core.session.steps import Create, Delete, Get, Outcome, Refusal, Steps, Update

__all__ = ["BookingRecord", "Offer", "book", "booking_key", "cancel", "decode_booking", "sweep"]

_PREFIX: Final = "bookings."


class BookingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Which slot a request was given, at which life of its worker, and which lease of it was confirmed (0: none
    yet)."""

    slot: str
    life: str
    confirmed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A slot that may be leased.

    Attributes:
        slot: the resource.
        worker, life: whose it is; the lease is held by that life of it.
        floor: the highest epoch of the slot that anybody has heard of.
    """

    slot: str
    worker: str
    life: str
    floor: int = 0


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(BookingRecord)


def booking_key(request: str) -> str:
    """Where the booking of a request is."""
    return _PREFIX + request


def decode_booking(value: bytes) -> BookingRecord:
    """Raises: RemoteProtocolError: `bad-record`."""
    return unpack(_decoder, value, "a booking", code="bad-record", size_bytes_max=LEASE_RECORD_SIZE_BYTES_MAX)


def book(request: str, offers: Sequence[Offer]) -> Steps[Lease | Denied]:
    """Lease one of the offered slots, the first that nobody holds. The same request gets the same lease.

    Args:
        offers: in the order of preference; a slot that was booked earlier is asked for again only if it is still
        offered.
    """
    left = list(offers)
    for _ in range(LEASE_TRIES_MAX + len(left)):
        if not left:
            return Denied("taken")
        read = yield Get(booking_key(request))
        if read.refusal is Refusal.LOST:
            continue
        offer = _booked(read, left)
        if offer is None:
            if read.refusal is None and not (yield from _give_up(request, read)):
                continue
            offer = left[0]
            record = _encoder.encode(BookingRecord(slot=offer.slot, life=offer.life))
            key = booking_key(request)
            fresh = read.refusal is Refusal.NOT_FOUND
            written = yield Create(key, record) if fresh else Update(key, record, read.revision)
            if written.refusal is not None:
                continue  # somebody else has booked for the same request, or nobody knows: look again
        result = yield from acquire(
            offer.slot, holder=offer.worker, life=offer.life, request=request, floor=offer.floor
        )
        if isinstance(result, Lease):
            confirmed = yield from _confirm(request, result)
            if isinstance(confirmed, Denied):
                return confirmed  # not ended: it may be somebody's by now, and who asks again finds it
            if confirmed:
                return result
            yield from end(result.resource, result.epoch, "released")
        elif result.reason == "unknown":
            return result
        else:
            left.remove(offer)
    return Denied("unknown")


def _confirm(request: str, lease: Lease) -> Steps[bool | Denied]:
    """Whether the booking still is what the lease was taken for; now nobody sweeps it while the lease lives."""
    for _ in range(LEASE_TRIES_MAX):
        read = yield Get(booking_key(request))
        if read.refusal is Refusal.LOST:
            continue
        if read.refusal is Refusal.NOT_FOUND:
            return False
        record = decode_booking(read.value)
        if (record.slot, record.life) != (lease.resource, lease.life):
            return False
        if record.confirmed == lease.epoch:
            return True
        # Written for every new lease, so that who has seen the one before end cannot overwrite this booking.
        value = _encoder.encode(msgspec.structs.replace(record, confirmed=lease.epoch))
        written = yield Update(booking_key(request), value, read.revision)
        if written.refusal is None:
            return True
    return Denied("unknown")


def _give_up(request: str, read: Outcome) -> Steps[bool]:
    """End what a booking has led to that is not offered any more. Returns: whether the booking may be overwritten."""
    found = yield from _led_to(request, read)
    if found is None or isinstance(found, Denied):
        return found is None
    ended = yield from end(*found, "released")
    return not isinstance(ended, Denied)


def _booked(read: Outcome, offers: Sequence[Offer]) -> Offer | None:
    """What was booked, if that is still offered."""
    if read.refusal is not None:
        return None
    try:
        record = decode_booking(read.value)
    except RemoteProtocolError:
        return None  # it is written anew
    return next((offer for offer in offers if (offer.slot, offer.life) == (record.slot, record.life)), None)


def sweep(request: str) -> Steps[bool]:
    """Forget a booking that leads to no lease. Returns: whether this call has.

    The booking is read before the lease: if that is taken meanwhile, the confirmation is refused, or this deletion.
    """
    read = yield Get(booking_key(request))
    if read.refusal is not None or not (yield from _leads_nowhere(request, read)):
        return False
    removed = yield Delete(booking_key(request), read.revision)
    return removed.refusal is None


def cancel(request: str) -> Steps[bool]:
    """Forget a booking whose lease has ended. Returns: whether there is none any more.

    One whose lease is alive, or may be, is kept: whoever repeats the request would be given a second slot beside it.
    """
    for _ in range(LEASE_TRIES_MAX):
        read = yield Get(booking_key(request))
        if read.refusal is Refusal.LOST:
            continue
        if read.refusal is Refusal.NOT_FOUND:
            return True
        if not (yield from _leads_nowhere(request, read)):
            return False
        removed = yield Delete(booking_key(request), read.revision)
        if removed.refusal in (None, Refusal.NOT_FOUND):
            return True
    return False


def _leads_nowhere(request: str, read: Outcome) -> Steps[bool]:
    """Whether the lease is over, for certain, that a booking leads to."""
    return (yield from _led_to(request, read)) is None


def _led_to(request: str, read: Outcome) -> Steps[tuple[str, int] | Denied | None]:
    """Slot and epoch of the live lease that a booking leads to; None: of none, for certain; Denied: nobody can say."""
    try:
        record = decode_booking(read.value)
    except RemoteProtocolError:
        return None
    lease = yield from look(record.slot)
    if isinstance(lease, Denied):
        return lease if lease.reason == "unknown" else None
    return (record.slot, lease.epoch) if lease.holder and lease.request == request else None
