"""Tickets: signed, spent once, keys fetched no more than needed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.utils import base64url_encode

from core.errors import AdmissionError
from core.limits import KEY_SET_AGE_S_MAX, KEY_SET_REFRESH_S_MIN, PROOF_AGE_S_MAX, TOKEN_SIZE_BYTES_MAX
from core.session.proof import ProvenRequest, parse_public_key
from edge.admission import Admission, KeySet, parse_key_set
from loadtests.proof_key import ProofKey

NOW = 1_800_000_000
ISSUER = "https://origin.example"


class Origin:
    """Mints tickets and publishes keys."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.published = {"k1": self.key}
        self.fetches = 0
        self.down = False
        self.document: bytes | None = None
        self.now = 0.0

    async def fetch(self) -> bytes:
        self.fetches += 1
        if self.down:
            raise httpx.ConnectError("refused")
        if self.document is not None:
            return self.document
        keys = [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "kid": name,
                "x": base64url_encode(key.public_key().public_bytes_raw()).decode(),
            }
            for name, key in self.published.items()
        ]
        return json.dumps({"keys": [{"kty": "RSA", "kid": "other"}, *keys]}).encode()

    def ticket(self, *, kid: str | None = "k1", algorithm: str = "EdDSA", key: Any = None, **changes: Any) -> str:
        payload = {
            "iss": ISSUER,
            "aud": "local",
            "sid": "s1",
            "jti": "t1",
            "iat": NOW,
            "exp": NOW + 60,
            "epoch": 0,
            "scp": ["webrtc"],
            "chr": "mira",
            **changes,
        }
        headers = {"kid": kid} if kid is not None else None
        return jwt.encode(payload, key or self.key, algorithm=algorithm, headers=headers)

    def admission(self) -> Admission:
        keys = KeySet(self.fetch, clock=lambda: self.now)
        return Admission(pop="local", issuer=ISSUER, keys=keys)


URL = "http://pop/v1/sessions/s1/webrtc"


def thumbprint_of(key: ProofKey) -> str:
    return parse_public_key(key.jwk).thumbprint


def proof_of(key: ProofKey, token: str, url: str = URL) -> str:
    return key.prove("POST", url, token)


def request_with(proof: str) -> ProvenRequest:
    return ProvenRequest(proof=proof, method="POST", path="/v1/sessions/s1/webrtc", authorities=frozenset({"pop"}))


@pytest.fixture
def origin() -> Origin:
    return Origin()


async def refused(admission: Admission, token: str, session_id: str = "s1", now_wall: int = NOW) -> str:
    with pytest.raises(AdmissionError) as caught:
        await admission.admit(token, session_id, now_wall=now_wall)
    return caught.value.code


async def test_a_good_ticket_once(origin: Origin) -> None:
    admission = origin.admission()
    token = origin.ticket()
    claims = await admission.admit(token, "s1", now_wall=NOW)
    assert claims.session_id == "s1"
    assert await refused(admission, token) == "token-replayed"
    assert (await admission.admit(origin.ticket(jti="t2"), "s1", now_wall=NOW)).ticket_id == "t2"
    assert origin.fetches == 1


async def test_refusals(origin: Origin) -> None:
    admission = origin.admission()
    foreign = Ed25519PrivateKey.generate()
    assert await refused(admission, "") == "bad-token"
    assert await refused(admission, "garbage") == "bad-token"
    assert await refused(admission, "a.b.c") == "bad-token"
    assert await refused(admission, "x" * (TOKEN_SIZE_BYTES_MAX + 1)) == "bad-token"
    assert await refused(admission, origin.ticket(kid=None)) == "bad-token"
    assert await refused(admission, origin.ticket(algorithm="HS256", key="k" * 32)) == "bad-token"
    assert await refused(admission, jwt.encode({"sid": "s1"}, "", algorithm="none")) == "bad-token"
    assert await refused(admission, origin.ticket(key=foreign)) == "bad-signature"
    assert await refused(admission, origin.ticket()[:-4] + "AAAA") == "bad-signature"
    assert await refused(admission, origin.ticket(), now_wall=NOW + 60) == "token-expired"
    assert await refused(admission, origin.ticket(aud="other")) == "wrong-audience"
    assert await refused(admission, origin.ticket(), session_id="s2") == "wrong-session"
    # None of these spent the ticket.
    assert (await admission.admit(origin.ticket(), "s1", now_wall=NOW)).ticket_id == "t1"


async def test_a_new_key_is_fetched_but_not_for_everybody(origin: Origin) -> None:
    admission = origin.admission()
    await admission.admit(origin.ticket(), "s1", now_wall=NOW)
    newer = Ed25519PrivateKey.generate()
    origin.published["k2"] = newer
    assert await refused(admission, origin.ticket(kid="k2", key=newer, jti="t2")) == "unknown-key"
    origin.now += KEY_SET_REFRESH_S_MIN
    claims = await admission.admit(origin.ticket(kid="k2", key=newer, jti="t2"), "s1", now_wall=NOW)
    assert claims.ticket_id == "t2"
    for number in range(20):
        assert await refused(admission, origin.ticket(kid=f"forged-{number}")) == "unknown-key"
    assert origin.fetches == 2


async def test_a_withdrawn_key_stops_counting_once_the_origin_says_so(origin: Origin) -> None:
    admission = origin.admission()
    await admission.admit(origin.ticket(), "s1", now_wall=NOW)
    origin.published = {"k2": Ed25519PrivateKey.generate()}
    origin.now += KEY_SET_AGE_S_MAX + 1
    origin.down = True
    assert (await admission.admit(origin.ticket(jti="t2"), "s1", now_wall=NOW)).ticket_id == "t2"
    origin.down = False
    origin.now += KEY_SET_AGE_S_MAX + 1
    assert await refused(admission, origin.ticket(jti="t3")) == "unknown-key"


async def test_an_origin_that_is_down(origin: Origin) -> None:
    admission = origin.admission()
    origin.down = True
    assert await refused(admission, origin.ticket()) == "keys-unavailable"
    origin.down = False
    origin.now += KEY_SET_REFRESH_S_MIN
    assert (await admission.admit(origin.ticket(), "s1", now_wall=NOW)).session_id == "s1"
    origin.down = True
    origin.now += KEY_SET_REFRESH_S_MIN
    assert await refused(admission, origin.ticket(kid="k9", jti="t9")) == "unknown-key"
    assert (await admission.admit(origin.ticket(jti="t2"), "s1", now_wall=NOW)).ticket_id == "t2"


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 1}', b"\xff\xfe", b'{"keys":[{"kty":"OKP"}]}'])
async def test_a_broken_key_set(origin: Origin, document: bytes) -> None:
    origin.document = document
    assert await refused(origin.admission(), origin.ticket()) == "keys-unavailable"


def test_keys_of_a_wrong_size_are_no_key_set() -> None:
    with pytest.raises(ValueError, match="32"):
        parse_key_set(b'{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"AAAA"}]}')


async def test_a_bound_ticket_opens_nothing_for_a_thief_and_stays_good_for_its_owner(origin: Origin) -> None:
    admission, key, thief = origin.admission(), ProofKey(lambda: float(NOW)), ProofKey(lambda: float(NOW))
    token = origin.ticket(cnf={"jkt": thumbprint_of(key)})
    attempts: dict[str, ProvenRequest | None] = {
        "proof-missing": None,
        "proof-wrong-key": request_with(proof_of(thief, token)),
        "proof-wrong-token": request_with(proof_of(key, "another")),
        "proof-wrong-request": request_with(proof_of(key, token, URL + "/x")),
        "bad-proof": request_with("garbage"),
    }
    for code, request in attempts.items():
        with pytest.raises(AdmissionError) as caught:
            await admission.admit(token, "s1", now_wall=NOW, request=request)
        assert caught.value.code == code
    old = request_with(proof_of(key, token))
    with pytest.raises(AdmissionError) as caught:
        await admission.admit(token, "s1", now_wall=NOW + PROOF_AGE_S_MAX + 1, request=old)
    assert caught.value.code == "proof-expired"
    good = request_with(proof_of(key, token))
    claims = await admission.admit(token, "s1", now_wall=NOW, request=good)
    assert claims.thumbprint == thumbprint_of(key)
    with pytest.raises(AdmissionError) as caught:
        await admission.admit(token, "s1", now_wall=NOW, request=good)
    assert caught.value.code == "proof-replayed"
    with pytest.raises(AdmissionError) as caught:
        await admission.admit(token, "s1", now_wall=NOW, request=request_with(proof_of(key, token)))
    assert caught.value.code == "token-replayed"


@pytest.mark.parametrize("cnf", [None, {}, "x", {"jkt": "short"}, {"x5t#S256": "x" * 43}])
async def test_a_ticket_that_is_bound_to_who_knows_what_is_refused(origin: Origin, cnf: object) -> None:
    assert await refused(origin.admission(), origin.ticket(cnf=cnf)) == "bad-claims"


async def test_changed_keys_are_fetched_at_once(origin: Origin) -> None:
    keys = KeySet(origin.fetch, clock=lambda: origin.now)
    admission = Admission(pop="local", issuer=ISSUER, keys=keys)
    await admission.admit(origin.ticket(), "s1", now_wall=NOW)
    origin.published = {"k2": Ed25519PrivateKey.generate()}

    async def changes() -> AsyncIterator[bytes]:
        yield b""

    await keys.follow(changes())
    assert await refused(admission, origin.ticket(jti="t2")) == "unknown-key", "a removed key counts no longer"
    assert origin.fetches == 2
