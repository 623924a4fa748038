"""What may be used once: ids that were spent, each remembered until it would be refused for its age anyway."""

from __future__ import annotations

import heapq

from core.errors import AdmissionError
from core.limits import SPENT_TICKETS_MAX

__all__ = ["SpentIds"]


class SpentIds:
    """Ids that were used; bounded.

    Args:
        capacity: ids kept at most.
        code, message: of the AdmissionError for an id that was used before.
    """

    def __init__(
        self,
        capacity: int = SPENT_TICKETS_MAX,
        *,
        code: str = "token-replayed",
        message: str = "The ticket has been used; ask for a new one.",
    ) -> None:
        self._capacity = capacity
        self._code = code
        self._message = message
        self._spent: set[str] = set()
        self._expiry: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._spent)

    def spend(self, identifier: str, expires_at: int, now_wall: int) -> None:
        """Remember the id.

        Args:
            expires_at: wall time in seconds from which it need not be remembered.

        Raises: AdmissionError: this collection's code; `overloaded` when too many unexpired ids are held.
        """
        while self._expiry and self._expiry[0][0] <= now_wall:
            self._spent.discard(heapq.heappop(self._expiry)[1])
        if identifier in self._spent:
            raise AdmissionError(self._code, self._message)
        if len(self._spent) >= self._capacity:
            raise AdmissionError("overloaded", "Nobody is admitted right now; try again.")
        self._spent.add(identifier)
        heapq.heappush(self._expiry, (expires_at, identifier))
