"""Tokens that bring a viewer back to its session over a new link, without asking the origin.

A viewer gets one when it is ready, another whenever one was used, and again before it expires. Each opens one link;
only their hashes are kept.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Callable
from typing import Final

from core.errors import AdmissionError
from core.limits import RESUME_TOKEN_LIFETIME_S, RESUME_TOKENS_PER_SESSION_MAX, TOKEN_SIZE_BYTES_MAX

__all__ = ["RESUME_PREFIX", "ResumeTokens"]

RESUME_PREFIX: Final = "vvr_"
"""How a resume token begins; a ticket, which is a JWT, never does."""
_SECRET_SIZE_BYTES: Final = 32


class _Record:
    __slots__ = ("expires_at", "session_id", "spent")

    def __init__(self, session_id: str, expires_at: float) -> None:
        self.session_id = session_id
        self.expires_at = expires_at
        self.spent = False


class ResumeTokens:
    """Of all sessions of a POP. A session's oldest is forgotten when it has too many.

    Args:
        token_bytes: gives so many random bytes, fit for secrets.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._records: dict[bytes, _Record] = {}
        self._of_session: dict[str, deque[bytes]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def issue(self, session_id: str, now: float) -> str:
        """A fresh token, good for one link of this session within limits.RESUME_TOKEN_LIFETIME_S."""
        token = RESUME_PREFIX + urlsafe_b64encode(self._token_bytes(_SECRET_SIZE_BYTES)).decode().rstrip("=")
        key = _hash(token)
        kept = self._of_session.setdefault(session_id, deque())
        kept.append(key)
        self._records[key] = _Record(session_id, now + RESUME_TOKEN_LIFETIME_S)
        if len(kept) > RESUME_TOKENS_PER_SESSION_MAX:
            del self._records[kept.popleft()]
        return token

    def redeem(self, token: str, session_id: str, now: float) -> None:
        """Spend a token.

        Raises: AdmissionError: `bad-token` (none of ours, or its session is over), `wrong-session`, `token-expired`,
            `token-spent`.
        """
        record = self._records.get(_hash(token)) if len(token) <= TOKEN_SIZE_BYTES_MAX else None
        if record is None:
            raise AdmissionError("bad-token", "There is no session that this token resumes; ask for a new ticket.")
        if record.session_id != session_id:
            raise AdmissionError("wrong-session", "The token is for another session.")
        if now >= record.expires_at:
            raise AdmissionError("token-expired", "The token has expired; ask for a new ticket.")
        if record.spent:
            raise AdmissionError("token-spent", "The token has been used.")
        record.spent = True

    def restore(self, token: str) -> None:
        """The link that a token was spent on never came up: the viewer may try again with it."""
        record = self._records.get(_hash(token))
        if record is not None:
            record.spent = False

    def forget(self, session_id: str) -> None:
        """The session is over."""
        for key in self._of_session.pop(session_id, ()):
            del self._records[key]


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
