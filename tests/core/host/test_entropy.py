from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.host.entropy import SeededEntropy, SystemEntropy


def test_system_entropy_is_fresh() -> None:
    entropy = SystemEntropy()
    assert len(entropy.token_bytes(16)) == 16
    assert entropy.token_bytes(16) != entropy.token_bytes(16)
    assert 0 <= entropy.seed() < 2**64


@given(st.integers(-(2**64), 2**64), st.lists(st.integers(0, 100), max_size=8))
def test_the_same_seed_gives_the_same_bytes_however_they_are_asked_for(seed: int, sizes: list[int]) -> None:
    pieces = SeededEntropy(seed)
    together = b"".join(pieces.token_bytes(size) for size in sizes)
    assert together == SeededEntropy(seed).token_bytes(sum(sizes))


def test_seeds_differ_and_the_stream_is_fixed_for_ever() -> None:
    assert SeededEntropy(1).token_bytes(16) != SeededEntropy(2).token_bytes(16)
    assert SeededEntropy(7).token_bytes(4).hex() == SeededEntropy(7).token_bytes(32)[:4].hex()
    assert SeededEntropy(7).seed() == int.from_bytes(SeededEntropy(7).token_bytes(8), "big")
