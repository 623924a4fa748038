"""Who may come in: Ed25519-signed tickets of the origin, for this POP, spent once, by the key they are bound to."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Final

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.utils import base64url_decode

from core.errors import AdmissionError
from core.limits import (
    KEY_SET_AGE_S_MAX,
    KEY_SET_REFRESH_S_MIN,
    KEY_SET_SIZE_BYTES_MAX,
    KEY_SET_TIMEOUT_S,
    PROOFS_SPENT_MAX,
    TOKEN_SIZE_BYTES_MAX,
)
from core.session.claims import SCOPE_WEBRTC, Claims, check_claims
from core.session.proof import ProvenRequest, check_proof
from core.session.spent import SpentIds

__all__ = ["Admission", "FetchKeySet", "KeySet", "fetch_key_set_over_http"]

_log = logging.getLogger(__name__)

FetchKeySet = Callable[[], Awaitable[bytes]]
"""Gets the origin's JWKS document; raises OSError or httpx.HTTPError when it cannot."""

_KEYS_MAX: Final = 16


def fetch_key_set_over_http(url: str) -> FetchKeySet:
    """A fetcher of `url` that reads at most KEY_SET_SIZE_BYTES_MAX bytes in at most KEY_SET_TIMEOUT_S."""

    async def fetch() -> bytes:
        async with (
            # For http nobody reads the certificates of all the world, which would hold the conductor up for 30 ms.
            httpx.AsyncClient(timeout=KEY_SET_TIMEOUT_S, trust_env=False, verify=url.startswith("https:")) as client,
            client.stream("GET", url) as response,
        ):
            response.raise_for_status()
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > KEY_SET_SIZE_BYTES_MAX:
                    raise OSError("the key set is too large")
            return bytes(body)

    return fetch


class KeySet:
    """The origin's public keys by key id, cached; an unknown id makes it look again, but not too often.

    Args:
        fetch: gets the JWKS document.
        clock: monotonic seconds.
    """

    def __init__(self, fetch: FetchKeySet, *, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._asked_at: float | None = None
        self._changed = False
        self._lock = asyncio.Lock()

    async def key(self, key_id: str) -> Ed25519PublicKey:
        """The key with this id.

        Raises: AdmissionError: `unknown-key`; `keys-unavailable` when no key set could be had at all.
        """
        known = self._keys.get(key_id)
        if known is not None and not self._aged():
            return known
        async with self._lock:
            if key_id not in self._keys or self._aged():
                await self._refresh()
        known = self._keys.get(key_id)
        if known is not None:
            return known
        if not self._keys:
            raise AdmissionError("keys-unavailable", "The origin's keys cannot be had right now; try again.")
        raise AdmissionError("unknown-key", "The ticket was signed with a key that the origin does not publish.")

    async def follow(self, changes: AsyncIterable[object]) -> None:
        """Fetch the keys anew for the first ticket after every change, until there are no more."""
        async for _ in changes:
            self._changed = True

    def _aged(self) -> bool:
        return self._changed or (self._asked_at is not None and self._clock() - self._asked_at > KEY_SET_AGE_S_MAX)

    async def _refresh(self) -> None:
        now = self._clock()
        changed, self._changed = self._changed, False
        wait_s = 0.0 if changed else KEY_SET_REFRESH_S_MIN if self._keys else KEY_SET_REFRESH_S_MIN / 5
        if self._asked_at is not None and now - self._asked_at < wait_s:
            return
        self._asked_at = now
        try:
            keys = parse_key_set(await self._fetch())
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
            _log.warning("the origin's key set cannot be had: %s", error)
            return
        if keys:
            self._keys = keys


def parse_key_set(document: bytes) -> dict[str, Ed25519PublicKey]:
    """Ed25519 keys of a JWKS document by `kid`; other keys are passed over.

    Raises: ValueError: it is no JWKS document.
    Source: RFC 7517 section 5, RFC 8037 section 2.
    """
    tree: Any = json.loads(document)
    if not isinstance(tree, dict) or not isinstance(tree.get("keys"), list):
        raise ValueError("not a key set")
    keys: dict[str, Ed25519PublicKey] = {}
    for entry in tree["keys"][:_KEYS_MAX]:
        if not isinstance(entry, dict) or entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519":
            continue
        key_id, point = entry.get("kid"), entry.get("x")
        if isinstance(key_id, str) and isinstance(point, str):
            keys[key_id] = Ed25519PublicKey.from_public_bytes(base64url_decode(point))
    return keys


class Admission:
    """Checks tickets.

    Args:
        pop: this POP's name, which must be the ticket's audience.
        issuer: whose tickets are good.
        keys: the issuer's keys.
        spent: ids of tickets used so far.
    """

    def __init__(self, *, pop: str, issuer: str, keys: KeySet, spent: SpentIds | None = None) -> None:
        self._pop = pop
        self._issuer = issuer
        self._keys = keys
        self._spent = spent if spent is not None else SpentIds()
        self._proofs = SpentIds(
            PROOFS_SPENT_MAX, code="proof-replayed", message="The proof has been used; make one for each request."
        )

    async def admit(
        self,
        token: str,
        session_id: str,
        *,
        now_wall: int,
        scope: str = SCOPE_WEBRTC,
        request: ProvenRequest | None = None,
    ) -> Claims:
        """Check a ticket and spend it. One that came without its proof stays good for whoever has it.

        Args:
            token: the JWT in compact form.
            session_id: the session in the request's path.
            now_wall: wall time in whole seconds.
            request: what the ticket came with; None: no way to send a proof.

        Raises: AdmissionError: `bad-token` (no JWT, not EdDSA), `bad-signature`, `unknown-key`, `keys-unavailable`,
            `token-replayed`, `overloaded`, and the codes of `core.session.claims.check_claims` and `prove`.
        """
        claims = check_claims(
            await self._verify(token),
            issuer=self._issuer,
            audience=self._pop,
            session_id=session_id,
            scope=scope,
            now_wall=now_wall,
        )
        self.prove(request, token=token, thumbprint=claims.thumbprint, now_wall=now_wall)
        self._spent.spend(claims.ticket_id, claims.expires_at, now_wall)
        return claims

    def prove(self, request: ProvenRequest | None, *, token: str, thumbprint: str, now_wall: int) -> None:
        """Check that whoever sends a token holds the key it is bound to; where it is bound to none, nothing is asked.

        Raises: AdmissionError: `proof-replayed`, `overloaded` and the codes of `core.session.proof.check_proof`.
        """
        if not thumbprint:
            return
        if request is None:
            request = ProvenRequest(proof="", method="", path="", authorities=frozenset())
        proof = check_proof(request, token=token, thumbprint=thumbprint, now_wall=now_wall)
        self._proofs.spend(f"{thumbprint}.{proof.proof_id}", proof.expires_at, now_wall)

    async def _verify(self, token: str) -> dict[str, object]:
        if not token or len(token) > TOKEN_SIZE_BYTES_MAX:
            raise AdmissionError("bad-token", "There is no ticket, or it is too large.")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise AdmissionError("bad-token", "The ticket is not a JWT.") from error
        key_id = header.get("kid")
        if header.get("alg") != "EdDSA" or not isinstance(key_id, str) or "crit" in header:
            raise AdmissionError("bad-token", "A ticket is signed with EdDSA and names its key.")
        key = await self._keys.key(key_id)
        try:
            # PyJWT reads the clock itself, so its time checks are off: check_claims does them with the time it gets.
            payload: dict[str, object] = jwt.decode(token, key, algorithms=["EdDSA"], options=_ONLY_SIGNATURE)
        except jwt.InvalidSignatureError as error:
            raise AdmissionError("bad-signature", "The ticket's signature is wrong.") from error
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise AdmissionError("bad-token", "The ticket is not a JWT.") from error
        return payload


_ONLY_SIGNATURE: Final[Any] = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}
