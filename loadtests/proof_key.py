"""A headless viewer's key: what it proves to hold, so that nobody else can use its tickets (`core.session.proof`)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec

from core.session.proof import make_proof, public_key_of

__all__ = ["ProofKey"]


class ProofKey:
    """A fresh P-256 key.

    Args:
        wall: seconds since 1970 by this machine's clock.

    Attributes:
        jwk: its public half.
        ahead_s: how far the origin's clock is ahead of ours.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._wall = wall
        self.jwk = public_key_of(self._private).jwk
        self.ahead_s = 0

    @property
    def now(self) -> int:
        """Wall time at the origin, as far as is known."""
        return int(self._wall()) + self.ahead_s

    def set_clock(self, issued_at: int) -> None:
        """The origin has just said what time it is there."""
        self.ahead_s = issued_at - int(self._wall())

    def prove(self, method: str, url: str, token: str = "") -> str:
        """A proof for one request."""
        return make_proof(
            self._private,
            method=method,
            url=url,
            token=token,
            proof_id=secrets.token_urlsafe(12),
            now_wall=self.now,
        )
