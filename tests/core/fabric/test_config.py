from __future__ import annotations

import pytest

from core.errors import ConfigError
from core.fabric.config import FabricConfig
from core.host.config import load_config


def load(**variables: str) -> FabricConfig:
    return load_config(FabricConfig, section="fabric", environ=variables)


def test_the_default_is_one_machine() -> None:
    config = load()
    assert (config.store, config.bus, config.needs_socket) == ("sqlite", "local", True)


def test_beyond_one_machine_there_is_no_socket() -> None:
    assert not load(VISAVIS_FABRIC__STORE="nats", VISAVIS_FABRIC__BUS="nats").needs_socket
    assert load(VISAVIS_FABRIC__STORE="nats").needs_socket


@pytest.mark.parametrize(
    ("name", "value"), [("STORE", "redis"), ("BUS", "memory"), ("CONNECT_S", "0"), ("CONNECT_S", "nan"), ("PORT", "1")]
)
def test_what_is_none_is_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name.lower()):
        load(**{f"VISAVIS_FABRIC__{name}": value})


def test_the_token_comes_from_the_environment_and_is_not_shown() -> None:
    assert "secret-token" not in repr(load(VISAVIS_FABRIC__TOKEN="secret-token"))
    with pytest.raises(ConfigError, match="is a secret"):
        load_config(FabricConfig, section="fabric", environ={}, overrides=["fabric.token=x"])
