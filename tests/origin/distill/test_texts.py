from __future__ import annotations

import numpy as np

from origin.distill.texts import HELD_OUT, TRAINING, draw_text, sentences


def test_nothing_that_is_examined_is_taught() -> None:
    assert len(sentences(TRAINING)) > 50 and len(sentences(HELD_OUT)) > 20
    assert not set(sentences(TRAINING)) & set(sentences(HELD_OUT))
    rng = np.random.default_rng(0)
    taught = {draw_text(rng, TRAINING) for _ in range(300)}
    assert len(taught) > 200
    assert not taught & set(sentences(HELD_OUT))
    assert {draw_text(rng, HELD_OUT) for _ in range(50)} <= set(sentences(HELD_OUT))


def test_one_seed_one_text() -> None:
    drawn = [[draw_text(np.random.default_rng(seed), TRAINING) for _ in range(5)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
