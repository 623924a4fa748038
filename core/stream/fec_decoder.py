"""Brings lost units back from the redundancy in later packets. SPEC.md section 9.

Every symbol is a linear equation over blocks. Known blocks are subtracted at once; what is left is kept in reduced row
echelon form with the oldest unknown block leading. So a block is determined exactly when its row holds nothing else,
and forgetting an old block costs exactly the one row that it leads. State is bounded: at most limits.FEC_HISTORY_UNITS
blocks and as many rows, each no longer than the longest packet.

How a viewer uses it: one `FecDecoder(sound=…)` per track, `reset()` when a newer epoch appears, and for every unit
```
result = decoder.receive(unit.sequence_number, encode_block(unit, span_ticks=…, opus=…), unit.fec)
for sequence_number, block in result if not isinstance(result, Dropped) else ():
    restored = decode_block(block, epoch=unit.epoch, sequence_number=sequence_number, sound=…)
```
A restored unit goes where a received one goes, but feedback must not report it as received: that measures the link.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from core.errors import Dropped, RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX, FEC_HISTORY_UNITS
from core.stream.fec import FecField, decode_field, read_length, write_length
from core.stream.galois import COEFFICIENT_TABLES, COEFFICIENTS, INVERSE, MULTIPLY

__all__ = ["FecDecoder"]

_SEQUENCE_MASK: Final = 0xFFFF
_HALF: Final = 0x8000


class _Row:
    """Sum of coefficients times sources = payload, as a little-endian number: shorter sources are padded with zeros."""

    __slots__ = ("coefficients", "payload")

    def __init__(self, coefficients: dict[int, int], payload: int) -> None:
        self.coefficients = coefficients
        self.payload = payload

    def add(self, other: _Row, factor: int) -> None:
        """Add `factor` times another row."""
        table, coefficients = MULTIPLY[factor], self.coefficients
        for unit, value in other.coefficients.items():
            mixed = coefficients.get(unit, 0) ^ table[value]
            if mixed:
                coefficients[unit] = mixed
            else:
                del coefficients[unit]
        self.payload ^= _times(other.payload, table)

    def scale(self, factor: int) -> None:
        """Multiply by `factor`."""
        table = MULTIPLY[factor]
        for unit, value in self.coefficients.items():
            self.coefficients[unit] = table[value]
        self.payload = _times(self.payload, table)


def _times(payload: int, table: bytes) -> int:
    data = payload.to_bytes((payload.bit_length() + 7) >> 3, "little")
    return int.from_bytes(data.translate(table), "little")


class FecDecoder:
    """Keeps the last blocks of one track and the equations over those it lacks. Units may come in any order, or twice.

    Args:
        sound: blocks hold sound and motion; fields that say otherwise are dropped.
    """

    def __init__(self, *, sound: bool) -> None:
        self._sound = sound
        self._newest: int | None = None
        self._received: set[int] = set()
        self._known: dict[int, bytes] = {}
        self._rows: dict[int, _Row] = {}
        self._late: int | None = None
        self.restored = 0
        """Units brought back so far."""
        self.dropped: Counter[str] = Counter()
        """What was of no use, by reason. Units: `duplicate`, `late`. Fields: `bad-fec`, `other-blocks`. Single copies
        and symbols: `expired`, `contradiction` (two of them cannot both be true)."""

    @property
    def rows(self) -> int:
        """Equations that wait for more."""
        return len(self._rows)

    @property
    def known(self) -> int:
        """Blocks that are kept."""
        return len(self._known)

    def reset(self) -> None:
        """Forget everything but the counters: a newer epoch."""
        self._newest = self._late = None
        self._received.clear()
        self._known.clear()
        self._rows.clear()

    def receive(self, sequence_number: int, block: bytes, fec: bytes) -> tuple[tuple[int, bytes], ...] | Dropped:
        """A unit came.

        Args:
            sequence_number: 16 bits.
            block: what the sender protects of this unit, see `core.stream.fec.encode_block`.
            fec: its FEC field, whatever it is; b"" = none.
        Returns: sequence number and block of every unit that this one brought back, oldest first, or why this unit
            itself was of no use. A field of no use is counted in `dropped` only.
        """
        number = self._advance(sequence_number & _SEQUENCE_MASK)
        if isinstance(number, Dropped):
            self.dropped[number.reason] += 1
            return number
        self._received.add(number)
        source, before = write_length(len(block)) + block, self._known.get(number)
        if before is not None and before != source:
            self._contradict()
        self._learn(number, source)
        found: dict[int, bytes] = {}
        if fec:
            try:
                self._read(number, decode_field(fec), found)
            except RemoteProtocolError as error:
                self.dropped[error.code] += 1
        if self._rows:
            self._solve(found)
        if not found:
            return ()
        self.restored += len(found)
        return tuple((unit & _SEQUENCE_MASK, found[unit]) for unit in sorted(found))

    def _advance(self, sequence_number: int) -> int | Dropped:
        """The unit's number without wrapping; what is too old by now is forgotten."""
        newest = self._newest
        if newest is None:
            self._newest = sequence_number
            return sequence_number
        step = (sequence_number - newest + _HALF & _SEQUENCE_MASK) - _HALF
        if step <= -FEC_HISTORY_UNITS:
            if self._late is None or sequence_number != self._late + 1 & _SEQUENCE_MASK:
                self._late = sequence_number
                return Dropped("late")
            # Two late ones in order: the one that was taken for newest was the odd one out (RFC 3550 appendix A.1).
            self.reset()
            self._newest = sequence_number
            return sequence_number
        self._late = None
        number = newest + step
        if step > 0:
            self._newest = number
            self._forget(newest, number)
        elif number in self._received:
            return Dropped("duplicate")
        return number

    def _forget(self, old: int, new: int) -> None:
        if new - old >= FEC_HISTORY_UNITS:
            self._received.clear()
            self._known.clear()
            self._rows.clear()
            return
        for unit in range(old - FEC_HISTORY_UNITS + 1, new - FEC_HISTORY_UNITS + 1):
            self._received.discard(unit)
            self._known.pop(unit, None)
            self._rows.pop(unit, None)  # the oldest unknown leads its row and is in no other

    def _read(self, number: int, field: FecField, found: dict[int, bytes]) -> None:
        if field.sound != self._sound:
            self.dropped["other-blocks"] += 1
            return
        known, horizon = self._known, (self._newest or 0) - FEC_HISTORY_UNITS
        for distance, source in field.copies:
            unit = number - distance
            if unit <= horizon:
                self.dropped["expired"] += 1
            elif unit not in known:
                self._learn(unit, source)
                found[unit] = source[read_length(source, 0)[1] :]
            elif known[unit] != source:
                self._contradict()
        units = [number - distance for distance in field.covered] if field.symbol else []
        coefficients = {unit: COEFFICIENTS[(number ^ unit) & 127] for unit in units if unit not in known}
        if not coefficients:
            return
        if min(coefficients) <= horizon:
            self.dropped["expired"] += 1
            return
        payload = int.from_bytes(field.symbol, "little")
        for unit in units:
            if unit in coefficients:
                continue
            source = known[unit]
            if len(source) > len(field.symbol):  # a symbol is as long as the longest source in it
                self._contradict()
                return
            payload ^= int.from_bytes(source.translate(COEFFICIENT_TABLES[(number ^ unit) & 127]), "little")
        self._insert(_Row(coefficients, payload))

    def _insert(self, row: _Row) -> None:
        """Add an equation over unknown blocks, keeping the reduced row echelon form."""
        rows = self._rows
        for unit in [unit for unit in row.coefficients if unit in rows]:
            row.add(rows[unit], row.coefficients[unit])
        if not row.coefficients:
            if row.payload:
                self._contradict()
            return
        leader = min(row.coefficients)
        row.scale(INVERSE[row.coefficients[leader]])
        for other in rows.values():
            factor = other.coefficients.get(leader)
            if factor:
                other.add(row, factor)
        rows[leader] = row

    def _learn(self, unit: int, source: bytes) -> None:
        """A block is known: subtract it from all equations."""
        self._known[unit] = source
        led = self._rows.pop(unit, None)
        value = int.from_bytes(source, "little") if self._rows or led else 0
        for row in self._rows.values():
            factor = row.coefficients.pop(unit, 0)
            if factor:
                row.payload ^= _times(value, MULTIPLY[factor])
        if led is not None:
            del led.coefficients[unit]
            led.payload ^= value
            self._insert(led)

    def _solve(self, found: dict[int, bytes]) -> None:
        """Take out what is determined: rows of one block. No other row holds that block."""
        for unit in [unit for unit, row in self._rows.items() if len(row.coefficients) == 1]:
            row = self._rows.get(unit)
            if row is None:  # a contradiction has swept it away
                return
            source = _source_of(row.payload)
            if source is None:
                self._contradict()
                return
            del self._rows[unit]
            self._known[unit] = source
            found[unit] = source[read_length(source, 0)[1] :]

    def _contradict(self) -> None:
        """Somebody lies, and nobody knows who: trust no equation that is under way."""
        self.dropped["contradiction"] += 1
        self._rows.clear()


def _source_of(payload: int) -> bytes | None:
    """A source from its number: the length in front says how many zeros end it. None: it is no source."""
    data = payload.to_bytes((payload.bit_length() + 7) >> 3, "little")
    try:
        length, start = read_length(data + b"\0\0", 0)
    except RemoteProtocolError:
        return None
    missing = start + length - len(data)
    if missing < 0 or start + length > ACCESS_UNIT_SIZE_BYTES_MAX:
        return None
    return data + bytes(missing)
