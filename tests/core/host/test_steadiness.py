from __future__ import annotations

import gc
import platform
import resource

import numpy as np
import pytest

from core.host.steadiness import freeze_what_lives, keep_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_memory_that_was_freed_is_there_again() -> None:
    assert keep_memory()

    def churn() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(50):
            [np.ones(200_000, dtype=np.float32) for _ in range(4)]
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    churn()
    assert churn() < 50  # each round has 800 pages


def test_what_lives_is_left_alone() -> None:
    before = gc.get_freeze_count()
    try:
        freeze_what_lives()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
