"""The store's side of giving a conversation to a worker: its slot and its session are leased, by the broker's rules.

Two resources: the slot (`{worker}.{number}`, so that no two origins give it away) and the conversation
(`dialogue.{session}`), whose epoch is the generation of what is said in it. A session's name is never used again, so
the second record goes with the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.session.booking import Offer, book, cancel
from core.session.lease import Denied, LeaseRecord, commit, end, lease_key, look, reserve, take_over
from core.session.lease import Lease as SlotLease
from core.session.steps import Delete, Get, Steps

__all__ = [
    "Granted",
    "SlotLease",
    "dialogue",
    "forget",
    "free",
    "grant",
    "grant_next",
    "hand_over",
    "look_at",
    "ordinal_of",
    "request_of",
]


@dataclass(frozen=True, slots=True)
class Granted:
    """A slot for a session.

    Attributes:
        generation: epoch of the conversation's lease; 0: it is not taken over yet.
    """

    slot: SlotLease
    generation: int


def dialogue(session_id: str) -> str:
    """The resource that is the conversation of a session."""
    return f"dialogue.{session_id}"


def request_of(session_id: str, ordinal: int) -> str:
    """The request for a session's first slot, second slot, and so on."""
    return f"{session_id}/{ordinal}"


def ordinal_of(request: str) -> int:
    """The number in a request; 0 for what is none."""
    number = request.rpartition("/")[2]
    return int(number) if number.isdecimal() else 0


def grant(session_id: str, ordinal: int, offers: Sequence[Offer]) -> Steps[Granted | Denied]:
    """Lease a slot, and the conversation to the slot's worker, whoever has it now."""
    request = request_of(session_id, ordinal)
    slot = yield from book(request, offers)
    if isinstance(slot, Denied):
        return slot
    lease = yield from take_over(dialogue(session_id), holder=slot.holder, life=slot.life, request=request)
    if isinstance(lease, Denied):
        yield from free(slot.resource, slot.epoch, request)
        return lease
    return Granted(slot, lease.epoch)


def grant_next(session_id: str, ordinal: int, offers: Sequence[Offer]) -> Steps[Granted | Denied]:
    """Lease a slot only: the conversation moves there later (`hand_over`)."""
    slot = yield from book(request_of(session_id, ordinal), offers)
    return slot if isinstance(slot, Denied) else Granted(slot, 0)


def hand_over(session_id: str, generation: int, slot: SlotLease) -> Steps[int | Denied]:
    """Move the conversation from the worker that has it by this generation. Returns: the new generation."""
    record = yield from look(dialogue(session_id))
    if isinstance(record, Denied):
        return record
    if record.epoch != generation or not record.holder:
        return Denied("superseded")
    current = SlotLease(
        resource=dialogue(session_id),
        epoch=record.epoch,
        holder=record.holder,
        life=record.life,
        request=record.request,
    )
    epoch = yield from reserve(dialogue(session_id), current)
    if isinstance(epoch, Denied):
        return epoch
    moved = yield from commit(
        dialogue(session_id), epoch=epoch, holder=slot.holder, life=slot.life, request=slot.request
    )
    return moved if isinstance(moved, Denied) else moved.epoch


def free(slot: str, epoch: int, request: str) -> Steps[None]:
    """Nobody is served on this slot any more. epoch 0: whichever lease answers this request.

    When the store does not say that the lease has ended, its booking is kept too; the audit of the worker ends both.
    """
    if not epoch:
        record = yield from look(slot)
        epoch = record.epoch if isinstance(record, LeaseRecord) and record.request == request else 0
    if epoch:
        yield from end(slot, epoch, "released")
    yield from cancel(request)


def forget(session_id: str) -> Steps[None]:
    """The session is over for good."""
    read = yield Get(lease_key(dialogue(session_id)))
    if read.refusal is None:
        yield Delete(lease_key(dialogue(session_id)), read.revision)


def look_at(session_id: str) -> Steps[LeaseRecord | None]:
    """What the store knows of a conversation's owner; None: nothing."""
    record = yield from look(dialogue(session_id))
    return record if isinstance(record, LeaseRecord) else None
