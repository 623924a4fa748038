"""A ticket's payload: every claim missing, wrong and of a wrong type has its code."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import AdmissionError
from core.limits import TICKET_CLOCK_SKEW_S, TICKET_LIFETIME_S
from core.session.claims import Claims, check_claims

NOW = 1_800_000_000
GOOD: dict[str, Any] = {
    "iss": "https://origin.example",
    "aud": "fra-1",
    "sid": "s-1",
    "jti": "t-1",
    "iat": NOW - 1,
    "exp": NOW + 30,
    "epoch": 3,
    "scp": ["webrtc"],
    "chr": "mira",
}


def check(payload: dict[str, Any], **wanted: Any) -> Claims:
    arguments: dict[str, Any] = {
        "issuer": "https://origin.example",
        "audience": "fra-1",
        "session_id": "s-1",
        "scope": "webrtc",
        "now_wall": NOW,
        **wanted,
    }
    return check_claims(payload, **arguments)


def code(payload: dict[str, Any], **wanted: Any) -> str:
    with pytest.raises(AdmissionError) as caught:
        check(payload, **wanted)
    assert str(caught.value)
    return caught.value.code


def test_a_ticket_is_for_a_conversation_unless_it_says_otherwise() -> None:
    assert check(GOOD).mode == "conversation"
    assert check({**GOOD, "mode": "mirror"}).mode == "mirror"
    for mode in ("karaoke", "", 3, None):
        assert code({**GOOD, "mode": mode}) == "bad-claims"


def test_good_ticket() -> None:
    claims = check(GOOD)
    assert claims.session_id == "s-1"
    assert claims.ticket_id == "t-1"
    assert claims.epoch == 3
    assert claims.scopes == ("webrtc",)
    assert claims.character == "mira"


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize("value", [None, 1.5, True, {}, "", -1, "x" * 300, ["a", 1], 1 << 60])
def test_wrong_types(name: str, value: object) -> None:
    assert code({**GOOD, name: value}) == "bad-claims"


@pytest.mark.parametrize("name", sorted(GOOD))
def test_missing(name: str) -> None:
    assert code({key: value for key, value in GOOD.items() if key != name}) == "bad-claims"


@pytest.mark.parametrize("sid", ["../etc", "a b", "a\n", "session/1", "ü"])
def test_identifiers_fit_into_a_path(sid: str) -> None:
    assert code({**GOOD, "sid": sid}, session_id=sid) == "bad-claims"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"issuer": "https://other.example"}, "wrong-issuer"),
        ({"audience": "iad-1"}, "wrong-audience"),
        ({"session_id": "s-2"}, "wrong-session"),
        ({"scope": "webtransport"}, "wrong-scope"),
        ({"now_wall": NOW + 30}, "token-expired"),
        ({"now_wall": NOW - 1 - TICKET_CLOCK_SKEW_S - 1}, "token-from-the-future"),
    ],
)
def test_not_good_here_and_now(wanted: dict[str, Any], expected: str) -> None:
    assert code(GOOD, **wanted) == expected


def test_clock_skew_is_forgiven() -> None:
    assert check(GOOD, now_wall=NOW - 1 - TICKET_CLOCK_SKEW_S).issued_at == NOW - 1


@pytest.mark.parametrize("lifetime_s", [0, -5, TICKET_LIFETIME_S + 1, 86_400])
def test_lifetime(lifetime_s: int) -> None:
    assert code({**GOOD, "exp": GOOD["iat"] + lifetime_s}) == "token-lifetime"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON))
def test_anything_is_a_ticket_or_refused(changes: dict[str, Any]) -> None:
    try:
        claims = check({**GOOD, **changes})
    except AdmissionError as error:
        assert error.code
    else:
        assert claims.expires_at > NOW
