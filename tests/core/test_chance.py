from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.avatar.chance import log_normal, uniform

_ANY = st.integers(-(2**70), 2**70)


@given(_ANY, _ANY, _ANY)
def test_draws_repeat_and_stay_in_range(seed: int, stream: int, counter: int) -> None:
    draw = uniform(seed, stream, counter)
    assert 0.0 <= draw < 1.0
    assert draw == uniform(seed, stream, counter)


def test_streams_seeds_and_numbers_are_independent() -> None:
    draws = np.array([[[uniform(s, t, k) for k in range(200)] for t in range(4)] for s in range(4)]).reshape(16, 200)
    assert abs(draws.mean() - 0.5) < 0.02
    assert abs(draws.std() - 12**-0.5) < 0.02
    between = np.corrcoef(draws)[~np.eye(16, dtype=bool)]
    assert np.abs(between).max() < 0.35
    assert np.abs(between).mean() < 0.08


def test_log_normal_has_its_median_and_bounds() -> None:
    draws = np.array([log_normal(3, 1, k, 3.0, 0.5) for k in range(2000)])
    assert abs(np.median(draws) - 3.0) < 0.15
    assert draws.min() >= 3.0 * np.exp(-1.5) - 1e-9
    assert draws.max() <= 3.0 * np.exp(1.5) + 1e-9
