"""How much memory is reachable from something, so that a test can see what grows."""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, CodeType, FrameType, FunctionType, ModuleType

__all__ = ["reachable_bytes"]

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, CodeType, FrameType)
"""Not followed: they lead everywhere."""


def reachable_bytes(*roots: object) -> int:
    """Bytes of all objects that can be reached from these without going through classes, modules and functions."""
    seen: set[int] = set()
    waiting: list[object] = list(roots)
    size = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _SHARED):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return size
