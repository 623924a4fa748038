"""Which POP has a session: epochs are reserved for the POPs a ticket names, and the first that opens has it.

A ticket names several POPs, each with an epoch of its own, so that one ticket opens exactly one of them. Who opens is
judged against the session's record, which is changed by compare-and-set only. New tickets for the same session (its
POP died, its viewer proved that it is the same one) reserve epochs beyond all before; the POP that opens with one of
those has the session at once, and the one before is fenced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.errors import LocalProtocolError
from core.limits import EPOCH_MAX

__all__ = ["EVERY_EPOCH", "Refused", "Tenure", "Won", "first_tenure"]

EVERY_EPOCH: Final = EPOCH_MAX
"""What ends a session at whatever POP has it."""


@dataclass(frozen=True, slots=True)
class Won:
    """This POP has the session now.

    Attributes:
        tenure: to be written; what it was before, when it had it already.
        before: the epoch of the POP that had it, 0: none.
    """

    tenure: Tenure
    before: int


@dataclass(frozen=True, slots=True)
class Refused:
    """This POP has not got the session and must let go of it.

    Attributes:
        reason: `superseded`: another one has it, or an epoch that was never reserved, or for somebody else.
    """

    reason: str = "superseded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """Of one session.

    Attributes:
        epoch: of the POP that has it; 0: nobody has opened it yet.
        floor: the highest epoch reserved before the newest tickets were minted.
        reserved: the highest epoch ever reserved; floor ≤ reserved, epoch ≤ reserved.
        candidates: POPs of the newest tickets in order; the first one's epoch is floor + 1.
    """

    epoch: int = 0
    floor: int = 0
    reserved: int = 0
    candidates: tuple[str, ...] = ()

    @property
    def opened(self) -> bool:
        """One of the newest tickets was used."""
        return self.epoch > self.floor

    def epoch_of(self, number: int) -> int:
        """The epoch of the candidate with this index."""
        return self.floor + 1 + number

    def offer(self, pops: Sequence[str]) -> Tenure:
        """Reserve an epoch for each POP of new tickets. Nobody loses anything by it.

        Raises: LocalProtocolError: no epoch is left.
        """
        reserved = self.reserved + len(pops)
        if reserved >= EVERY_EPOCH:
            raise LocalProtocolError("no epoch is left for this session")
        return Tenure(epoch=self.epoch, floor=self.reserved, reserved=reserved, candidates=tuple(pops))

    def burn(self) -> Tenure:
        """Reserve an epoch that no POP gets, for whoever numbers by epochs. Tickets that are out stay good."""
        if self.reserved + 1 >= EVERY_EPOCH:
            raise LocalProtocolError("no epoch is left for this session")
        return Tenure(epoch=self.epoch, floor=self.floor, reserved=self.reserved + 1, candidates=self.candidates)

    def open(self, pop: str, epoch: int) -> Won | Refused:
        """A POP says that the viewer has come to it. The same POP may say so again and again."""
        if epoch == self.epoch and epoch > 0:
            return Won(self, self.epoch)
        number = epoch - self.floor - 1
        if self.opened or not 0 <= number < len(self.candidates) or self.candidates[number] != pop:
            return Refused()
        won = Tenure(epoch=epoch, floor=self.floor, reserved=self.reserved, candidates=self.candidates)
        return Won(won, self.epoch)


def first_tenure(pops: Sequence[str]) -> Tenure:
    """Of a new session whose tickets name these POPs."""
    return Tenure().offer(pops)
