"""Tickets: signed by the origin with Ed25519, checked by POPs with the key set of /.well-known/jwks.json.

Three keys are published: the one that signs, the next one, so that POPs know it before it signs anything, and the one
before, whose tickets are still under way. The same claims signed by the same key are the same bytes, always.

Sources: RFC 7519 (JWT), RFC 8037 (EdDSA in JOSE), RFC 7638 (key thumbprint as `kid`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.errors import ConfigError
from core.limits import TICKET_LIFETIME_S
from core.session.claims import ALL_SCOPES, MODE_CONVERSATION

__all__ = ["Signer", "SigningKeys", "TicketKey", "load_admin_secret", "load_key", "load_signing_keys"]

_KEY_FILE: Final = "ticket-key.pem"
_NEXT_FILE: Final = "ticket-key-next.pem"
_PREVIOUS_FILE: Final = "ticket-key-previous.pem"
_ADMIN_FILE: Final = "admin-key"
_ADMIN_SIZE_BYTES: Final = 32


class Signer(Protocol):
    """Mints tickets and says by which keys they are checked."""

    @property
    def key_id(self) -> str:
        """Of the key that signs now."""
        ...

    def key_set(self) -> dict[str, Any]:
        """The JWK set that POPs fetch; public."""
        ...

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
        scopes: Sequence[str] = ALL_SCOPES,
        thumbprint: str = "",
    ) -> str:
        """A ticket; see `TicketKey.mint`."""
        ...


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
        scopes: Sequence[str] = ALL_SCOPES,
        thumbprint: str = "",
    ) -> str:
        """A ticket for one POP.

        Args:
            audience: name of the POP.
            ticket_id: never used before.
            epoch: the session's epoch at this POP.
            lifetime_s: 1 to TICKET_LIFETIME_S.
            mode: one of core.session.claims.MODES.
            scopes: what it opens.
            thumbprint: of the client's key, which must be proved with it; empty: whoever has it may use it.

        Returns: a compact JWT.
        Raises: ValueError: a lifetime that no POP would accept.
        """
        if not 0 < lifetime_s <= TICKET_LIFETIME_S:
            raise ValueError(f"a ticket lives 1 to {TICKET_LIFETIME_S} s")
        payload: dict[str, Any] = {
            "iss": issuer,
            "aud": audience,
            "sid": session_id,
            "jti": ticket_id,
            "iat": now_wall,
            "exp": now_wall + lifetime_s,
            "epoch": epoch,
            "scp": list(scopes),
            "chr": character,
            "mode": mode,
        }
        if thumbprint:
            payload["cnf"] = {"jkt": thumbprint}
        return jwt.encode(payload, self._private, algorithm="EdDSA", headers={"kid": self.key_id})


class SigningKeys:
    """The keys of an origin, and their rotation; a `Signer`.

    Args:
        directory: where they are kept (modes 0600); None: nowhere, for tests and benchmarks.
        rotated_wall: see below.

    Attributes:
        rotated_wall: since when the current key signs, in seconds since 1970.
    """

    def __init__(
        self,
        current: TicketKey,
        following: TicketKey,
        previous: TicketKey | None = None,
        *,
        directory: Path | None = None,
        rotated_wall: int = 0,
    ) -> None:
        self.rotated_wall = rotated_wall
        self._current = current
        self._following = following
        self._previous = previous
        self._directory = directory

    @property
    def key_id(self) -> str:
        """Of the key that signs now."""
        return self._current.key_id

    def key_set(self) -> dict[str, Any]:
        """The JWK set that POPs fetch; public."""
        keys = [key for key in (self._current, self._following, self._previous) if key is not None]
        return {"keys": [jwk for key in keys for jwk in key.key_set()["keys"]]}

    def mint(self, **claims: Any) -> str:
        """A ticket, signed by the current key; see `TicketKey.mint`."""
        return self._current.mint(**claims)

    def roles(self) -> dict[str, str | None]:
        """Key ids: `current`, `next`, `previous`."""
        return {
            "current": self._current.key_id,
            "next": self._following.key_id,
            "previous": self._previous.key_id if self._previous else None,
        }

    def rotate(self, now_wall: int) -> None:
        """The next key signs from now on, the current one is the previous, the previous one is gone.

        Raises: ConfigError: the files cannot be written; nothing has changed then, or will be mended by the next start.
        """
        if self._directory is None:
            following = TicketKey(Ed25519PrivateKey.generate())
        else:
            try:
                (self._directory / _KEY_FILE).replace(self._directory / _PREVIOUS_FILE)
                (self._directory / _NEXT_FILE).replace(self._directory / _KEY_FILE)
            except OSError as error:
                raise ConfigError(f"the signing keys cannot be rotated: {error}") from None
            following = _load(self._directory / _NEXT_FILE)
        self._previous, self._current, self._following = self._current, self._following, following
        self.rotated_wall = now_wall


def load_signing_keys(directory: Path) -> SigningKeys:
    """The keys kept in a runtime directory; made there when there are none.

    Raises: ConfigError: the directory or a file cannot be used.
    """
    current, following, previous = (directory / name for name in (_KEY_FILE, _NEXT_FILE, _PREVIOUS_FILE))
    if not current.exists() and following.exists():
        following.replace(current)  # a rotation that was cut short
    keys = _load(current), _load(following), _load(previous) if previous.exists() else None
    # The next key was made when the current one began to sign.
    return SigningKeys(*keys, directory=directory, rotated_wall=int(following.stat().st_mtime))


def load_key(directory: Path) -> TicketKey:
    """The key that signs, kept in a runtime directory; made there (mode 0600) when there is none.

    Raises: ConfigError: the directory or the file cannot be used.
    """
    return _load(directory / _KEY_FILE)


def load_admin_secret(directory: Path) -> str:
    """What an operator of this machine shows to the admin API; made in the runtime directory (mode 0600).

    Raises: ConfigError: the directory or the file cannot be used.
    """
    secret = _base64url(os.urandom(_ADMIN_SIZE_BYTES)).encode()
    return _read(directory / _ADMIN_FILE, "admin key", lambda: secret).decode("ascii", "replace").strip()


def _load(path: Path) -> TicketKey:
    pem = _read(path, "ticket key", _new_key)
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except ValueError as error:
        raise ConfigError(f"the ticket key {path} cannot be used: {error}; remove it to get a new one") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{path} is no Ed25519 key; remove it to get a new one")
    return TicketKey(private)


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(path: Path, what: str, make: Callable[[], bytes]) -> bytes:
    """A secret file's content; made when it is not there."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _write_new(path, make())
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the {what} {path} cannot be used: {error}; remove it to get a new one") from None


def _write_new(path: Path, content: bytes) -> None:
    """Write a secret next to its place and link it there: another process may be doing the same."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
