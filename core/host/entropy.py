"""Where randomness comes from: the operating system, or a seed when the same bytes are wanted again."""

from __future__ import annotations

import hashlib
import secrets
from typing import Protocol

__all__ = ["Entropy", "SeededEntropy", "SystemEntropy"]


class Entropy(Protocol):
    """A source of random bytes; identifiers, keys and nonces are made from it."""

    def token_bytes(self, size: int) -> bytes:
        """`size` fresh bytes."""
        ...

    def seed(self) -> int:
        """A fresh 64-bit seed, for `numpy.random.default_rng` inside core."""
        ...


class SystemEntropy:
    """The operating system's generator; fit for keys and tokens."""

    def token_bytes(self, size: int) -> bytes:
        """See `Entropy.token_bytes`."""
        return secrets.token_bytes(size)

    def seed(self) -> int:
        """See `Entropy.seed`."""
        return secrets.randbits(64)


class SeededEntropy:
    """The same seed gives the same bytes, on every machine. For tests and replays, never for keys of a live system.

    SHA-256 over seed and counter: stable across Python versions, which `random.Random.randbytes` does not promise.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed.to_bytes(16, "big", signed=True)
        self._counter = 0
        self._rest = b""

    def token_bytes(self, size: int) -> bytes:
        """See `Entropy.token_bytes`."""
        while len(self._rest) < size:
            self._rest += hashlib.sha256(self._seed + self._counter.to_bytes(8, "big")).digest()
            self._counter += 1
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def seed(self) -> int:
        """See `Entropy.seed`."""
        return int.from_bytes(self.token_bytes(8), "big")
