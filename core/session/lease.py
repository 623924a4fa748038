"""Leases with fencing: who may serve a resource now, by which epoch, and how others learn that it is over.

A *resource* is a slot of a worker (held by a session) or a session (held by a POP or a worker). Its record lives as
long as the resource and is changed by compare-and-set only, so that at most one lease of it is alive. Each lease has
an epoch beyond all before it; a reserved epoch that comes to nothing is burnt. What is received carries the epoch,
and a `Fence` refuses older ones: that, not anybody's clock, is what a holder cannot get around that was paused and
does not know it is dead.

Liveness hangs on the holder, not on the lease: `core.session.heart`. Records are msgpack; one that is none is
RemoteProtocolError `bad-record`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from core.errors import Dropped, LocalProtocolError, RemoteProtocolError
from core.limits import EPOCH_BEGIN_WALL_S, EPOCH_MAX, LEASE_RECORD_SIZE_BYTES_MAX, LEASE_TRIES_MAX
from core.packed import unpack
from core.session.steps import Create, Get, Refusal, Steps, Update

__all__ = [
    "Denied",
    "Fence",
    "Lease",
    "LeaseRecord",
    "acquire",
    "commit",
    "decode_lease",
    "encode_lease",
    "end",
    "first_epoch",
    "lease_key",
    "look",
    "reserve",
    "take_over",
]

Ending = Literal["", "unused", "released", "expired", "handed-off"]
_PREFIX: Final = "leases."


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What the store knows of a resource.

    Attributes:
        epoch: of the newest lease.
        reserved: the highest epoch handed out, used or burnt; at least `epoch`.
        holder: who holds it; empty: nobody.
        life: which life of the holder (`core.session.heart`); a holder that starts again holds nothing of before.
        request: the request that the lease answers; the same request gets the same lease.
        ended: how the last lease ended, while nobody holds it.
    """

    epoch: int
    reserved: int
    holder: str = ""
    life: str = ""
    request: str = ""
    ended: Ending = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A lease as its holder knows it."""

    resource: str
    epoch: int
    holder: str
    life: str
    request: str


@dataclass(frozen=True, slots=True)
class Denied:
    """No lease.

    Attributes:
        reason: `taken` (somebody holds it), `superseded` (a newer epoch is there), `ended` (nobody holds it any more),
            `unknown` (the store does not answer: it may have happened), `exhausted` (no epoch is left).
    """

    reason: Literal["taken", "superseded", "ended", "unknown", "exhausted"]


def lease_key(resource: str) -> str:
    """Where the record of a resource is."""
    return _PREFIX + resource


_UNUSED: Final = LeaseRecord(epoch=1, reserved=1, ended="unused")
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(LeaseRecord)


def encode_lease(record: LeaseRecord) -> bytes:
    """The record as the store keeps it. Raises: LocalProtocolError: names that are too long."""
    value = _encoder.encode(record)
    if len(value) > LEASE_RECORD_SIZE_BYTES_MAX:
        raise LocalProtocolError(f"a lease record of {len(value)} bytes; names are too long")
    return value


def decode_lease(value: bytes) -> LeaseRecord:
    """Raises: RemoteProtocolError: `bad-record`."""
    record = unpack(_decoder, value, "a lease record", code="bad-record", size_bytes_max=LEASE_RECORD_SIZE_BYTES_MAX)
    if not 0 < record.epoch <= record.reserved <= EPOCH_MAX or bool(record.holder) == bool(record.ended):
        raise RemoteProtocolError("bad-record", "a lease record that nobody can have written")
    return record


def first_epoch(revision: int, floor: int = 0) -> int:
    """The first epoch of a resource that the store has no record of.

    Revisions grow over everything that happens to a store, its loss included: a new one begins with the microseconds
    since 1970. So a store that has lost everything hands out nothing twice, whatever the brokers' clocks say.

    Args:
        revision: of the resource's first record.
        floor: the highest epoch of the resource that the caller has heard of.
    """
    begin = revision if revision <= EPOCH_MAX else revision // 1_000_000 - EPOCH_BEGIN_WALL_S
    return max(1, begin, floor + 1)


def acquire(resource: str, *, holder: str, life: str, request: str, floor: int = 0) -> Steps[Lease | Denied]:
    """Lease a resource nobody holds. The same request gets the same lease, however often it asks."""
    wanted = Lease(resource=resource, epoch=0, holder=holder, life=life, request=request)
    for _ in range(LEASE_TRIES_MAX):
        outcome = yield Get(lease_key(resource))
        if outcome.refusal is Refusal.LOST:
            continue
        if outcome.refusal is Refusal.NOT_FOUND:
            # An empty record first: its revision says where epochs begin.
            yield Create(lease_key(resource), encode_lease(_UNUSED))
            continue
        record = decode_lease(outcome.value)
        if record.holder:
            same = (record.holder, record.life, record.request) == (holder, life, request)
            return _with_epoch(wanted, record.epoch) if same else Denied("taken")
        epoch = first_epoch(outcome.revision, floor) if record == _UNUSED else max(record.reserved, floor) + 1
        if epoch > EPOCH_MAX:
            return Denied("exhausted")
        record = LeaseRecord(epoch=epoch, reserved=epoch, holder=holder, life=life, request=request)
        written = yield Update(lease_key(resource), encode_lease(record), outcome.revision)
        if written.refusal is None:
            return _with_epoch(wanted, epoch)
    return Denied("unknown")


def _with_epoch(lease: Lease, epoch: int) -> Lease:
    return Lease(resource=lease.resource, epoch=epoch, holder=lease.holder, life=lease.life, request=lease.request)


def end(resource: str, epoch: int, how: Literal["released", "expired", "handed-off"]) -> Steps[bool | Denied]:
    """End the lease of this epoch, if it is the one that is alive. Returns: whether this call ended it."""
    for _ in range(LEASE_TRIES_MAX):
        outcome = yield Get(lease_key(resource))
        if outcome.refusal is Refusal.LOST:
            continue
        if outcome.refusal is Refusal.NOT_FOUND:
            return False
        record = decode_lease(outcome.value)
        if not record.holder or record.epoch != epoch:
            return False
        free = LeaseRecord(epoch=record.epoch, reserved=record.reserved, ended=how)
        written = yield Update(lease_key(resource), encode_lease(free), outcome.revision)
        if written.refusal is None:
            return True
    return Denied("unknown")


def reserve(resource: str, lease: Lease) -> Steps[int | Denied]:
    """An epoch beyond all handed out so far, for whoever shall take the lease over. Nothing changes by it but that."""
    for _ in range(LEASE_TRIES_MAX):
        outcome = yield Get(lease_key(resource))
        if outcome.refusal is Refusal.LOST:
            continue
        if outcome.refusal is Refusal.NOT_FOUND:
            return Denied("ended")
        record = decode_lease(outcome.value)
        if record.epoch != lease.epoch or not record.holder:
            return Denied("superseded" if record.epoch > lease.epoch else "ended")
        if record.reserved >= EPOCH_MAX:
            return Denied("exhausted")
        epoch = record.reserved + 1
        grown = msgspec.structs.replace(record, reserved=epoch)
        written = yield Update(lease_key(resource), encode_lease(grown), outcome.revision)
        if written.refusal is None:
            return epoch
    return Denied("unknown")


def commit(resource: str, *, epoch: int, holder: str, life: str, request: str) -> Steps[Lease | Denied]:
    """Take a lease over with a reserved epoch: the one moment in which ownership moves.

    The one before is handed off by it. It is not asked, nor waited for: a viewer that resumes elsewhere with proof of
    possession moves ownership at once. Whoever comes later with a lower epoch is `superseded`.
    """
    for _ in range(LEASE_TRIES_MAX):
        outcome = yield Get(lease_key(resource))
        if outcome.refusal is Refusal.LOST:
            continue
        if outcome.refusal is Refusal.NOT_FOUND:
            return Denied("ended")
        record = decode_lease(outcome.value)
        if record.epoch == epoch and (record.holder, record.life) == (holder, life):
            return Lease(resource=resource, epoch=epoch, holder=holder, life=life, request=record.request)
        if record.epoch >= epoch or epoch > record.reserved:
            return Denied("superseded")
        if not record.holder:
            return Denied("ended")
        moved = msgspec.structs.replace(record, epoch=epoch, holder=holder, life=life, request=request)
        written = yield Update(lease_key(resource), encode_lease(moved), outcome.revision)
        if written.refusal is None:
            return Lease(resource=resource, epoch=epoch, holder=holder, life=life, request=request)
    return Denied("unknown")


def look(resource: str) -> Steps[LeaseRecord | Denied]:
    """What the store knows of a resource; `ended`: nothing."""
    for _ in range(LEASE_TRIES_MAX):
        outcome = yield Get(lease_key(resource))
        if outcome.refusal is Refusal.NOT_FOUND:
            return Denied("ended")
        if outcome.refusal is None:
            return decode_lease(outcome.value)
    return Denied("unknown")


def take_over(resource: str, *, holder: str, life: str, request: str, floor: int = 0) -> Steps[Lease | Denied]:
    """Own a resource from now on, whoever owns it: for a viewer that has proved that the session is its own.

    The owner so far is neither asked nor waited for; the epoch fences it. The same request gets the same lease.
    """
    for _ in range(LEASE_TRIES_MAX):
        record = yield from look(resource)
        if isinstance(record, Denied) and record.reason == "unknown":
            return record
        if isinstance(record, Denied) or not record.holder:
            result = yield from acquire(resource, holder=holder, life=life, request=request, floor=floor)
            if result == Denied("taken"):
                continue  # somebody was quicker; it is taken over from them
            return result
        current = Lease(
            resource=resource, epoch=record.epoch, holder=record.holder, life=record.life, request=record.request
        )
        if (record.holder, record.life, record.request) == (holder, life, request):
            return current
        epoch = yield from reserve(resource, current)
        if isinstance(epoch, Denied):
            if epoch.reason in ("superseded", "ended"):
                continue
            return epoch
        return (yield from commit(resource, epoch=epoch, holder=holder, life=life, request=request))
    return Denied("unknown")


class Fence:
    """What a receiver accepts: the committed epoch of one sender; newer ones as a preview, older ones not at all.

    Attributes:
        epoch, sender: what was committed last; 0 and empty before.
    """

    __slots__ = ("epoch", "sender")

    def __init__(self, epoch: int = 0, sender: str = "") -> None:
        self.epoch = epoch
        self.sender = sender

    def receive(self, epoch: int, sender: str) -> Literal["accepted", "preview"] | Dropped:
        """Judge one packet."""
        if epoch < self.epoch:
            return Dropped("old-epoch")
        if epoch > self.epoch:
            return "preview"
        return "accepted" if sender == self.sender else Dropped("foreign-sender")

    def commit(self, epoch: int, sender: str) -> bool:
        """Ownership has moved. Returns: False when it is old news, or an epoch that somebody else has committed."""
        if epoch == self.epoch:
            return sender == self.sender
        if not self.epoch < epoch <= EPOCH_MAX:
            return False
        self.epoch, self.sender = epoch, sender
        return True
