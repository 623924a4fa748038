"""The POPs there are, as their records say, and which of them a client may go to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from core.fabric.store import Store
from core.limits import POP_LOAD_MAX, POP_SILENCE_S_MAX
from core.session.placement import Client, Placement, PopView, TurnedAway, place
from origin.mirrored import Mirrored, Seen

__all__ = ["POPS_PREFIX", "PopRecord", "Pops", "WebTransportRecord"]

POPS_PREFIX: Final = "pops."
"""Keys under which POPs announce themselves."""


class WebTransportRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where a POP's QUIC endpoint is, as it goes into tickets."""

    url: str
    certificate_hashes: tuple[str, ...] = ()


class PopRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a POP writes into the store about itself; more members are allowed.

    Attributes:
        beats: grows with every write; 0: a POP that writes its record once, whose silence means nothing.
        load: 0 … 1, from POP_LOAD_MAX on nobody is sent there.
        sessions, capacity: that are there, and that may be; 0: not told.
    """

    name: str
    url: str
    started_at: float = 0.0
    webtransport: WebTransportRecord | None = None
    beats: int = 0
    serving: bool = True
    load: float = 0.0
    sessions: int = 0
    capacity: int = 0
    protocols: tuple[str, ...] = ("webrtc",)
    region: str = ""
    carrier: str = ""


def _decode(value: bytes) -> PopRecord | None:
    try:
        return msgspec.json.decode(value, type=PopRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Pops:
    """See the module docstring.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records = Mirrored(store, POPS_PREFIX, _decode, clock)
        self._placed: dict[str, tuple[int, int]] = {}

    async def start(self) -> None:
        """Begin to follow the records, once. Raises: FabricError."""
        await self._records.start()

    async def aclose(self) -> None:
        """Stop following."""
        await self._records.aclose()

    def records(self) -> list[PopRecord]:
        """All there are, by name."""
        return [seen.value for _, seen in self._records.items()]

    def get(self, name: str) -> PopRecord | None:
        """The record of one."""
        seen = self._records.get(name)
        return None if seen is None else seen.value

    def silent_s(self, name: str) -> float | None:
        """Since its record changed last, by this process's clock; None: there is no such POP, or it does not beat."""
        seen = self._records.get(name)
        return None if seen is None or not seen.value.beats else max(0.0, self._clock() - seen.heard_at)

    async def place(self, client: Client, avoid: frozenset[str] = frozenset()) -> Placement | TurnedAway:
        """Choose POPs for a client.

        Args:
            avoid: where the client has just failed; they are taken only if nobody else is there.

        Raises: FabricError: the store cannot be read.
        """
        placement = self._place(client, avoid)
        if isinstance(placement, TurnedAway) and placement.code == "no-pop":
            # A POP may have announced itself a moment ago, or the watch may have been away.
            await self._records.refresh()
            placement = self._place(client, avoid)
        return placement

    def took(self, name: str) -> None:
        """Somebody was sent there; it counts as load until the POP says how it is."""
        seen = self._records.get(name)
        if seen is not None:
            self._placed[name] = seen.revision, self._since_beat(name, seen) + 1

    def _place(self, client: Client, avoid: frozenset[str]) -> Placement | TurnedAway:
        now = self._clock()
        views = [self._view(name, seen, now) for name, seen in self._records.items()]
        placement = place(client, [view for view in views if view.name not in avoid], now)
        if isinstance(placement, TurnedAway) and avoid:
            placement = place(client, views, now)
        return placement

    def _view(self, name: str, seen: Seen[PopRecord], now: float) -> PopView:
        record = seen.value
        expected = self._since_beat(name, seen) / record.capacity * POP_LOAD_MAX if record.capacity else 0.0
        return PopView(
            name=name,
            serving=record.serving,
            heard_at=seen.heard_at if record.beats else now,
            load=record.load + expected,
            protocols=frozenset(record.protocols),
            region=record.region,
            carrier=record.carrier,
        )

    def _since_beat(self, name: str, seen: Seen[PopRecord]) -> int:
        revision, count = self._placed.get(name, (0, 0))
        return count if revision == seen.revision else 0

    def report(self) -> list[dict[str, object]]:
        """What the admin API tells of each."""
        rows: list[dict[str, object]] = []
        for name, seen in self._records.items():
            row: dict[str, object] = msgspec.to_builtins(seen.value)
            silent_s = self.silent_s(name)
            row["silent_s"] = None if silent_s is None else round(silent_s, 1)
            alive = silent_s is None or silent_s <= POP_SILENCE_S_MAX
            row["state"] = "silent" if not alive else "serving" if seen.value.serving else "draining"
            rows.append(row)
        return rows

    def states(self) -> Counter[str]:
        """How many POPs are in which state."""
        return Counter(str(row["state"]) for row in self.report())
