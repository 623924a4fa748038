"""Credentials that a TURN relay computes for itself and compares."""

from __future__ import annotations

import base64
import hashlib
import hmac

from core.session.turn_credentials import turn_credentials


def test_they_are_what_the_draft_says() -> None:
    granted = turn_credentials("north", user="s-1", expires_at=1_800_000_000)
    assert granted.username == "1800000000:s-1"
    digest = hmac.digest(b"north", b"1800000000:s-1", hashlib.sha1)
    assert granted.credential == base64.b64encode(digest).decode()
    # `openssl dgst -sha1 -hmac north -binary` of the same text.
    assert granted.credential == "Y2kGfjK2VZQN7vH2k9TYi34uMBA="


def test_everything_in_them_counts() -> None:
    granted = turn_credentials("north", user="s-1", expires_at=1)
    others = (
        turn_credentials("south", user="s-1", expires_at=1),
        turn_credentials("north", user="s-2", expires_at=1),
        turn_credentials("north", user="s-1", expires_at=2),
    )
    assert granted.credential not in {other.credential for other in others}
