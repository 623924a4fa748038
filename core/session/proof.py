"""Proof of possession: whoever comes with a token also shows that it holds the key the token was minted for.

The shape is that of DPoP: a client has a P-256 key whose private half never leaves it. The origin puts the key's
thumbprint into the token (`cnf.jkt`); with each request the client signs a small JWT that names the request and the
token. A token alone, stolen on its way or from a log, opens nothing.

Two deviations. The scheme of `htu` is not compared, since TLS may end in front of us, and its authority must be one by
which this server is known, since a POP has several names. There is no nonce: clients set their clock by the ticket.

Sources: RFC 9449 (DPoP), RFC 7638 (thumbprints), RFC 7515 and 7518 section 3.4 (ES256), RFC 7800 (`cnf`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from core.errors import AdmissionError
from core.limits import PROOF_AGE_S_MAX, PROOF_SIZE_BYTES_MAX, TICKET_CLOCK_SKEW_S

__all__ = [
    "Proof",
    "ProvenRequest",
    "PublicKey",
    "check_proof",
    "is_thumbprint",
    "make_proof",
    "parse_public_key",
    "public_key_of",
    "token_hash",
]

_TYPE: Final = "dpop+jwt"
_COORDINATE_SIZE_BYTES: Final = 32
_URL: Final = re.compile(r"https?://([^/?#@\s]{1,255})(/[^?#\s]*)?\Z")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*\Z")
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{8,64}\Z")
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_DEFAULT_PORT: Final = re.compile(r":(80|443)\Z")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A client's P-256 key, its coordinates in base64url as a JWK has them."""

    x: str
    y: str

    @property
    def jwk(self) -> dict[str, str]:
        """The required members of its JWK."""
        return {"crv": "P-256", "kty": "EC", "x": self.x, "y": self.y}

    @property
    def thumbprint(self) -> str:
        """RFC 7638 with SHA-256, base64url."""
        canonical = json.dumps(self.jwk, separators=(",", ":"), sort_keys=True).encode()
        return _encode(hashlib.sha256(canonical).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenRequest:
    """A request, and what came with it to prove that its sender holds the key.

    Attributes:
        proof: the JWT; empty: there was none.
        method: `POST`, `PATCH` or `CONNECT`.
        path: of its URL, without query.
        authorities: names of this server, `host` or `host:port`; the proof must be for one of them.
    """

    proof: str
    method: str
    path: str
    authorities: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A proof that was checked.

    Attributes:
        key: who signed it.
        proof_id: `jti`; to be spent until `expires_at`, wall time in seconds.
    """

    key: PublicKey
    proof_id: str
    expires_at: int


def parse_public_key(jwk: object) -> PublicKey:
    """The key of a public JWK. Raises: AdmissionError: `bad-proof-key`, also when it holds a private key."""
    members: Mapping[str, object] = cast("Mapping[str, object]", jwk) if isinstance(jwk, Mapping) else {}
    x, y = members.get("x"), members.get("y")
    if members.get("kty") != "EC" or members.get("crv") != "P-256" or not isinstance(x, str) or not isinstance(y, str):
        raise AdmissionError("bad-proof-key", "The key is no public P-256 key as a JWK.")
    if "d" in members:
        raise AdmissionError("bad-proof-key", "The key is a private one; never send that.")
    key = PublicKey(x, y)
    _curve_point(key)
    return key


def _curve_point(key: PublicKey) -> ec.EllipticCurvePublicKey:
    try:
        x, y = _decode(key.x), _decode(key.y)
        if len(x) != _COORDINATE_SIZE_BYTES or len(y) != _COORDINATE_SIZE_BYTES:
            raise ValueError("coordinates of another curve")
        numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
        return numbers.public_key()
    except ValueError:
        raise AdmissionError("bad-proof-key", "The key is no point of the curve P-256.") from None


def is_thumbprint(value: object) -> bool:
    """Whether it has the shape of a thumbprint with SHA-256."""
    return isinstance(value, str) and _THUMBPRINT.match(value) is not None


def token_hash(token: str) -> str:
    """`ath` of a token (RFC 9449 section 4.2)."""
    return _encode(hashlib.sha256(token.encode()).digest())


def check_proof(request: ProvenRequest, *, token: str, thumbprint: str, now_wall: int) -> Proof:
    """Check a request's proof; whether it was used before is somebody else's memory (`core.session.spent`).

    Args:
        token: what the proof must name; empty: nothing, the key itself is what gives leave.
        thumbprint: of the key that the proof must be signed with.
        now_wall: wall time in whole seconds.

    Raises: AdmissionError: `proof-missing`, `bad-proof` (no such JWT, or a wrong signature), `proof-wrong-key`,
        `proof-wrong-request`, `proof-wrong-token`, `proof-expired`, `proof-from-the-future`.
    Source: RFC 9449 section 4.3.
    """
    if not request.proof:
        raise AdmissionError("proof-missing", "The ticket is bound to a key; send a proof of it (header DPoP).")
    key, claims = _verify(request.proof)
    if key.thumbprint != thumbprint:
        raise AdmissionError("proof-wrong-key", "The proof is signed with another key than the ticket is bound to.")
    if claims.get("htm") != request.method or not _is_for(claims.get("htu"), request):
        raise AdmissionError("proof-wrong-request", "The proof is for another request (htm, htu).")
    if token and claims.get("ath") != token_hash(token):
        raise AdmissionError("proof-wrong-token", "The proof is for another ticket (ath).")
    proof_id, issued_at = claims.get("jti"), claims.get("iat")
    if not isinstance(proof_id, str) or not _IDENTIFIER.match(proof_id):
        raise AdmissionError("bad-proof", "The proof has no jti of 8 to 64 characters.")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int):
        raise AdmissionError("bad-proof", "The proof has no iat.")
    if issued_at > now_wall + TICKET_CLOCK_SKEW_S:
        raise AdmissionError("proof-from-the-future", "The proof was made in the future; set the clock by the ticket.")
    if now_wall - issued_at > PROOF_AGE_S_MAX:
        raise AdmissionError("proof-expired", "The proof is too old; make one for each request.")
    return Proof(key=key, proof_id=proof_id, expires_at=issued_at + PROOF_AGE_S_MAX + 1)


def _is_for(url: object, request: ProvenRequest) -> bool:
    match = _URL.match(url) if isinstance(url, str) else None
    if match is None or (match[2] or "/") != request.path:
        return False
    return _plain(match[1]) in {_plain(name) for name in request.authorities}


def _plain(authority: str) -> str:
    return _DEFAULT_PORT.sub("", authority.lower())


def _verify(proof: str) -> tuple[PublicKey, Mapping[str, object]]:
    bad = AdmissionError("bad-proof", "The proof is not a DPoP proof signed with ES256.")
    parts = proof.split(".")
    if len(proof) > PROOF_SIZE_BYTES_MAX or len(parts) != 3:
        raise bad
    try:
        header, claims = _object(parts[0]), _object(parts[1])
        signature = _decode(parts[2])
    except (ValueError, RecursionError):
        raise bad from None
    if header.get("typ") != _TYPE or header.get("alg") != "ES256" or "crit" in header:
        raise bad
    if len(signature) != 2 * _COORDINATE_SIZE_BYTES:
        raise bad
    try:
        key = parse_public_key(header.get("jwk"))
    except AdmissionError:
        raise bad from None
    r, s = signature[:_COORDINATE_SIZE_BYTES], signature[_COORDINATE_SIZE_BYTES:]
    encoded = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    try:
        _curve_point(key).verify(encoded, f"{parts[0]}.{parts[1]}".encode(), ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise bad from None
    return key, claims


def _object(part: str) -> Mapping[str, object]:
    found: object = json.loads(_decode(part))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return cast("dict[str, object]", found)


def make_proof(
    private: ec.EllipticCurvePrivateKey,
    *,
    method: str,
    url: str,
    proof_id: str,
    now_wall: int,
    token: str = "",
) -> str:
    """A proof for one request, as a client makes it.

    Args:
        url: of the request; query and fragment are left out.
        proof_id: never used before.
        token: what it goes with; empty: none.
    """
    header = {"typ": _TYPE, "alg": "ES256", "jwk": public_key_of(private).jwk}
    claims: dict[str, object] = {"htm": method, "htu": re.split(r"[?#]", url)[0], "iat": now_wall, "jti": proof_id}
    if token:
        claims["ath"] = token_hash(token)
    signed = ".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    r, s = decode_dss_signature(private.sign(signed.encode(), ec.ECDSA(SHA256())))
    size = _COORDINATE_SIZE_BYTES
    return f"{signed}.{_encode(r.to_bytes(size, 'big') + s.to_bytes(size, 'big'))}"


def public_key_of(private: ec.EllipticCurvePrivateKey) -> PublicKey:
    """The public half of a P-256 key."""
    numbers = private.public_key().public_numbers()
    size = _COORDINATE_SIZE_BYTES
    return PublicKey(_encode(numbers.x.to_bytes(size, "big")), _encode(numbers.y.to_bytes(size, "big")))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Raises: ValueError: no base64url without padding."""
    if not _BASE64URL.match(text):
        raise ValueError("not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encode(data) != text:
        raise ValueError("not the only way to write it")
    return data
