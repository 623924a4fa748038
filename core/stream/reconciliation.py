"""What a viewer decodes, acknowledges and asks for: divergence ends within one round trip. Sans-IO.

A frame that lacks its baseline, or whose checksum differs, is not drawn; a keyframe is asked for at once, and
again with every report until a frame can be decoded. Mirrors the receiving half of the client's encodedPipe.ts.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from core.avatar.frame import AnimationFrame
from core.errors import Dropped, RemoteProtocolError
from core.wire.access_unit import AccessUnit, AccessUnitFlags
from core.wire.feedback import Feedback
from core.wire.frame_codec import BaselineMissing, FrameDecoder

__all__ = ["MotionReceiver"]

_SEQUENCE_MASK: Final = 0xFFFF
_HALF: Final = 0x8000
_BITMAP: Final = 32
_REPORT_MS: Final = 100.0
_URGENT_MS: Final = 20.0
"""Keyframe requests are at least this far apart: every unit of a burst would ask for the same thing."""


def _ahead(number: int, other: int) -> int:
    """How much newer `number` is, by serial number arithmetic (RFC 1982)."""
    return ((number - other + _HALF) & _SEQUENCE_MASK) - _HALF


class MotionReceiver:
    """One viewer's track, decoded.

    Attributes:
        dropped: units without a picture, by reason: `old-epoch`, `preview`, `duplicate`, `empty`, `baseline-missing`,
            `diverged`, `bad-frame`.
        keyframe_request: nothing has been decoded since something could not be.
    """

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.keyframe_request = False
        self._decoder = FrameDecoder()
        self._epoch: int | None = None
        self._acknowledged: int | None = None
        self._newest_counts = False
        self._received = 0
        self._reported_ms = float("-inf")

    def receive(self, unit: AccessUnit, *, repaired: bool = False) -> AnimationFrame | Dropped:
        """A unit has come.

        Args:
            repaired: it came back by forward error correction; it is acknowledged (the decoder has it) but does not
                count as received, because that measures the path.
        Returns: its face, or why there is none; counted in `dropped`.
        """
        if unit.flags & AccessUnitFlags.PREVIEW:
            return self._drop("preview")
        newer = self._epoch is None or _ahead(unit.epoch, self._epoch) > 0
        if not newer and unit.epoch != self._epoch:
            return self._drop("old-epoch")
        if not newer and self._known(unit.sequence_number):
            return self._drop("duplicate")
        if not unit.frame:
            return self._drop("empty")
        # A new owner's frames refer to the rest pose until one is acknowledged, so each of them can be decoded. One
        # that cannot be does not count as a new owner: it would lock the true one out for good.
        decoder = FrameDecoder() if newer else self._decoder
        try:
            decoded = decoder.decode(unit.frame, unit.sequence_number)
        except RemoteProtocolError as error:
            self.keyframe_request = True
            return self._drop(error.code)
        if isinstance(decoded, BaselineMissing):
            self.keyframe_request = True
            return self._drop("diverged" if decoded.diverged else "baseline-missing")
        if newer:
            self._epoch, self._decoder = unit.epoch, decoder
            self._acknowledged, self._received = None, 0
        self.keyframe_request = False
        self._acknowledge(unit.sequence_number, counts=not repaired)
        return decoded

    def report(self, now_ms: float, *, playout_timestamp: int | None = None) -> Feedback | None:
        """What to tell the sender now; None when there is nothing to say or it was said a moment ago.

        Args:
            playout_timestamp: 32-bit RTP timestamp that is audible now.
        """
        since = now_ms - self._reported_ms
        if since < (_URGENT_MS if self.keyframe_request else _REPORT_MS):
            return None
        if self._acknowledged is None and playout_timestamp is None and not self.keyframe_request:
            return None
        self._reported_ms = now_ms
        return Feedback(
            acknowledged=self._acknowledged,
            received=None if self._acknowledged is None else self._received,
            playout_timestamp=playout_timestamp,
            keyframe_request=self.keyframe_request,
            epoch=self._epoch,
        )

    def _known(self, sequence_number: int) -> bool:
        if self._acknowledged is None:
            return False
        behind = -_ahead(sequence_number, self._acknowledged)
        return behind == 0 or (0 < behind <= _BITMAP and bool(self._received >> (behind - 1) & 1))

    def _acknowledge(self, sequence_number: int, *, counts: bool) -> None:
        newest = self._acknowledged
        if newest is None:
            self._acknowledged, self._newest_counts = sequence_number, counts
            return
        ahead = _ahead(sequence_number, newest)
        if ahead > 0:
            shifted = self._received << ahead | self._newest_counts << (ahead - 1) if ahead <= _BITMAP else 0
            self._received = shifted & 0xFFFFFFFF
            self._acknowledged, self._newest_counts = sequence_number, counts
        elif counts and 0 < -ahead <= _BITMAP:
            self._received |= 1 << (-ahead - 1)

    def _drop(self, reason: str) -> Dropped:
        self.dropped[reason] += 1
        return Dropped(reason)
