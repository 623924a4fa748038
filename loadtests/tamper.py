"""Somebody on the path: datagrams truncated, damaged, replayed or forged. Sans-IO and seeded, like a `LinkModel`."""

from __future__ import annotations

from collections import Counter, deque
from random import Random
from typing import Final

from core.errors import ConfigError

__all__ = ["Tamperer"]

_KEPT_MAX: Final = 512
"""Datagrams remembered for replays: older than any window against replays (RFC 3711: 64 packets) reaches back."""
_FORGED_SIZE_BYTES_MAX: Final = 1_400
_WAYS: Final = ("truncated", "damaged", "replayed", "forged")


class Tamperer:
    """One direction of one path.

    Args:
        share: of the datagrams that are tampered with, 0 to 1; each of the four ways comes equally often.
        seed: one seed, one series of deeds.

    Attributes:
        deeds: what was done how often: `truncated` (the datagram is shorter), `damaged` (some of its bits differ),
            `replayed` (an old one comes again behind it), `forged` (one that nobody sent comes behind it).
    """

    def __init__(self, share: float, seed: int) -> None:
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"{share} of all datagrams cannot be tampered with; a share is between 0 and 1")
        self.deeds: Counter[str] = Counter()
        self._share = share
        self._draw = Random(f"{seed}/tamper")
        self._kept: deque[bytes] = deque(maxlen=_KEPT_MAX)

    def pass_on(self, datagram: bytes) -> tuple[bytes, ...]:
        """What goes on instead of this datagram, in order."""
        if not self._share:
            return (datagram,)
        self._kept.append(datagram)
        if self._draw.random() >= self._share:
            return (datagram,)
        deed = self._draw.choice(_WAYS)
        self.deeds[deed] += 1
        if deed == "truncated":
            return (datagram[: self._draw.randrange(len(datagram) + 1)],)
        if deed == "damaged":
            return (self._damaged(datagram),)
        return datagram, self._draw.choice(self._kept) if deed == "replayed" else self._forged(datagram)

    def _damaged(self, datagram: bytes) -> bytes:
        if not datagram:
            return datagram
        damaged = bytearray(datagram)
        for _ in range(self._draw.randint(1, 8)):
            damaged[self._draw.randrange(len(damaged))] ^= 1 << self._draw.randrange(8)
        return bytes(damaged)

    def _forged(self, datagram: bytes) -> bytes:
        """Noise, half of it behind the head of a true datagram, which takes it further into a parser."""
        head = datagram[: self._draw.randrange(24)] if self._draw.random() < 0.5 else b""
        return head + self._draw.randbytes(self._draw.randrange(_FORGED_SIZE_BYTES_MAX))
