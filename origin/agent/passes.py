"""Who may be a session's agent: random tokens, good for one connection each and kept as hashes."""

from __future__ import annotations

import base64
import hashlib
import math

from core.errors import AdmissionError
from core.host.entropy import Entropy

__all__ = ["Passes"]


class Passes:
    """Of one session; only the newest token is good."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._digest = b""
        self._expires_at = math.inf
        self._spent: set[bytes] = set()

    def issue(self, expires_at: float = math.inf) -> str:
        """A fresh token; the one before it is good no more.

        Args:
            expires_at: monotonic seconds.
        """
        token = base64.urlsafe_b64encode(self._entropy.token_bytes(24)).decode()
        self._digest, self._expires_at = _digest(token), expires_at
        return token

    def spend(self, token: str, now: float) -> None:
        """Let one connection in.

        Raises: AdmissionError: `token-spent`, `token-expired` or `bad-token`.
        """
        digest = _digest(token)
        if digest in self._spent:
            raise AdmissionError("token-spent", "This token was used already; a session has one agent.")
        if not self._digest or digest != self._digest:
            raise AdmissionError("bad-token", "This token opens nothing here.")
        if now >= self._expires_at:
            raise AdmissionError("token-expired", "This token has expired; ask for a new session.")
        self._spent = {digest}
        self._digest = b""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
