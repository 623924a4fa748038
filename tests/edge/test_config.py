"""What a POP's settings mean together."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import EdgeConfig


def test_where_webtransport_is() -> None:
    assert EdgeConfig().webtransport_url(8080) == "https://127.0.0.1:8080"
    assert EdgeConfig(host="::1").webtransport_url(1) == "https://[::1]:1"
    assert EdgeConfig(public_url="https://pop.example:444/x").webtransport_url(1) == "https://pop.example:1"
    assert EdgeConfig().webtransport_url(0) == "https://127.0.0.1:*"


def test_a_certificate_has_a_key() -> None:
    with pytest.raises(ValueError, match="belong together"):
        EdgeConfig(tls_certificate=Path("cert.pem"))
    with pytest.raises(ValueError, match="belong together"):
        EdgeConfig(tls_key=Path("key.pem"))
