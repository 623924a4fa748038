"""What the face is doing, as everybody sees it."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["FaceState"]


class FaceState(IntEnum):
    """Two bits in every access unit's flags (core/wire/SPEC.md)."""

    IDLE = 0
    LISTENING = 1
    THINKING = 2
    SPEAKING = 3
