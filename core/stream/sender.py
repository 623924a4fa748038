"""Frames and Opus in, access units out: one sender per viewer, because each viewer has acknowledged something else.

What its feedback says about the link decides what goes into the next packets: redundancy, layers of motion, how many
ticks of voice share a packet (`decision`, from a `core.stream.rate_control.RateController`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from core.avatar.frame import AnimationFrame
from core.errors import Dropped
from core.limits import (
    ACCESS_UNIT_SIZE_BYTES_MAX,
    IDLE_FRAMES_PER_PACKET,
    KEYFRAME_COPY_S_MIN,
    MEDIA_CLOCK_HZ,
    NETEQ_DELAY_S,
    PLAYOUT_DELAY_MS_MAX,
    REPAIR_SLACK_MS,
    TICK_SAMPLES,
)
from core.session.state import FaceState
from core.stream.fec import FecEncoder, encode_block, window_units
from core.stream.rate_control import Decision, LadderController, RateController
from core.stream.reception import Reception, ReceptionMeter
from core.wire.access_unit import NO_FLAGS, AccessUnit, AccessUnitFlags, encode_access_unit
from core.wire.feedback import Feedback
from core.wire.frame_codec import FrameEncoder, Layer, layer_of
from core.wire.opus_merge import merge
from core.wire.opus_padding import silence, strip

__all__ = ["UnitSender"]

_SILENCE: Final = (b"", *(silence(ticks) for ticks in range(1, IDLE_FRAMES_PER_PACKET + 1)))
"""By ticks."""
_ENVELOPE_SIZE_BYTES: Final = 19
"""What a packet with an FEC field has beside voice, frame and field, at most: one byte more of Opus' own header, five
of padding length, four of magic, seven of header, two of frame length."""

_JUDGE_S: Final = 0.08
"""The controller is told at most this often, though a speaking microphone brings feedback with every packet."""


class UnitSender:
    """Numbers, encodes, protects and packs the access units of one viewer's track.

    Args:
        epoch: ownership epoch of the session, 16 bits on the wire.
        plays_sound_itself: the viewer has our own playout: redundancy brings back sound too, not motion alone.
        make_controller: makes the rate controller of a link.
    """

    def __init__(
        self,
        *,
        epoch: int,
        plays_sound_itself: bool = False,
        make_controller: Callable[[], RateController] = LadderController,
    ) -> None:
        self._epoch = epoch & 0xFFFF
        self._encoder = FrameEncoder()
        self.sequence_number = 0
        """Of the next unit, 16 bits."""
        self._make_controller = make_controller
        self._lost_before = 0
        self._meter = ReceptionMeter()
        self.frame_bytes = 0
        """Bytes of all encoded frames so far."""
        self.fec_bytes = 0
        """Bytes of all FEC fields so far."""
        self.units = 0
        """Access units so far."""
        self._begin(plays_sound_itself)

    def _begin(self, plays_sound_itself: bool) -> None:
        self._sound = plays_sound_itself
        self._fec = FecEncoder(sound=plays_sound_itself)
        self._controller = self._make_controller()
        # Our own playout waits for repairs once it has seen them come too late: a window that followed its delay would
        # never let it see one. NetEQ takes no part in repairs, so what it holds is all there is.
        own_s = (PLAYOUT_DELAY_MS_MAX - REPAIR_SLACK_MS) / 1000
        self._repairable_s = own_s if plays_sound_itself else NETEQ_DELAY_S
        self._judged_at = -math.inf
        self._keyframe_asked = False
        self._keyframe_copied_at = -math.inf
        self.reception: Reception | None = None
        """The link as feedback says; None before there was any."""
        self.answers_keyframe_request = False
        """The last unit is the first one after a keyframe request: worth a reliable copy."""

    @property
    def decision(self) -> Decision:
        """What the rate controller wants sent."""
        return self._controller.decision

    @property
    def lost(self) -> int:
        """Units that the links did not deliver, as far as feedback said, so far."""
        return self._lost_before + self._meter.lost

    def restart(self, *, plays_sound_itself: bool) -> None:
        """The track goes on over a new link: nothing is known of it, nothing sent before counts as received."""
        self._encoder.reset()
        self._lost_before += self._meter.lost
        self._meter = ReceptionMeter(first_sequence_number=self.sequence_number)
        self._begin(plays_sound_itself)

    def pack(
        self,
        *,
        frame: AnimationFrame,
        opus: Sequence[bytes],
        state: FaceState,
        flags: AccessUnitFlags,
        now: float,
        silent_ticks: int = 1,
    ) -> bytes:
        """One access unit.

        Args:
            frame: the face at the start of the unit.
            opus: the voice, packets of 20 ms that can be merged; none = silence.
            flags: DUCK, CUT…; SPEECH is set here when there is a voice.
            now: monotonic seconds.
            silent_ticks: how long the silence is, 1 to limits.IDLE_FRAMES_PER_PACKET.
        Returns: one valid Opus packet, at most limits.ACCESS_UNIT_SIZE_BYTES_MAX.
        Raises:
            RemoteProtocolError: the voice is not Opus (code `bad-opus`).
            LocalProtocolError: it cannot be merged, or is too large.
        """
        ticks = len(opus) or silent_ticks
        if not opus:
            return self._pack(frame, _SILENCE[ticks], ticks, state, flags, self._layer(ticks), now)
        voice = opus[0] if ticks == 1 else merge(opus)
        return self._pack(frame, voice, ticks, state, flags | AccessUnitFlags.SPEECH, self._layer(ticks), now)

    def pack_idle(
        self, *, frame: AnimationFrame, state: FaceState, now: float, flags: AccessUnitFlags = NO_FLAGS
    ) -> bytes:
        """One access unit that covers limits.IDLE_FRAMES_PER_PACKET ticks of silence."""
        ticks = IDLE_FRAMES_PER_PACKET
        return self._pack(frame, _SILENCE[ticks], ticks, state, flags, Layer.T0, now)

    def receive_feedback(self, feedback: Feedback, now: float) -> Dropped | None:
        """Learn what the viewer has and how the link is: it may say anything, and is believed within bounds.

        Returns: why it changed nothing: `other-epoch`, or the link was not judged by it: `stale`, `never-sent`.
        """
        if feedback.epoch is not None and feedback.epoch != self._epoch:
            return Dropped("other-epoch")
        if feedback.playout_delay_ms is not None and not self._sound:
            self._repairable_s = feedback.playout_delay_ms / 1000
        if feedback.acknowledged is not None:
            self._encoder.acknowledge(feedback.acknowledged)
        if feedback.keyframe_request:
            self._encoder.reset()
            self._keyframe_asked = True
        if feedback.acknowledged is None:
            return None
        reception = self._meter.on_feedback(feedback, now)
        if isinstance(reception, Dropped):
            return reception
        self.reception = reception
        if 0.0 <= now - self._judged_at < _JUDGE_S:
            return None
        self._judged_at = now
        self._controller.on_feedback(
            loss=reception.loss,
            burst=reception.burst,
            owd_gradient=reception.owd_gradient,
            rtt_s=reception.rtt_s,
            ecn=0.0,
            now=now,
        )
        return None

    def _layer(self, ticks: int) -> Layer:
        """The layer of a packet so long, so that T0 alone is at least 12.5 frames/s whatever the packet time."""
        if ticks == 1:
            return layer_of(self.sequence_number)
        return Layer.T1 if ticks == 2 and self.sequence_number & 1 else Layer.T0

    def _pack(
        self,
        frame: AnimationFrame,
        opus: bytes,
        ticks: int,
        state: FaceState,
        flags: AccessUnitFlags,
        layer: Layer,
        now: float,
    ) -> bytes:
        sequence_number, epoch, decision = self.sequence_number, self._epoch, self._controller.decision
        encoded = b""
        self.answers_keyframe_request = False
        if self._keyframe_asked or layer <= decision.layer:
            encoded = self._encoder.encode(frame, sequence_number, layer)
            if self._keyframe_asked:
                self._keyframe_asked = False
                self.answers_keyframe_request = now - self._keyframe_copied_at >= KEYFRAME_COPY_S_MIN
                if self.answers_keyframe_request:
                    self._keyframe_copied_at = now
        unit = AccessUnit(epoch=epoch, sequence_number=sequence_number, flags=flags, state=state, frame=encoded)
        span_ticks = ticks * TICK_SAMPLES
        block = encode_block(unit, span_ticks=span_ticks, opus=strip(opus) if self._sound else None)
        fec = self._fec.protect(
            sequence_number,
            block,
            tier=decision.tier,
            window=window_units(self._repairable_s, span_ticks / MEDIA_CLOCK_HZ),
            size_bytes_max=ACCESS_UNIT_SIZE_BYTES_MAX - len(opus) - len(encoded) - _ENVELOPE_SIZE_BYTES,
        )
        if fec:
            unit = AccessUnit(
                epoch=epoch, sequence_number=sequence_number, flags=flags, state=state, frame=encoded, fec=fec
            )
        packet = encode_access_unit(unit, opus)
        self.sequence_number = (sequence_number + 1) & 0xFFFF
        self._meter.on_sent(now)
        self.frame_bytes += len(encoded)
        self.fec_bytes += len(fec)
        self.units += 1
        return packet
