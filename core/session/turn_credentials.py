"""Credentials for a TURN relay that expire by themselves: the relay and we share a secret, and nothing else.

Source: draft-uberti-behave-turn-rest-00 section 2.2; coturn calls it `use-auth-secret`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

__all__ = ["TurnCredentials", "turn_credentials"]


@dataclass(frozen=True, slots=True)
class TurnCredentials:
    """What a client says to the relay."""

    username: str
    credential: str


def turn_credentials(secret: str, *, user: str, expires_at: int) -> TurnCredentials:
    """Credentials for one user.

    Args:
        secret: the relay's `static-auth-secret`.
        user: whom the relay's log shall name; a session's id.
        expires_at: wall time in seconds after which the relay makes no new allocation for it.
    """
    username = f"{expires_at}:{user}"
    # SHA-1 is what the draft says and relays expect; HMAC does not suffer from its collisions.
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return TurnCredentials(username, base64.b64encode(digest).decode())
