"""What a viewer does with arriving units before it plays them: repairs, faces, and the feedback about both. Sans-IO.

Every packet goes through the same steps: its access unit, its epoch, forward error correction, the frame. What was lost
and comes back takes the same way as what came by itself, only that feedback does not count it as received: that
measures the link. A frame that lacks its baseline, or whose checksum differs, is not drawn; a keyframe is asked for at
once, and again with every feedback until a newer frame can be decoded. Mirrored in
edge/client/src/stream/unitReceiver.ts; shared vectors in tests/vectors/unit_receiver.json.

```
receiver = UnitReceiver(protects_sound=True)
for unit in receiver.receive(packet, timestamp, now):
    jitter_buffer.push(unit.opus, unit.media_time, unit.span_ticks, …)
    timeline.push(MotionFrame(ticks=unit.media_time, frame=unit.frame, …))
if receiver.feedback_due(now):
    send(encode_feedback(receiver.feedback(audible, jitter_buffer.delay_ms, now)))
```
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from core.avatar.frame import AnimationFrame
from core.errors import Dropped, RemoteProtocolError
from core.limits import FEC_HISTORY_UNITS
from core.session.state import FaceState
from core.stream.delay_gradient import DelayGradient
from core.stream.fec import RestoredUnit, decode_block, encode_block
from core.stream.fec_decoder import FecDecoder
from core.stream.playout_position import unwrap_timestamp
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit
from core.wire.feedback import Feedback
from core.wire.frame_codec import BaselineMissing, FrameDecoder
from core.wire.opus_padding import duration_samples, strip

__all__ = ["FEEDBACK_S", "ReceivedUnit", "UnitReceiver"]

FEEDBACK_S: Final = 0.1
"""How often feedback leaves at least: five frames, which the frame codec was measured at."""
_URGENT_S: Final = 0.02
"""Keyframe requests are at least this far apart: every unit of a burst would ask for the same thing."""
_MASK: Final = 0xFFFF
_HALF: Final = 0x8000
_BITMAP: Final = 32
_ARRIVALS: Final = 128
"""Units whose arrival is remembered: the bitmap of a frame that was decoded a while ago still has to be true."""
_PLACES_MAX: Final = 2 * FEC_HISTORY_UNITS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedUnit:
    """A unit that is there, whichever way it came.

    Attributes:
        media_time: unwrapped 48 kHz ticks of its first sample.
        sequence_number: 16 bits.
        span_ticks: duration of its packet, 120 to 5,760.
        flags: SPEECH, DUCK, CUT.
        frame: the face; None when there is none in it or it could not be decoded.
        frame_bytes: size of the frame as it was sent.
        opus: its packet without padding; None where protection of motion alone brought it back.
        repaired: it came back by forward error correction.
    """

    media_time: int
    sequence_number: int
    span_ticks: int
    state: FaceState
    flags: AccessUnitFlags
    frame: AnimationFrame | None
    frame_bytes: int
    opus: bytes | None
    repaired: bool


def _ahead(number: int, other: int) -> int:
    """How much newer `number` is, by serial number arithmetic (RFC 1982): -32,768 to 32,767."""
    return ((number - other + _HALF) & _MASK) - _HALF


def _newer(number: int, other: int) -> bool:
    """`number` passed the decoder, so it is at most a history older than any unit; `other` may be long past."""
    return not -FEC_HISTORY_UNITS < _ahead(number, other) <= 0


class UnitReceiver:
    """See the module docstring. Its state is bounded whatever comes in.

    Args:
        protects_sound: redundancy brings back sound and motion (our own playout), not motion alone (WebRTC).
        previews: units of a POP that does not own the session yet are taken, too (`core.stream.succession`).
        media_time: where the track that this one goes on with is, unwrapped; None: it is the first.

    Attributes:
        dropped: what was of no use, by reason. Packets: `bad-opus`, `too-short`, `unknown-version`, `unknown-flags`,
            `bad-length`, `plain` (no unit in it). Units: `preview`, `old-epoch`, `duplicate`, `late`, `overtaken` (it
            came after it had been restored). Faces, where the sound is used all the same: `bad-frame`,
            `baseline-missing`, `diverged`; a unit of an unknown epoch is dropped with them, or as `empty`. Redundancy:
            `bad-fec`, `other-blocks`, `expired`, `contradiction`, `unplaced` (nobody knows when it is to be played).
        lost: units that the link has not delivered, restored ones among them.
    """

    def __init__(self, *, protects_sound: bool, previews: bool = False, media_time: int | None = None) -> None:
        self._previews = previews
        self._protects_sound = protects_sound
        self._fec = FecDecoder(sound=protects_sound)
        self.dropped: Counter[str] = self._fec.dropped
        self._decoder = FrameDecoder()
        self._epoch: int | None = None
        self._media_time = media_time
        self._gradient = DelayGradient()
        self._gradient_span: int = 0
        self._reported_s = float("-inf")
        self.lost = 0
        self._forget()

    def _forget(self) -> None:
        """A track begins: nothing is known of its units."""
        self._newest: int | None = None
        self._arrivals = 0
        self._acknowledged: int | None = None
        self._undecodable: int | None = None
        self._places: dict[int, tuple[int, int]] = {}
        self._held: dict[int, RestoredUnit] = {}
        self._restored: set[int] = set()

    @property
    def epoch(self) -> int | None:
        """Of the owner that is believed; None before the first face."""
        return self._epoch

    @property
    def media_time(self) -> int | None:
        """Of the newest packet, unwrapped 48 kHz ticks; None before the first."""
        return self._media_time

    @property
    def protects_sound(self) -> bool:
        """See the class."""
        return self._protects_sound

    @property
    def restored(self) -> int:
        """Units that forward error correction brought back so far."""
        return self._fec.restored

    @property
    def keyframe_request(self) -> bool:
        """No newer frame has been decoded since one could not be."""
        return self._undecodable is not None

    @property
    def size(self) -> int:
        """Things that are kept between packets, all of them bounded by a few histories."""
        own = len(self._places) + len(self._held) + len(self._restored)
        return own + self._fec.rows + self._fec.known

    def on_new_link(self) -> None:
        """Another link carries the track from now on: its delay is another one, which is no queue that grows."""
        self._gradient = DelayGradient()

    def receive(self, packet: bytes, timestamp: int, now: float) -> list[ReceivedUnit]:
        """A packet came.

        Args:
            packet: one Opus packet as it was sent; anything is accepted.
            timestamp: 48 kHz media time of its first sample, 32 bits.
            now: seconds, on any steady local clock.
        Returns: what is there now and was not before: units that this one brought back, oldest first, then itself.
        """
        try:
            span, unit = duration_samples(packet), decode_access_unit(packet)
        except RemoteProtocolError as error:
            return self._drop(error.code)
        if unit is None:
            return self._drop("plain")
        if unit.flags & AccessUnitFlags.PREVIEW and not self._previews:
            return self._drop("preview")
        if unit.epoch != self._epoch and not self._adopt(unit):
            return []
        opus, number = strip(packet), unit.sequence_number
        block = encode_block(unit, span_ticks=span, opus=opus if self._protects_sound else None)
        result = self._fec.receive(number, block, unit.fec)
        if isinstance(result, Dropped):
            return []
        self._arrive(number)
        media_time = unwrap_timestamp(timestamp, timestamp if self._media_time is None else self._media_time)
        self._media_time = media_time
        self._observe(media_time, span, now)
        self._places[number] = (media_time, span)
        units = self._restore(result, unit.epoch)
        if number in self._restored:
            self._restored.discard(number)
            self._drop("overtaken")
        else:
            units.append(self._finish(unit, media_time, span, opus, repaired=False))
        self._prune(number)
        return units

    def feedback_due(self, now: float) -> bool:
        """It is time for feedback: FEEDBACK_S after the last, sooner when a keyframe is wanted."""
        return now - self._reported_s >= (_URGENT_S if self.keyframe_request else FEEDBACK_S)

    def feedback(self, playout_timestamp: int | None, playout_delay_ms: float | None, now: float) -> Feedback:
        """What to tell the sender.

        Args:
            playout_timestamp: media time that is audible now, wrapped or not; None where nobody can say.
            playout_delay_ms: from a unit's arrival until it is played; None where nobody can say.
            now: seconds, on the clock of `receive`.
        """
        self._reported_s = now
        received = None
        if self._acknowledged is not None and self._newest is not None:
            behind = _ahead(self._newest, self._acknowledged)
            if 0 <= behind < _ARRIVALS - _BITMAP:
                received = self._arrivals >> (behind + 1) & 0xFFFFFFFF
        return Feedback(
            acknowledged=self._acknowledged,
            received=received,
            playout_timestamp=None if playout_timestamp is None else playout_timestamp & 0xFFFFFFFF,
            keyframe_request=self.keyframe_request,
            epoch=self._epoch,
            owd_gradient=self._gradient.wire,
            playout_delay_ms=None if playout_delay_ms is None else round(min(max(playout_delay_ms, 0.0), 0xFFFF)),
        )

    def _adopt(self, unit: AccessUnit) -> bool:
        """Believe a new owner, or don't. Its frames refer to the rest pose until one is acknowledged, so that each can
        be decoded; one that cannot be does not count as a new owner: it would lock the true one out for good."""
        if self._epoch is not None and _ahead(unit.epoch, self._epoch) < 0:
            self._drop("old-epoch")
            return False
        decoder, reason = FrameDecoder(), "empty"
        if unit.frame:
            face = _decode(decoder, unit)
            reason = face.reason if isinstance(face, Dropped) else ""
        if reason:
            if self._epoch is None:
                self._undecodable = unit.sequence_number
            self._drop(reason)
            return False
        self._fec.reset()
        self._forget()
        self._epoch, self._decoder = unit.epoch, decoder
        return True

    def _arrive(self, number: int) -> None:
        step = 1 if self._newest is None else _ahead(number, self._newest)
        if step <= -FEC_HISTORY_UNITS:  # the decoder let it pass: the track began anew
            self._forget()
            step = 1
        self.lost += step - 1 if step > 0 else -1
        if step > 0:
            self._arrivals = (self._arrivals << min(step, _ARRIVALS) | 1) & (1 << _ARRIVALS) - 1
            self._newest = number
        else:
            self._arrivals |= 1 << -step

    def _observe(self, media_time: int, span: int, now: float) -> None:
        """Packets of one duration alone can be compared: longer ones leave later after their first sample."""
        if span != self._gradient_span:
            self._gradient, self._gradient_span = DelayGradient(), span
        self._gradient.add(media_time, now)

    def _restore(self, found: tuple[tuple[int, bytes], ...], epoch: int) -> list[ReceivedUnit]:
        """Units that came back and whose media time is known, oldest first; the others wait for a neighbour."""
        for number, block in found:
            try:
                restored = decode_block(block, epoch=epoch, sequence_number=number, sound=self._protects_sound)
                if restored.opus is not None and duration_samples(restored.opus) != restored.span_ticks:
                    raise RemoteProtocolError("bad-fec", "a block whose span is not that of its packet")
            except RemoteProtocolError:
                self._drop("bad-fec")
                continue
            self._held[number] = restored
        placed: list[tuple[int, RestoredUnit]] = []
        waiting = True
        while waiting and self._held:
            waiting = False
            for number, restored in tuple(self._held.items()):
                media_time = self._media_time_of(number, restored.span_ticks)
                if media_time is not None:
                    del self._held[number]
                    self._places[number] = (media_time, restored.span_ticks)
                    placed.append((media_time, restored))
                    waiting = True
        placed.sort(key=lambda one: one[0])
        units: list[ReceivedUnit] = []
        for media_time, restored in placed:
            if restored.unit.flags & AccessUnitFlags.PREVIEW and not self._previews:
                self._drop("preview")
                continue
            self._restored.add(restored.unit.sequence_number)
            units.append(self._finish(restored.unit, media_time, restored.span_ticks, restored.opus, repaired=True))
        return units

    def _media_time_of(self, number: int, span: int) -> int | None:
        """From the next unit and the own span, or from the last one and its span. In the middle of a longer gap only
        if packets of this span fill it exactly."""
        after = self._places.get(number + 1 & _MASK)
        if after is not None:
            return after[0] - span
        before = self._places.get(number - 1 & _MASK)
        if before is not None:
            return before[0] + before[1]
        reach = range(2, FEC_HISTORY_UNITS)
        next_units = next((i for i in reach if number + i & _MASK in self._places), None)
        last_units = next((i for i in reach if number - i & _MASK in self._places), None)
        if next_units is None or last_units is None:
            return None
        media_time = self._places[number + next_units & _MASK][0] - next_units * span
        last_time, last_span = self._places[number - last_units & _MASK]
        return media_time if last_time + last_span + (last_units - 1) * span == media_time else None

    def _finish(
        self, unit: AccessUnit, media_time: int, span: int, opus: bytes | None, *, repaired: bool
    ) -> ReceivedUnit:
        face: AnimationFrame | None = None
        if unit.frame:
            decoded = _decode(self._decoder, unit)
            if isinstance(decoded, Dropped):
                self._drop(decoded.reason)
                self._ask(unit.sequence_number)
            else:
                face = decoded
                self._acknowledge(unit.sequence_number)
        return ReceivedUnit(
            media_time=media_time,
            sequence_number=unit.sequence_number,
            span_ticks=span,
            state=unit.state,
            flags=unit.flags,
            frame=face,
            frame_bytes=len(unit.frame),
            opus=opus,
            repaired=repaired,
        )

    def _ask(self, number: int) -> None:
        """A keyframe is wanted, unless a newer frame could be decoded: then nothing that is sent now needs one."""
        if self._acknowledged is not None and not _newer(number, self._acknowledged):
            return
        if self._undecodable is None or _newer(number, self._undecodable):
            self._undecodable = number

    def _acknowledge(self, number: int) -> None:
        if self._undecodable is not None and _newer(number, self._undecodable):
            self._undecodable = None
        if self._acknowledged is None or _newer(number, self._acknowledged):
            self._acknowledged = number

    def _prune(self, number: int) -> None:
        """Let go of what lies further from `number` than repairs reach."""
        if self._restored:
            self._restored = {one for one in self._restored if abs(_ahead(number, one)) < FEC_HISTORY_UNITS}
        for one in [one for one in self._held if abs(_ahead(number, one)) >= FEC_HISTORY_UNITS]:
            del self._held[one]
            self._drop("unplaced")
        if len(self._places) > _PLACES_MAX:
            kept = {one: at for one, at in self._places.items() if abs(_ahead(number, one)) < FEC_HISTORY_UNITS}
            self._places = kept

    def _drop(self, reason: str) -> list[ReceivedUnit]:
        self.dropped[reason] += 1
        return []


def _decode(decoder: FrameDecoder, unit: AccessUnit) -> AnimationFrame | Dropped:
    try:
        decoded = decoder.decode(unit.frame, unit.sequence_number)
    except RemoteProtocolError as error:
        return Dropped(error.code)
    if isinstance(decoded, BaselineMissing):
        return Dropped("diverged" if decoded.diverged else "baseline-missing")
    return decoded
