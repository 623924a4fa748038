"""Proof of possession: what is good, and every way in which it is not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import AdmissionError
from core.limits import PROOF_AGE_S_MAX, PROOF_SIZE_BYTES_MAX, TICKET_CLOCK_SKEW_S
from core.session.proof import (
    ProvenRequest,
    PublicKey,
    check_proof,
    is_thumbprint,
    make_proof,
    parse_public_key,
    public_key_of,
    token_hash,
)

NOW = 1_800_000_000
URL = "https://pop.example/v1/sessions/s/webrtc"
KEY = ec.derive_private_key(0x1234_5678_9ABC_DEF0, ec.SECP256R1())
OTHER = ec.derive_private_key(0xFEDC_BA98, ec.SECP256R1())


def request(proof: str, **changes: Any) -> ProvenRequest:
    fields: dict[str, Any] = {
        "proof": proof,
        "method": "POST",
        "path": "/v1/sessions/s/webrtc",
        "authorities": frozenset({"pop.example", "10.0.0.1:8080"}),
    }
    return ProvenRequest(**{**fields, **changes})


def made(**changes: Any) -> str:
    fields: dict[str, Any] = {"method": "POST", "url": URL, "proof_id": "proof-0001", "now_wall": NOW, "token": "t"}
    return make_proof(changes.pop("key", KEY), **{**fields, **changes})


def code(proof: str, *, token: str = "t", now_wall: int = NOW, **changes: Any) -> str:
    with pytest.raises(AdmissionError) as caught:
        check_proof(request(proof, **changes), token=token, thumbprint=public_key_of(KEY).thumbprint, now_wall=now_wall)
    assert str(caught.value).endswith((".", ").")), "a sentence"
    return caught.value.code


def part(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: dict[str, Any], claims: object, key: ec.EllipticCurvePrivateKey = KEY) -> str:
    text = f"{part(header)}.{part(claims)}"
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(SHA256())))
    return f"{text}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


HEADER = {"typ": "dpop+jwt", "alg": "ES256", "jwk": public_key_of(KEY).jwk}
CLAIMS = {"htm": "POST", "htu": URL, "iat": NOW, "jti": "proof-0001", "ath": token_hash("t")}


def test_a_good_proof() -> None:
    for proof in (made(), signed(HEADER, CLAIMS)):
        checked = check_proof(
            request(proof), token="t", thumbprint=public_key_of(KEY).thumbprint, now_wall=NOW + PROOF_AGE_S_MAX
        )
        assert checked.key == public_key_of(KEY)
        assert (checked.proof_id, checked.expires_at) == ("proof-0001", NOW + PROOF_AGE_S_MAX + 1)


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    key = public_key_of(KEY)
    assert is_thumbprint(key.thumbprint)
    assert key == parse_public_key({**key.jwk, "kid": "more", "use": "sig"})
    # The example of RFC 9449 section 4.1 and its thumbprint in section 6.1.
    jwk = {
        "kty": "EC",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
        "crv": "P-256",
    }
    assert parse_public_key(jwk).thumbprint == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def test_a_proof_is_for_one_request() -> None:
    assert code(made(method="PATCH")) == "proof-wrong-request"
    assert code(made(url="https://pop.example/v1/sessions/x/webrtc")) == "proof-wrong-request"
    assert code(made(url="https://evil.example/v1/sessions/s/webrtc")) == "proof-wrong-request"
    assert code(made(url="ftp://pop.example/v1/sessions/s/webrtc")) == "proof-wrong-request"
    assert code(made(url="https://x@pop.example/v1/sessions/s/webrtc")) == "proof-wrong-request"
    thumbprint = public_key_of(KEY).thumbprint
    for url in (URL + "?a=1#b", URL.upper().replace("/V1/SESSIONS/S/WEBRTC", "/v1/sessions/s/webrtc").lower()):
        check_proof(request(made(url=url)), token="t", thumbprint=thumbprint, now_wall=NOW)
    for url in ("http://pop.example:80/v1/sessions/s/webrtc", "http://10.0.0.1:8080/v1/sessions/s/webrtc"):
        check_proof(request(made(url=url)), token="t", thumbprint=thumbprint, now_wall=NOW)


def test_of_one_key_with_one_token_at_one_time() -> None:
    assert code("") == "proof-missing"
    assert code(made(key=OTHER)) == "proof-wrong-key"
    assert code(made(token="another")) == "proof-wrong-token"
    assert code(made(token="")) == "proof-wrong-token"
    assert code(made(), now_wall=NOW + PROOF_AGE_S_MAX + 1) == "proof-expired"
    assert code(made(), now_wall=NOW - TICKET_CLOCK_SKEW_S - 1) == "proof-from-the-future"
    without = make_proof(KEY, method="POST", url=URL, proof_id="proof-0001", now_wall=NOW)
    check_proof(request(without), token="", thumbprint=public_key_of(KEY).thumbprint, now_wall=NOW)


@pytest.mark.parametrize(
    "proof",
    [
        "x",
        "a.b",
        "a.b.c.d",
        "....",
        "x" * (PROOF_SIZE_BYTES_MAX + 1),
        made()[:-4] + "AAAA",
        made() + "=",
        signed({**HEADER, "typ": "JWT"}, CLAIMS),
        signed({**HEADER, "alg": "none"}, CLAIMS),
        signed({**HEADER, "crit": ["x"]}, CLAIMS),
        signed({**HEADER, "jwk": public_key_of(OTHER).jwk}, CLAIMS),
        signed({**HEADER, "jwk": {**HEADER["jwk"], "d": "AAAA"}}, CLAIMS),  # type: ignore[dict-item]
        signed({**HEADER, "jwk": None}, CLAIMS),
        signed(HEADER, [CLAIMS]),
        signed(HEADER, {**CLAIMS, "jti": "short"}),
        signed(HEADER, {**CLAIMS, "jti": "x" * 65}),
        signed(HEADER, {**CLAIMS, "jti": 7}),
        signed(HEADER, {**CLAIMS, "iat": True}),
        signed(HEADER, {**CLAIMS, "iat": str(NOW)}),
        f"{part(b'[' * 900)}.{part(CLAIMS)}.{part(bytes(64))}",
        f"{part(HEADER)}.{part(CLAIMS)}.{part(bytes(64))}",
        f"{part(HEADER)}.{part(CLAIMS)}.{part(bytes(63))}",
    ],
)
def test_what_is_no_proof(proof: str) -> None:
    assert code(proof) == "bad-proof"


@pytest.mark.parametrize(
    "jwk",
    [
        None,
        [],
        {},
        {"kty": "RSA"},
        {**public_key_of(KEY).jwk, "crv": "P-384"},
        {**public_key_of(KEY).jwk, "x": "AA"},
        {**public_key_of(KEY).jwk, "x": "!"},
        {**public_key_of(KEY).jwk, "y": public_key_of(KEY).x},  # not on the curve
        {**public_key_of(KEY).jwk, "d": "AA"},
    ],
)
def test_what_is_no_key(jwk: object) -> None:
    with pytest.raises(AdmissionError) as caught:
        parse_public_key(jwk)
    assert caught.value.code == "bad-proof-key"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(made()) - 1), st.characters(codec="ascii"))
def test_no_changed_letter_is_forgiven(place: int, letter: str) -> None:
    """Signatures of ECDSA are not unique, but who has not got the key cannot make another."""
    proof = made()
    changed = proof[:place] + letter + proof[place + 1 :]
    if changed != proof:
        assert code(changed) in ("bad-proof", "proof-missing")


@settings(deadline=None)
@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda data: f"{part(data)}.{part(data)}.{part(bytes(64))}"))
def test_anything_is_refused(text: str) -> None:
    assert code(text) in ("bad-proof", "proof-missing")


def test_a_key_reads_as_it_was_written() -> None:
    key = public_key_of(OTHER)
    assert PublicKey(key.x, key.y) == parse_public_key(json.loads(json.dumps(key.jwk)))
    for value in ("", "x" * 42, "x" * 42 + "!", None, 3):
        assert not is_thumbprint(value)
