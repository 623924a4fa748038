"""Frames and Opus in, access units out: one per viewer, because each viewer has acknowledged something else."""

from __future__ import annotations

from core.avatar.frame import AnimationFrame
from core.limits import IDLE_FRAMES_PER_PACKET
from core.session.state import FaceState
from core.wire.access_unit import AccessUnit, AccessUnitFlags, encode_access_unit
from core.wire.feedback import Feedback
from core.wire.frame_codec import FrameEncoder, Layer
from core.wire.opus_padding import silence

__all__ = ["Packetizer"]

_SILENCE_20_MS = silence(1)
_SILENCE_80_MS = silence(IDLE_FRAMES_PER_PACKET)


class Packetizer:
    """Numbers, encodes and packs the access units of one viewer's track.

    Args:
        epoch: ownership epoch of the session, 16 bits on the wire.
    """

    def __init__(self, *, epoch: int) -> None:
        self._epoch = epoch & 0xFFFF
        self._encoder = FrameEncoder()
        self._sequence_number = 0
        self.frame_bytes = 0
        """Bytes of all encoded frames so far."""
        self.units = 0
        """Access units so far."""

    def pack(self, *, frame: AnimationFrame, opus: bytes, state: FaceState, flags: AccessUnitFlags) -> bytes:
        """One access unit.

        Args:
            frame: the face at the start of the unit.
            opus: the voice of these 20 ms; b"" = silence.
            flags: DUCK, CUT…; SPEECH is set here when there is a voice.
        Returns: one valid Opus packet, at most limits.ACCESS_UNIT_SIZE_BYTES_MAX.
        """
        if opus:
            flags |= AccessUnitFlags.SPEECH
        return self._pack(frame, opus or _SILENCE_20_MS, state, flags)

    def pack_idle(self, *, frame: AnimationFrame, state: FaceState) -> bytes:
        """One access unit that covers limits.IDLE_FRAMES_PER_PACKET ticks of silence."""
        return self._pack(frame, _SILENCE_80_MS, state, AccessUnitFlags(0), Layer.T0)

    def receive_feedback(self, feedback: Feedback) -> None:
        """Learn what the viewer has: the next deltas refer to its newest acknowledged frame."""
        if feedback.epoch is not None and feedback.epoch != self._epoch:
            return  # it counts the units of another owner
        if feedback.acknowledged is not None:
            self._encoder.acknowledge(feedback.acknowledged)
        if feedback.keyframe_request:
            self._encoder.reset()

    def _pack(
        self, frame: AnimationFrame, opus: bytes, state: FaceState, flags: AccessUnitFlags, layer: Layer | None = None
    ) -> bytes:
        sequence_number = self._sequence_number
        self._sequence_number = (sequence_number + 1) & 0xFFFF
        encoded = self._encoder.encode(frame, sequence_number, layer)
        self.frame_bytes += len(encoded)
        self.units += 1
        unit = AccessUnit(epoch=self._epoch, sequence_number=sequence_number, flags=flags, state=state, frame=encoded)
        return encode_access_unit(unit, opus)
