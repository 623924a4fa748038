"""What keeps a process from pausing in the middle of a tick: memory that stays, and a collector that finds little."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import Final

__all__ = ["freeze_what_lives", "keep_memory"]

_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 256 << 20
_ADDED_BYTES: Final = 4 << 20
_MAPPED_FROM_BYTES: Final = 32 << 20
"""glibc accepts no more than this on 64-bit machines."""


def keep_memory() -> bool:
    """Let freed memory stay with the process, up to 256 MB of it.

    A tick frees arrays of hundreds of kilobytes that the next tick asks for again. By default glibc returns what is
    free at the top of its heap to the system each time, and every page of it then costs a fault (mallopt(3)).

    Returns: whether the C library could be told; others than glibc go on as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        told = (
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES),
            mallopt(_M_TOP_PAD, _ADDED_BYTES),
            mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES),
        )
        return all(told)
    return False


def freeze_what_lives() -> None:
    """Collect garbage now, and leave alone what lives: it is not worth a pause later."""
    gc.collect()
    gc.freeze()
