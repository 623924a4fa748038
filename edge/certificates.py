"""The certificate of the POP's QUIC endpoint: the operator's own, or one we sign ourselves, known by its hash.

A browser accepts a self-signed certificate whose SHA-256 it was told if its key is ECDSA P-256 and it is valid for less
than 14 days. Tickets tell it; a ticket may have been minted just before a rotation, so hashes are told for longer than
their certificate is served. Source: W3C WebTransport, "custom certificate requirements".
"""

from __future__ import annotations

import base64
import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.errors import ConfigError
from core.limits import CERTIFICATE_LIFETIME_S, TICKET_LIFETIME_S

__all__ = ["Certificate", "Certificates", "OwnCertificate", "RotatingCertificates", "load_certificates", "self_signed"]

_SKEW_S: Final = 3_600
"""How far a viewer's clock may be behind ours: a certificate is valid from this long before it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate with its chain and key.

    Attributes:
        chain_pem: the certificate first, then those that lead to its CA.
        key_pem: its private key, unencrypted.
        hash: base64 of the certificate's SHA-256.
        made_at, expires_at: wall seconds of its validity.
    """

    chain_pem: bytes
    key_pem: bytes
    hash: str
    made_at: int
    expires_at: int


class Certificates(ABC):
    """What the endpoint serves and tickets tell; the wall time is passed in."""

    @abstractmethod
    def current(self, now_wall: int) -> Certificate:
        """What new connections are served."""

    @abstractmethod
    def hashes(self, now_wall: int) -> tuple[str, ...]:
        """What tickets tell; empty when a CA vouches for the certificate."""

    def told(self, hashes: tuple[str, ...], now_wall: int) -> None:  # noqa: B027 - whose hashes never change need not know
        """From now on new tickets tell these hashes."""


class OwnCertificate(Certificates):
    """A certificate of the operator's, read once.

    Args:
        certificate, key: paths of PEM files.

    Raises: ConfigError: they cannot be used.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        try:
            chain_pem, key_pem = certificate.read_bytes(), key.read_bytes()
            leaf = x509.load_pem_x509_certificate(chain_pem)
            private = serialization.load_pem_private_key(key_pem, password=None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"the TLS certificate {certificate} with {key} cannot be used: {error}") from None
        if private.public_key() != leaf.public_key():
            raise ConfigError(f"the key {key} is not that of the certificate {certificate}")
        self._certificate = _described(leaf, chain_pem, key_pem)

    def current(self, now_wall: int) -> Certificate:
        """See Certificates."""
        return self._certificate

    def hashes(self, now_wall: int) -> tuple[str, ...]:
        """See Certificates."""
        return ()


class RotatingCertificates(Certificates):
    """Self-signed ones. At half of one's life the next is made; it is served once every good ticket tells its hash.

    Args:
        make: signs a certificate that is made at this wall time.
    """

    def __init__(self, make: Callable[[int], Certificate] | None = None) -> None:
        self._make = make or self_signed
        self._serving: Certificate | None = None
        self._next: Certificate | None = None
        self._next_told_at: int | None = None

    def current(self, now_wall: int) -> Certificate:
        """See Certificates."""
        self._rotate(now_wall)
        assert self._serving is not None
        return self._serving

    def hashes(self, now_wall: int) -> tuple[str, ...]:
        """See Certificates."""
        self._rotate(now_wall)
        return tuple(one.hash for one in (self._serving, self._next) if one is not None)

    def told(self, hashes: tuple[str, ...], now_wall: int) -> None:
        """See Certificates."""
        if self._next is not None and self._next_told_at is None and self._next.hash in hashes:
            self._next_told_at = now_wall

    def _rotate(self, now_wall: int) -> None:
        serving = self._serving
        if serving is None or now_wall >= serving.expires_at:
            # The first one; or the fabric was away for days, and a refused viewer is no worse than an expired one.
            self._serving, self._next, self._next_told_at = self._next or self._make(now_wall), None, None
            return
        if self._next_told_at is not None and now_wall >= self._next_told_at + _HAND_OVER_S:
            self._serving, self._next, self._next_told_at = self._next, None, None
        elif self._next is None and now_wall >= serving.made_at + (serving.expires_at - serving.made_at) // 2:
            self._next = self._make(now_wall)


_HAND_OVER_S: Final = 2 * TICKET_LIFETIME_S
"""From telling a certificate's hash to serving it: longer than any ticket that was minted before lives."""


def load_certificates(certificate: Path | None, key: Path | None) -> Certificates:
    """The operator's certificate if there is one, else self-signed ones. Raises: ConfigError."""
    if certificate is not None and key is not None:
        return OwnCertificate(certificate, key)
    return RotatingCertificates()


def self_signed(now_wall: int) -> Certificate:
    """An ECDSA P-256 certificate, valid CERTIFICATE_LIFETIME_S, by nobody but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Visavis POP")])
    starts = datetime.datetime.fromtimestamp(now_wall - _SKEW_S, datetime.UTC)
    ends = starts + datetime.timedelta(seconds=CERTIFICATE_LIFETIME_S)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)  # Chromium wants extensions
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _described(leaf, leaf.public_bytes(serialization.Encoding.PEM), key_pem, made_at=now_wall)


def _described(leaf: x509.Certificate, chain_pem: bytes, key_pem: bytes, made_at: int | None = None) -> Certificate:
    starts = int(leaf.not_valid_before_utc.timestamp())
    return Certificate(
        chain_pem=chain_pem,
        key_pem=key_pem,
        hash=base64.b64encode(leaf.fingerprint(hashes.SHA256())).decode(),
        made_at=starts if made_at is None else made_at,
        expires_at=int(leaf.not_valid_after_utc.timestamp()),
    )
