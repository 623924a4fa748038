"""What a ticket says, and whether it is good here and now. Signatures are somebody else's work; times are passed in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from core.errors import AdmissionError
from core.limits import TICKET_CLOCK_SKEW_S, TICKET_LIFETIME_S
from core.session.proof import is_thumbprint

__all__ = [
    "ALL_SCOPES",
    "MODES",
    "MODE_AGENT",
    "MODE_CONVERSATION",
    "MODE_MIRROR",
    "SCOPE_WEBRTC",
    "SCOPE_WEBTRANSPORT",
    "Claims",
    "check_claims",
]

SCOPE_WEBRTC: Final = "webrtc"
"""The scope that opens a WebRTC link."""
SCOPE_WEBTRANSPORT: Final = "webtransport"
"""The scope that opens a WebTransport link."""
ALL_SCOPES: Final = (SCOPE_WEBRTC, SCOPE_WEBTRANSPORT)

MODE_CONVERSATION: Final = "conversation"
"""The character answers what the viewer says."""
MODE_MIRROR: Final = "mirror"
"""The viewer performs the character: its own voice moves the face, and nothing of it goes to the origin."""
MODE_AGENT: Final = "agent"
"""What an origin may be asked for: somebody else's program answers. POPs see a conversation, and tickets say that."""
MODES: Final = (MODE_CONVERSATION, MODE_MIRROR)

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """A ticket that was checked.

    Attributes:
        issuer: who minted it (`iss`).
        audience: name of the POP it is for (`aud`).
        session_id: `sid`, 1-64 characters of A-Z a-z 0-9 _ -.
        ticket_id: `jti`, the same alphabet; spent once.
        issued_at: `iat`, wall time in seconds.
        expires_at: `exp`, wall time in seconds, at most TICKET_LIFETIME_S after `issued_at`.
        epoch: the session's epoch (≥ 0).
        scopes: what may be opened with it (`scp`).
        character: id of the character (`chr`).
        mode: one of MODES (`mode`); a ticket without it is for a conversation.
        thumbprint: of the client's key (`cnf.jkt`), whose proof must come with the ticket; empty: it is bound to none.
    """

    issuer: str
    audience: str
    session_id: str
    ticket_id: str
    issued_at: int
    expires_at: int
    epoch: int
    scopes: tuple[str, ...]
    character: str
    mode: str = MODE_CONVERSATION
    thumbprint: str = ""


def check_claims(
    payload: Mapping[str, object],
    *,
    issuer: str,
    audience: str,
    session_id: str,
    scope: str,
    now_wall: int,
) -> Claims:
    """Check a verified token's payload.

    Args:
        payload: the JWT claims set; the signature has been verified already.
        issuer, audience: what this POP trusts and is.
        session_id: the session in the request's path.
        scope: what the request opens, e.g. SCOPE_WEBRTC.
        now_wall: wall time in whole seconds.

    Raises: AdmissionError: `bad-claims` (missing or of a wrong type), `wrong-issuer`, `wrong-audience`,
        `wrong-session`, `wrong-scope`, `token-expired`, `token-from-the-future`, `token-lifetime`.
    Source: RFC 7519 section 4.1; lifetimes after ARCHITECTURE.md, "Tickets".
    """
    claims = Claims(
        issuer=_text(payload, "iss"),
        audience=_text(payload, "aud"),
        session_id=_identifier(payload, "sid"),
        ticket_id=_identifier(payload, "jti"),
        issued_at=_whole(payload, "iat"),
        expires_at=_whole(payload, "exp"),
        epoch=_whole(payload, "epoch"),
        scopes=_scopes(payload),
        character=_identifier(payload, "chr"),
        mode=_text(payload, "mode") if "mode" in payload else MODE_CONVERSATION,
        thumbprint=_thumbprint(payload),
    )
    if claims.issuer != issuer:
        raise AdmissionError("wrong-issuer", "The ticket comes from another origin.")
    if claims.audience != audience:
        raise AdmissionError("wrong-audience", "The ticket is for another POP.")
    if claims.session_id != session_id:
        raise AdmissionError("wrong-session", "The ticket is for another session.")
    if scope not in claims.scopes:
        raise AdmissionError("wrong-scope", f"The ticket does not allow {scope}.")
    if claims.mode not in MODES:
        raise AdmissionError("bad-claims", f"The ticket's mode is none of {', '.join(MODES)}.")
    if not 0 < claims.expires_at - claims.issued_at <= TICKET_LIFETIME_S:
        raise AdmissionError("token-lifetime", f"A ticket lives at most {TICKET_LIFETIME_S} s.")
    if now_wall >= claims.expires_at:
        raise AdmissionError("token-expired", "The ticket has expired; ask for a new one.")
    if claims.issued_at > now_wall + TICKET_CLOCK_SKEW_S:
        raise AdmissionError("token-from-the-future", "The ticket was minted in the future; check the clocks.")
    return claims


def _text(payload: Mapping[str, object], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        raise AdmissionError("bad-claims", f"The ticket's {name} is missing or not a short text.")
    return value


def _identifier(payload: Mapping[str, object], name: str) -> str:
    value = _text(payload, name)
    if not _IDENTIFIER.match(value):
        raise AdmissionError("bad-claims", f"The ticket's {name} has characters that no identifier has.")
    return value


def _thumbprint(payload: Mapping[str, object]) -> str:
    """Of `cnf`; one that cannot be understood is refused, as a ticket bound to an unknown thing is bound."""
    if "cnf" not in payload:
        return ""
    found = payload["cnf"]
    value = cast("Mapping[str, object]", found).get("jkt") if isinstance(found, Mapping) else None
    if not is_thumbprint(value):
        raise AdmissionError("bad-claims", "The ticket's cnf holds no thumbprint of a key.")
    return cast("str", value)


def _whole(payload: Mapping[str, object], name: str) -> int:
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise AdmissionError("bad-claims", f"The ticket's {name} is missing or not a whole number.")
    return value


def _scopes(payload: Mapping[str, object]) -> tuple[str, ...]:
    value = payload.get("scp")
    if not isinstance(value, list | tuple):
        raise AdmissionError("bad-claims", "The ticket's scp is missing or not a list.")
    items = tuple(cast("Sequence[object]", value))
    scopes = tuple(item for item in items if isinstance(item, str))
    if len(items) > 16 or len(scopes) < len(items):
        raise AdmissionError("bad-claims", "The ticket's scp is not a short list of texts.")
    return scopes
