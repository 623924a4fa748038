"""A holder's proof of life, on which all its leases hang, and the reaper that notices when it stops.

The holder writes its record every HEARTBEAT_S by compare-and-set; one write renews all its leases. It counts the time
it may act from the moment it *sent* the last write that was acknowledged, and stops LEASE_SKEW_S early:
`Heart.alive`. The reaper counts from the moment it *saw* the record change, and marks it dead LEASE_GRACE_S late,
again by compare-and-set: a holder that is late and one that is dead are told apart by who wins that write. Only then
the leases of that life are ended. Both use monotonic clocks only; no wall clock decides anything.

A holder that was marked dead, or whose time ran out, never lives again: it begins a new life that holds nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.errors import RemoteProtocolError
from core.limits import (
    HEARTBEAT_S,
    LEASE_GRACE_S,
    LEASE_RECORD_SIZE_BYTES_MAX,
    LEASE_SKEW_S,
    LEASE_TRIES_MAX,
    LEASE_TTL_S,
)
from core.session.lease import LeaseRecord, end
from core.session.steps import Create, Get, Refusal, Steps, Update

__all__ = ["Heart", "HeartRecord", "Reaper", "declare_dead", "decode_heart", "encode_heart", "heart_key"]

_PREFIX: Final = "hearts."


class HeartRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of a holder.

    Attributes:
        life: random name of this life of it.
        beats: how many there were; only so that the record changes.
        dead: somebody has seen it silent for too long.
        draining: it takes nothing new.
        load: 0 … 1, for placement.
    """

    life: str
    beats: int
    dead: bool = False
    draining: bool = False
    load: float = 0.0


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(HeartRecord)


def heart_key(holder: str) -> str:
    """Where the record of a holder is."""
    return _PREFIX + holder


def encode_heart(record: HeartRecord) -> bytes:
    """The record as the store keeps it."""
    return _encoder.encode(record)


def decode_heart(value: bytes) -> HeartRecord:
    """Raises: RemoteProtocolError: `bad-record`."""
    if len(value) > LEASE_RECORD_SIZE_BYTES_MAX:
        raise RemoteProtocolError("bad-record", f"a heartbeat of {len(value)} bytes")
    try:
        record = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError("bad-record", f"no heartbeat ({error})") from None
    if not record.life or record.beats < 0 or not 0.0 <= record.load <= 1.0:
        raise RemoteProtocolError("bad-record", "a heartbeat that nobody can have sent")
    return record


class Heart:
    """One life of a holder, in the holder's own process.

    Args:
        holder: its name.
        life: random and fresh, from the caller's entropy.

    Attributes:
        stopped: it never beats again.
        draining, load: what the next beat tells.
    """

    def __init__(self, holder: str, life: str) -> None:
        self.holder = holder
        self.life = life
        self.stopped = False
        self.draining = False
        self.load = 0.0
        self._beats = 0
        self._tried = False
        self._revision = 0
        self._until: float | None = None
        self._next = 0.0

    def alive(self, now: float) -> bool:
        """Whether what it holds may be acted on. Once False after a first beat, for ever False."""
        if self._until is not None and now >= self._until:
            self.stopped = True
        return not self.stopped and self._until is not None

    def get_timer(self) -> float | None:
        """When to beat next, monotonic seconds; None: never again."""
        return None if self.stopped else self._next

    def expires(self) -> float | None:
        """When this life is over unless a beat gets through; None before the first."""
        return self._until

    def begin(self, now: float) -> Steps[bool]:
        """Take the name over from an earlier life of this holder. Returns: whether this life has begun.

        A life that may have been heard of goes on from its own record only. Whoever has missed that since, because the
        store was wiped, may have given it up already: then it is `stopped`, and another one begins.
        """
        outcome = yield Get(heart_key(self.holder))
        if outcome.refusal is Refusal.LOST:
            return False
        if self._tried and not (outcome.refusal is None and self._is_mine(outcome.value)):
            self.stopped = True
            return False
        self._beats += 1
        value = encode_heart(HeartRecord(life=self.life, beats=self._beats))
        if outcome.refusal is None and self._is_buried(outcome.value):
            return False
        self._tried = True
        if outcome.refusal is Refusal.NOT_FOUND:
            written = yield Create(heart_key(self.holder), value)
        else:
            # Also over an earlier attempt of this life whose answer was lost: others count from then, we from now.
            written = yield Update(heart_key(self.holder), value, outcome.revision)
        if written.refusal is None:
            self._acknowledged(written.revision, now)
        return written.refusal is None

    def beat(self, now: float) -> Steps[bool]:
        """Prove that it lives. `now`: when this is sent. Returns: whether the proof was acknowledged."""
        self._next = now + HEARTBEAT_S
        if not self.alive(now):
            return False
        self._beats += 1
        record = HeartRecord(life=self.life, beats=self._beats, draining=self.draining, load=self.load)
        written = yield Update(heart_key(self.holder), encode_heart(record), self._revision)
        if written.refusal in (Refusal.CONFLICT, Refusal.NOT_FOUND):
            return (yield from self._find_out(now))
        if written.refusal is None:
            self._acknowledged(written.revision, now)
        return written.refusal is None

    def _find_out(self, now: float) -> Steps[bool]:
        """Somebody has written: this very heart, by a beat whose answer was lost; or whoever has declared it dead."""
        read = yield Get(heart_key(self.holder))
        if read.refusal is None:
            if self._is_mine(read.value):
                # Written before now: the time it grants is not known, so none is taken. The next beat goes on from it.
                self._revision = read.revision
                self._next = now
            else:
                self.stopped = True
        elif read.refusal is Refusal.NOT_FOUND:
            # The store was wiped, and others know as little. A new life will tell them.
            self.stopped = True
        return False

    def _is_mine(self, value: bytes) -> bool:
        try:
            record = decode_heart(value)
        except RemoteProtocolError:
            return False
        return record.life == self.life and not record.dead

    def _is_buried(self, value: bytes) -> bool:
        try:
            record = decode_heart(value)
        except RemoteProtocolError:
            return False  # what nobody can read holds nothing
        if record.life == self.life and record.dead:
            self.stopped = True
        return self.stopped

    def _acknowledged(self, revision: int, sent_at: float) -> None:
        self._revision = revision
        self._until = sent_at + LEASE_TTL_S - LEASE_SKEW_S
        self._next = sent_at + HEARTBEAT_S

    def end(self) -> Steps[bool]:
        """Leave on purpose: what it holds can be taken at once."""
        self.stopped = True
        record = HeartRecord(life=self.life, beats=self._beats + 1, dead=True)
        written = yield Update(heart_key(self.holder), encode_heart(record), self._revision)
        return written.refusal is None


def declare_dead(holder: str, life: str) -> Steps[bool]:
    """Mark a life dead that ended before the caller's eyes: its process is gone. Returns: whether it is over now.

    Whoever only hears nothing of it waits, with a `Reaper`.
    """
    for _ in range(LEASE_TRIES_MAX):
        read = yield Get(heart_key(holder))
        if read.refusal is Refusal.LOST:
            continue
        if read.refusal is Refusal.NOT_FOUND:
            return True
        record = decode_heart(read.value)
        if record.life != life or record.dead:
            return True
        dead = msgspec.structs.replace(record, dead=True)
        written = yield Update(heart_key(holder), encode_heart(dead), read.revision)
        if written.refusal is None:
            return True
    return False


class Reaper:
    """Watches holders and says which leases are over. One per broker; several do no harm.

    Attributes:
        bad_records: heartbeats that were none.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}
        self._lives: dict[str, str] = {}
        self._absent: dict[str, float] = {}
        self.bad_records = 0

    def observe(self, holder: str, value: bytes | None, revision: int, now: float) -> None:
        """A record as a watch or a read has shown it. value None: deleted."""
        before = self._seen.get(holder)
        if before is not None and revision < before[0]:
            return  # old news
        if value is None:
            self._seen[holder] = (revision, now)
            self._lives.pop(holder, None)
            return
        try:
            record = decode_heart(value)
        except RemoteProtocolError:
            self.bad_records += 1
            return
        if before is None or revision > before[0]:
            self._seen[holder] = (revision, now)
        self._absent.pop(holder, None)  # when it is missed again, that is counted anew
        if record.dead:
            self._lives.pop(holder, None)
        else:
            self._lives[holder] = record.life

    def forget(self) -> None:
        """The store may have been wiped, or this broker was away: every silence is counted anew."""
        self._seen.clear()
        self._lives.clear()
        self._absent.clear()

    def suspects(self, now: float) -> list[str]:
        """Holders that have been silent for too long."""
        limit = LEASE_TTL_S + LEASE_GRACE_S
        return [holder for holder in self._lives if now - self._seen[holder][1] >= limit]

    def bury(self, holder: str, now: float) -> Steps[bool]:
        """Mark a suspect dead, unless it has beaten meanwhile. Returns: whether it is dead."""
        read = yield Get(heart_key(holder))
        if read.refusal is Refusal.LOST:
            return False
        if read.refusal is Refusal.NOT_FOUND:
            self._lives.pop(holder, None)
            return False
        self.observe(holder, read.value, read.revision, now)
        if holder not in self._lives:
            return True
        if holder not in self.suspects(now):
            return False
        dead = msgspec.structs.replace(decode_heart(read.value), dead=True)
        written = yield Update(heart_key(holder), encode_heart(dead), read.revision)
        if written.refusal is None:
            self.observe(holder, encode_heart(dead), written.revision, now)
        return written.refusal is None

    def may_be_over(self, record: LeaseRecord) -> bool:
        """Whether a lease is held by a life that has ended, as far as this reaper has heard; `reap` makes sure."""
        return bool(record.holder) and self._lives.get(record.holder) != record.life

    def reap(self, resource: str, record: LeaseRecord, now: float) -> Steps[bool]:
        """End a lease whose holder's life is over. Returns: whether this call ended it.

        The holder is read, not remembered: what has been heard of it may be older than the lease. A life that is over
        stays over, so nothing can change between that reading and the end. A holder without a record may live and not
        know yet that the store was wiped; it is waited for as for a silent one.
        """
        if not record.holder:
            return False
        read = yield Get(heart_key(record.holder))
        if read.refusal is Refusal.NOT_FOUND:
            if now - self._absent.setdefault(record.holder, now) < LEASE_TTL_S + LEASE_GRACE_S:
                return False
        elif read.refusal is not None:
            return False
        else:
            self._absent.pop(record.holder, None)
            try:
                heart = decode_heart(read.value)
            except RemoteProtocolError:
                return False  # it may be alive and newer than we are
            if heart.life == record.life and not heart.dead:
                return False
        ended = yield from end(resource, record.epoch, "expired")
        return ended is True
