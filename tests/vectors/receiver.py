"""Cases of the unit receiver: tracks that arrive with losses, and what a viewer makes of them, feedback included."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

from core.session.state import FaceState
from core.stream.fec import FecEncoder, FecTier, encode_block
from core.stream.receiver import UnitReceiver
from core.wire.access_unit import AccessUnit, AccessUnitFlags, encode_access_unit
from core.wire.feedback import encode_feedback
from core.wire.frame_codec import FrameEncoder
from core.wire.opus_padding import duration_samples, silence, strip
from tests.vectors.frames import synthetic_frame

Case = dict[str, Any]
_Arrival = tuple[bytes, int, int]
"""Packet, timestamp, milliseconds of its arrival."""
_VOICE = b"\x78" + bytes(range(1, 25))
_FEEDBACK_UNITS = 5


def _track(
    count: int, *, first: int, sound: bool, epoch: int = 4, tier: FecTier = FecTier.F2, lag: int | None = 6
) -> list[_Arrival]:
    """Idle units of 80 ms among those of speech; every frame is acknowledged `lag` units later."""
    frames, protection, arrivals, media_time = FrameEncoder(), FecEncoder(sound=sound), [], 0xFFFF_0000
    for index in range(count):
        number = first + index & 0xFFFF
        if lag is not None and index >= lag:
            frames.acknowledge(number - lag & 0xFFFF)
        opus = silence(4) if index % 16 > 12 else _VOICE
        unit = AccessUnit(
            epoch=epoch,
            sequence_number=number,
            flags=AccessUnitFlags(0) if opus is not _VOICE else AccessUnitFlags.SPEECH,
            state=FaceState.SPEAKING if opus is _VOICE else FaceState.THINKING,
            frame=b"" if index % 10 == 7 else frames.encode(synthetic_frame(index), number),
        )
        span = duration_samples(opus)
        block = encode_block(unit, span_ticks=span, opus=strip(opus) if sound else None)
        fec = protection.protect(number, block, tier=tier, window=4, size_bytes_max=400)
        packet = encode_access_unit(replace(unit, fec=fec), opus)
        at_ms = (media_time - 0xFFFF_0000) // 48 + 40 + index % 3
        arrivals.append((packet, media_time & 0xFFFFFFFF, at_ms))
        media_time += span
    return arrivals


def _case(comment: str, flags: list[str], arrivals: Iterable[_Arrival], *, sound: bool) -> Case:
    receiver, steps = UnitReceiver(protects_sound=sound), []
    now_ms = 0
    for index, (packet, timestamp, at_ms) in enumerate(arrivals):
        now_ms = max(now_ms, at_ms)
        step: Case = {
            "packet": packet.hex(),
            "timestamp": timestamp,
            "atMs": now_ms,
            "units": [
                {
                    "mediaTime": unit.media_time,
                    "sequenceNumber": unit.sequence_number,
                    "spanTicks": unit.span_ticks,
                    "state": int(unit.state),
                    "flags": int(unit.flags),
                    "face": unit.frame is not None,
                    "opus": None if unit.opus is None else unit.opus.hex(),
                    "repaired": unit.repaired,
                }
                for unit in receiver.receive(packet, timestamp, now_ms / 1_000)
            ],
        }
        if index % _FEEDBACK_UNITS == _FEEDBACK_UNITS - 1:
            step["feedback"] = encode_feedback(receiver.feedback(timestamp - 2_880, 60.0, now_ms / 1_000)).hex()
        steps.append(step)
    dropped = dict(sorted(receiver.dropped.items()))
    result = "valid" if any(step["units"] for step in steps) else "invalid"
    return {
        "comment": comment, "flags": flags, "result": result, "sound": sound, "arrivals": steps, "dropped": dropped,
    }  # fmt: skip


def unit_receiver() -> list[Case]:
    """All cases."""
    cases = []
    for sound in (True, False):
        kind = "sound and motion" if sound else "motion alone"
        track = _track(60, first=65_510, sound=sound)
        lost = {6, 13, 14, 21, 22, 23, 35, *range(40, 47)}
        cases += [
            _case(f"{kind}: nothing is lost", ["Wrap"], track[:24], sound=sound),
            _case(f"{kind}: losses come back", ["Loss", "Wrap"],
                  [one for index, one in enumerate(track) if index not in lost], sound=sound),
        ]  # fmt: skip
    track = _track(40, first=300, sound=True)
    dice = Random(5)
    mixed = sorted(track, key=lambda one: one[2] + dice.uniform(0, 90))
    early = track[:8]
    older, newer = _track(6, first=0, sound=True, epoch=3), _track(20, first=0, sound=True, epoch=5)
    undecodable = _track(12, first=0, sound=True, epoch=6)[10]
    far = _track(1, first=20_000, sound=True)[0]
    damaged = [(packet[:-9] + bytes((packet[-9] ^ 16,)) + packet[-8:], at, ms) for packet, at, ms in track[8:12]]
    cases += [
        _case("reordered, every third twice", ["Reordered"],
              [one for index, each in enumerate(mixed) for one in [each] * (1 + (index % 3 == 0))], sound=True),
        _case("what was restored comes after all", ["Reordered"],
              [*track[:6], *track[7:12], track[6], track[6], *track[12:16]], sound=True),
        _case("a track that is joined late asks for a keyframe", ["Loss"], track[20:30], sound=True),
        _case("a newer epoch takes over, an older one does not", ["Keyframe"],
              [*early, *older, undecodable, *newer[:3], track[9], *newer[3:]], sound=True),
        _case("one forged number far ahead", ["Lie"],
              [*early, far, *_track(30, first=300, sound=True, lag=None)[8:]], sound=True),
        _case("damaged redundancy", ["Lie"], [*early[:6], *damaged, *track[13:20]], sound=True),
        _case("packets that are none", ["Malformed"],
              [*early, (b"", 0, 0), (b"\x7b", 0, 0), (_VOICE, 0, 0), *track[8:12]], sound=True),
        _case("nothing but packets that are none", ["Malformed"], [(b"", 0, 0), (b"\x7b", 0, 0)], sound=True),
        _case("a clock that jumps", ["Wrap"],
              [(packet, timestamp + (index > 8) * 0x7FFF_0000 & 0xFFFFFFFF, at_ms)
               for index, (packet, timestamp, at_ms) in enumerate(track[:20]) if index % 7 != 4], sound=True),
    ]  # fmt: skip
    return cases
