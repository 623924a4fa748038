"""Tickets: signed by the origin with Ed25519, checked by POPs with the key set of /.well-known/jwks.json.

Sources: RFC 7519 (JWT), RFC 8037 (EdDSA in JOSE), RFC 7638 (key thumbprint as `kid`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.errors import ConfigError
from core.limits import TICKET_LIFETIME_S
from core.session.claims import MODE_CONVERSATION, SCOPE_WEBRTC, SCOPE_WEBTRANSPORT

__all__ = ["TicketKey", "load_key"]

_KEY_FILE: Final = "ticket-key.pem"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TicketKey:
    """One signing key.

    Attributes:
        key_id: its RFC 7638 thumbprint.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        public = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        required = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public)}
        canonical = json.dumps(required, separators=(",", ":"), sort_keys=True).encode()
        self.key_id = _base64url(hashlib.sha256(canonical).digest())
        self._jwk = {**required, "kid": self.key_id, "alg": "EdDSA", "use": "sig"}

    def key_set(self) -> dict[str, Any]:
        """The JWK set that POPs fetch; public."""
        return {"keys": [dict(self._jwk)]}

    def mint(
        self,
        *,
        issuer: str,
        audience: str,
        session_id: str,
        ticket_id: str,
        character: str,
        epoch: int,
        now_wall: int,
        lifetime_s: int = TICKET_LIFETIME_S,
        mode: str = MODE_CONVERSATION,
    ) -> str:
        """A ticket for one POP.

        Args:
            audience: name of the POP.
            ticket_id: never used before.
            epoch: the session's epoch at this POP.
            lifetime_s: 1 to TICKET_LIFETIME_S.
            mode: one of core.session.claims.MODES.

        Returns: a compact JWT.
        Raises: ValueError: a lifetime that no POP would accept.
        """
        if not 0 < lifetime_s <= TICKET_LIFETIME_S:
            raise ValueError(f"a ticket lives 1 to {TICKET_LIFETIME_S} s")
        payload = {
            "iss": issuer,
            "aud": audience,
            "sid": session_id,
            "jti": ticket_id,
            "iat": now_wall,
            "exp": now_wall + lifetime_s,
            "epoch": epoch,
            "scp": [SCOPE_WEBRTC, SCOPE_WEBTRANSPORT],
            "chr": character,
            "mode": mode,
        }
        return jwt.encode(payload, self._private, algorithm="EdDSA", headers={"kid": self.key_id})


def load_key(directory: Path) -> TicketKey:
    """The key kept in a runtime directory; made there (mode 0600) when there is none.

    Raises: ConfigError: the directory or the file cannot be used.
    """
    path = directory / _KEY_FILE
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _write_new(path)
        mode = path.stat().st_mode & 0o077
        if mode:
            raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}")
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the ticket key {path} cannot be used: {error}; remove it to get a new one") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key; remove it to get a new one")
    return TicketKey(private)


def _write_new(path: Path) -> None:
    """Write a fresh key next to its place and link it there: another process may be doing the same."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
