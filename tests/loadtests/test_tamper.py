from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from loadtests.tamper import Tamperer

DATAGRAMS = [bytes([number]) * 50 for number in range(200)]


def test_each_way_comes_and_is_counted() -> None:
    tamperer = Tamperer(1.0, seed=1)
    passed = [tamperer.pass_on(datagram) for datagram in DATAGRAMS]
    assert set(tamperer.deeds) == {"truncated", "damaged", "replayed", "forged"}
    assert sum(tamperer.deeds.values()) == len(DATAGRAMS)
    assert all(tamperer.deeds[deed] > 25 for deed in tamperer.deeds)
    lone = [out[0] for out in passed if len(out) == 1]
    behind = [out[1] for out in passed if len(out) == 2]
    assert sum(len(datagram) < 50 for datagram in lone) >= tamperer.deeds["truncated"] - 5
    assert sum(len(datagram) == 50 and datagram not in DATAGRAMS for datagram in lone) >= tamperer.deeds["damaged"] - 5
    assert sum(datagram in DATAGRAMS for datagram in behind) == tamperer.deeds["replayed"]
    for out, datagram in zip(passed, DATAGRAMS, strict=True):
        assert len(out) == 1 or out[0] == datagram  # what is added comes behind what is true


def test_a_share_of_nothing_changes_nothing() -> None:
    tamperer = Tamperer(0.0, seed=1)
    assert [tamperer.pass_on(datagram) for datagram in DATAGRAMS] == [(datagram,) for datagram in DATAGRAMS]


@given(st.lists(st.binary(max_size=60), max_size=20), st.integers(0, 1 << 30))
def test_one_seed_one_series_of_deeds(datagrams: list[bytes], seed: int) -> None:
    first, second = Tamperer(0.7, seed), Tamperer(0.7, seed)
    assert [first.pass_on(one) for one in datagrams] == [second.pass_on(one) for one in datagrams]


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ConfigError):
        Tamperer(share, seed=1)
