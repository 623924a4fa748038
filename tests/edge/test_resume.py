"""Resume tokens: one link each, for their own session, for a while."""

from __future__ import annotations

import re

import pytest

from core.errors import AdmissionError
from core.host.entropy import SeededEntropy
from core.limits import RESUME_TOKEN_LIFETIME_S, RESUME_TOKENS_PER_SESSION_MAX, TOKEN_SIZE_BYTES_MAX
from edge.resume import ResumeTokens

NOW = 50.0


@pytest.fixture
def tokens() -> ResumeTokens:
    return ResumeTokens(SeededEntropy(1).token_bytes)


def _refused(tokens: ResumeTokens, token: str, session_id: str = "s1", now: float = NOW) -> str:
    with pytest.raises(AdmissionError) as refused:
        tokens.redeem(token, session_id, now)
    assert not token or token not in str(refused.value)
    return refused.value.code


def test_a_token_opens_one_link(tokens: ResumeTokens) -> None:
    token = tokens.issue("s1", NOW)
    assert re.fullmatch(r"vvr_[A-Za-z0-9_-]{43}", token)
    tokens.redeem(token, "s1", NOW + 1)
    assert _refused(tokens, token) == "token-spent"
    assert tokens.issue("s1", NOW) != token


def test_a_token_is_for_its_own_session_and_trying_it_elsewhere_does_not_spend_it(tokens: ResumeTokens) -> None:
    token = tokens.issue("s1", NOW)
    assert _refused(tokens, token, "s2") == "wrong-session"
    tokens.redeem(token, "s1", NOW)


def test_a_token_expires(tokens: ResumeTokens) -> None:
    token = tokens.issue("s1", NOW)
    assert _refused(tokens, token, now=NOW + RESUME_TOKEN_LIFETIME_S) == "token-expired"


@pytest.mark.parametrize("token", ["", "vvr_", "vvr_" + "A" * 43, "x" * (TOKEN_SIZE_BYTES_MAX + 1), "vvr_\ud800"])
def test_what_nobody_issued_is_refused(tokens: ResumeTokens, token: str) -> None:
    tokens.issue("s1", NOW)
    assert _refused(tokens, token) == "bad-token"


def test_a_link_that_never_came_up_costs_no_token(tokens: ResumeTokens) -> None:
    token = tokens.issue("s1", NOW)
    tokens.redeem(token, "s1", NOW)
    tokens.restore(token)
    tokens.redeem(token, "s1", NOW)
    tokens.restore("vvr_unknown")


def test_what_is_kept_is_bounded_and_goes_with_the_session(tokens: ResumeTokens) -> None:
    issued = [tokens.issue("s1", NOW) for _ in range(RESUME_TOKENS_PER_SESSION_MAX + 3)]
    tokens.issue("s2", NOW)
    assert len(tokens) == RESUME_TOKENS_PER_SESSION_MAX + 1
    assert _refused(tokens, issued[0]) == "bad-token"
    tokens.forget("s1")
    tokens.forget("unknown")
    assert len(tokens) == 1
    assert _refused(tokens, issued[-1]) == "bad-token"


def test_nothing_that_is_kept_opens_anything(tokens: ResumeTokens) -> None:
    token = tokens.issue("s1", NOW)
    assert token not in repr(vars(tokens))
    assert all(token.encode() not in key for key in tokens._records)
