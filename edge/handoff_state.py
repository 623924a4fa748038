"""A session as bytes: everything another POP needs to go on with it, so that its viewer sees and hears one character.

Opaque to the broker. What depends on this POP alone (its links, its clock, what a link has acknowledged) stays here;
times are told as how long ago they are.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.errors import RemoteProtocolError
from core.limits import HANDOFF_STATE_SIZE_BYTES_MAX, TICK_S
from core.session.state import FaceState
from core.stream.speech_track import TrackState
from edge.animator import FaceMotion
from edge.narrator import NarratorState
from edge.session_parts import SessionParts

__all__ = ["SessionState", "capture", "decode_state", "resume"]

_TICKS_AHEAD_MAX: Final = 50
"""A fabric that takes longer than a second is not waited for: the viewer's buffer hears the difference."""


class SessionState(msgspec.Struct, frozen=True, array_like=True):
    """See the module docstring.

    Attributes:
        media_time: of the next tick, 48 kHz.
        covered: ticks from there on that are in a packet which has left.
        face: FaceState, and for how many seconds.
        turn_ended: see `SessionParts`.
        cut_s: for how long packets still say CUT; unaware_s: for how long the origin may not have heard of a cut.
        voice: utterance sent last, 0 = none, and media time at which that ends.
        mirror: number of the utterance that a mirrored microphone says, 0 without one.
        can_move: see `Presence`.
        fabric_s: how long a message takes from here to the fabric's middle.
    """

    media_time: int
    covered: int
    face: tuple[int, float]
    turn_ended: bool
    ducked: bool
    cut_s: float
    unaware_s: float
    voice: tuple[int, int]
    mirror: int
    can_move: bool
    fabric_s: float
    sequence_number: int
    track: TrackState
    narrator: NarratorState
    motion: FaceMotion


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(SessionState)


def capture(parts: SessionParts, now: float) -> bytes:
    """A session's state, at most limits.HANDOFF_STATE_SIZE_BYTES_MAX bytes where that is possible: what the student
    remembers is left out first, it has heard the same again after a quarter of a second.

    Args:
        now: monotonic seconds.
    """
    services = parts.services
    motion = services.animator.save(parts.slot)
    cut_s, unaware_s = parts.interruption.left_s(now)
    state = SessionState(
        media_time=parts.plan.media_time,
        covered=parts.plan.covered_ticks,
        face=(int(parts.face.state), now - parts.face.since),
        turn_ended=parts.turn_ended,
        ducked=parts.interruption.ducked,
        cut_s=cut_s,
        unaware_s=unaware_s,
        voice=parts.heard.voice,
        mirror=parts.mirror.utterance_id if parts.mirror is not None else 0,
        can_move=parts.presence.can_move,
        fabric_s=services.fabric_latency_s() or 0.0,
        sequence_number=parts.delivery.sequence_number,
        track=parts.track.save(),
        narrator=parts.narrator.save(),
        motion=motion,
    )
    data = _encoder.encode(state)
    if len(data) > HANDOFF_STATE_SIZE_BYTES_MAX:
        lighter = msgspec.structs.replace(motion, student=None)
        data = _encoder.encode(msgspec.structs.replace(state, motion=lighter))
    return data


def decode_state(data: bytes) -> SessionState:
    """Raises: RemoteProtocolError: `bad-state`."""
    if len(data) > HANDOFF_STATE_SIZE_BYTES_MAX:
        raise RemoteProtocolError("bad-state", f"a session of {len(data)} bytes")
    try:
        state = _decoder.decode(data)
        FaceState(state.face[0])
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise RemoteProtocolError("bad-state", f"no session's state ({error})") from None
    return state


def resume(parts: SessionParts, state: SessionState, now: float) -> None:
    """Go on with a session that another POP has, at the same media time: what has passed while the state was under way
    is caught up with, so that neither POP sends a media time later than the other.

    Args:
        parts: of a session that was just made.
        now: monotonic seconds.
    Raises: RemoteProtocolError: `bad-state`.
    """
    services = parts.services
    services.animator.load(parts.slot, state.motion)
    parts.face.state, parts.face.since = FaceState(state.face[0]), now - state.face[1]
    parts.turn_ended = state.turn_ended
    parts.interruption.ducked = state.ducked
    parts.interruption.go_on(state.cut_s, state.unaware_s, now)
    parts.presence.can_move = state.can_move
    parts.heard.go_on(*state.voice)
    if parts.mirror is not None:
        parts.mirror.utterance_id = state.mirror
    parts.track.load(state.track, now)
    parts.narrator.load(state.narrator)
    parts.delivery.sequence_number = state.sequence_number
    parts.plan.go_on(state.media_time, state.covered)
    passed_s = state.fabric_s + (services.fabric_latency_s() or 0.0)
    for _ in range(min(_TICKS_AHEAD_MAX, round(passed_s / TICK_S + 0.5))):
        parts.plan.pass_unsent()
