from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jwt
import pytest

from core.errors import ConfigError
from origin.tokens import load_key


def test_the_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = load_key(tmp_path / "run")
    path = tmp_path / "run" / "ticket-key.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(tmp_path / "run").key_id == first.key_id
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_key(tmp_path / "run")
    path.chmod(0o600)
    path.write_text("garbage")
    with pytest.raises(ConfigError, match="remove it"):
        load_key(tmp_path / "run")


def test_the_key_id_is_the_thumbprint(tmp_path: Path) -> None:
    key = load_key(tmp_path)
    (jwk,) = key.key_set()["keys"]
    assert "d" not in jwk
    text = f'{{"crv":"Ed25519","kty":"OKP","x":"{jwk["x"]}"}}'
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    assert jwk["kid"] == key.key_id == digest


@pytest.mark.parametrize("lifetime_s", [0, -1, 61])
def test_no_ticket_lives_too_long(tmp_path: Path, lifetime_s: int) -> None:
    with pytest.raises(ValueError, match="lives"):
        load_key(tmp_path).mint(
            issuer="i",
            audience="a",
            session_id="s",
            ticket_id="t",
            character="c",
            epoch=1,
            now_wall=1,
            lifetime_s=lifetime_s,
        )


def test_a_ticket_of_another_key_does_not_verify(tmp_path: Path) -> None:
    one, other = load_key(tmp_path / "1"), load_key(tmp_path / "2")
    token = one.mint(issuer="i", audience="a", session_id="s", ticket_id="t", character="c", epoch=1, now_wall=1)
    keys = jwt.PyJWKSet.from_dict(other.key_set())
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, keys.keys[0], algorithms=["EdDSA"], options={"verify_aud": False, "verify_exp": False})
