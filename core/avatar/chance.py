"""Chance without state: the n-th draw of a stream is a function of its seed and its number alone.

So a face moves the same whoever shares its batch, and a second POP that knows the seed moves it the same way.
Source: Steele, Lea & Flood, "Fast splittable pseudorandom number generators" (2014), the SplitMix64 finaliser.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["log_normal", "uniform"]

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_STREAM: Final = 0xD1342543DE82EF95


def uniform(seed: int, stream: int, counter: int) -> float:
    """Draw `counter` of `stream`: a float in [0, 1) with 53 random bits. Any integers are accepted."""
    bits = (seed * _GOLDEN + stream * _STREAM + counter * _GOLDEN + _GOLDEN) & _MASK
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    bits = ((bits ^ (bits >> 27) ^ seed) * 0x94D049BB133111EB) & _MASK
    bits = ((bits ^ (bits >> 31)) * 0xFF51AFD7ED558CCD) & _MASK
    return (bits >> 11) * (1.0 / (1 << 53))


def log_normal(seed: int, stream: int, counter: int, median: float, sigma: float) -> float:
    """A log-normal draw (Box-Muller), clipped to three sigmas."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(seed, stream, 2 * counter)))
    normal = radius * math.cos(2.0 * math.pi * uniform(seed, stream, 2 * counter + 1))
    return median * math.exp(sigma * min(max(normal, -3.0), 3.0))
