"""Certificates of the QUIC endpoint, in virtual time."""

from __future__ import annotations

import base64
import datetime
import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from core.errors import ConfigError
from core.limits import CERTIFICATE_LIFETIME_S, TICKET_LIFETIME_S
from edge.certificates import OwnCertificate, RotatingCertificates, load_certificates, self_signed

NOW = 1_800_000_000
HALF = CERTIFICATE_LIFETIME_S // 2


def test_browsers_take_it_by_its_hash() -> None:
    made = self_signed(NOW)
    leaf = x509.load_pem_x509_certificate(made.chain_pem)
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < datetime.timedelta(days=14)
    assert leaf.not_valid_before_utc.timestamp() < NOW  # a viewer's clock may be behind
    assert len(leaf.extensions) > 0
    assert made.hash == base64.b64encode(hashlib.sha256(leaf.public_bytes(Encoding.DER)).digest()).decode()


def test_the_next_one_is_told_first_and_served_when_all_good_tickets_tell_it() -> None:
    certificates = RotatingCertificates()
    first = certificates.current(NOW)
    assert certificates.hashes(NOW + HALF - 4_000) == (first.hash,)
    at = NOW + HALF
    both = certificates.hashes(at)
    assert both[0] == first.hash
    assert len(both) == 2
    assert certificates.current(at + 10_000) == first  # nobody was told: the store may be away
    certificates.told(both, at + 10_000)
    assert certificates.current(at + 10_000 + TICKET_LIFETIME_S) == first
    assert certificates.hashes(at + 10_000 + TICKET_LIFETIME_S) == both
    second = certificates.current(at + 10_000 + 2 * TICKET_LIFETIME_S)
    assert second.hash == both[1]
    assert certificates.hashes(at + 20_000) == (second.hash,)
    assert second.expires_at - first.expires_at > HALF - 4_000


def test_a_year_of_rotations_never_serves_what_is_expired_or_was_not_told() -> None:
    certificates = RotatingCertificates()
    told: set[str] = set()
    for day in range(365):
        now = NOW + day * 86_400
        hashes = certificates.hashes(now)
        certificates.told(hashes, now)
        told |= set(hashes)
        for at in (now, now + 300):
            served = certificates.current(at)
            assert served.hash in told
            assert served.made_at <= at < served.expires_at
    assert 60 < len(told) < 80


def test_an_expired_one_is_replaced_whatever_was_told() -> None:
    certificates = RotatingCertificates()
    first = certificates.current(NOW)
    late = certificates.current(first.expires_at)
    assert late.hash != first.hash
    assert late.expires_at > first.expires_at


def write(folder: Path, name: str = "a") -> tuple[Path, Path]:
    made = self_signed(NOW)
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(made.chain_pem)
    key.write_bytes(made.key_pem)
    return certificate, key


def test_an_operators_own_has_no_hashes(tmp_path: Path) -> None:
    certificate, key = write(tmp_path)
    own = load_certificates(certificate, key)
    assert own.hashes(NOW) == ()
    assert own.current(NOW).chain_pem == certificate.read_bytes()
    assert isinstance(load_certificates(None, None), RotatingCertificates)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    certificate, _key = write(tmp_path)
    _, other_key = write(tmp_path, "b")
    with pytest.raises(ConfigError, match="is not that of"):
        OwnCertificate(certificate, other_key)
    with pytest.raises(ConfigError, match="cannot be used"):
        OwnCertificate(tmp_path / "none.pem", other_key)
    with pytest.raises(ConfigError, match="cannot be used"):
        OwnCertificate(other_key, certificate)
