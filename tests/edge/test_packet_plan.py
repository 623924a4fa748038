"""Ticks share packets: every tick is in exactly one, and voice is never late for company."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.limits import IDLE_FRAMES_PER_PACKET, TICK_SAMPLES, VOICE_PACKET_SIZE_BYTES_MAX
from core.speech.messages import SpeechPacket
from core.stream.speech_track import SpeechTrack
from edge.packet_plan import PacketPlan

CELT, SILK = b"\xf8", b"\x48"


def _track(*packets: bytes, end: bool = True, utterance_id: int = 1, track: SpeechTrack | None = None) -> SpeechTrack:
    track = track or SpeechTrack()
    track.start(utterance_id)
    for index, opus in enumerate(packets):
        assert track.push(SpeechPacket(utterance_id=utterance_id, index=index, opus=opus), 1.0) is None
    if end:
        track.end(utterance_id, len(packets))
    return track


def _packet(plan: PacketPlan, ticks_max: int, *, quiet: bool = False, idle: bool = False) -> list[bytes]:
    plan.begin()
    plan.extend(ticks_max, quiet=quiet, idle=idle)
    voice = [placed.opus for placed in plan.voice]
    plan.leave()
    return voice


def _pass_covered(plan: PacketPlan) -> list[bytes]:
    passed = []
    while plan.covered:
        placed = plan.pass_tick()
        passed.append(placed.opus if placed is not None else b"")
    return passed


def test_voice_that_is_there_shares_a_packet() -> None:
    parts = [CELT + bytes([index]) for index in range(5)]
    plan = PacketPlan(_track(*parts))
    assert _packet(plan, 3) == parts[:3]
    assert _pass_covered(plan) == parts[1:3]
    assert plan.media_time == 3 * TICK_SAMPLES
    assert _packet(plan, 3) == parts[3:]
    assert _pass_covered(plan) == parts[4:]
    assert plan.media_time == 5 * TICK_SAMPLES


def test_what_is_not_there_yet_is_not_waited_for() -> None:
    plan = PacketPlan(_track(CELT, CELT + b"b", end=False))
    assert len(_packet(plan, 3)) == 2


def test_another_configuration_or_utterance_begins_another_packet() -> None:
    track = _track(CELT, SILK)
    _track(SILK, utterance_id=2, track=track)
    plan = PacketPlan(track)
    for expected in ([CELT], [SILK], [SILK]):
        assert _packet(plan, 3) == expected
        assert not plan.covered


def test_a_hole_stays_where_it_is() -> None:
    track = SpeechTrack()
    track.start(1)
    for index in (0, 2):
        track.push(SpeechPacket(utterance_id=1, index=index, opus=CELT), 0.0)
    plan = PacketPlan(track)
    assert [_packet(plan, 3) for _ in range(3)] == [[CELT], [], [CELT]]


def test_voice_that_would_not_fit_goes_in_the_next_packet() -> None:
    large = CELT + bytes(VOICE_PACKET_SIZE_BYTES_MAX // 2)
    plan = PacketPlan(_track(large, large, large))
    assert len(_packet(plan, 3)) == 1


def test_silence_is_long_only_where_nothing_will_be_said() -> None:
    plan = PacketPlan(SpeechTrack())
    for quiet, idle, ticks_max, ticks in (
        (False, True, 3, 1),
        (True, False, 1, 1),
        (True, False, 3, 3),
        (True, False, 9, IDLE_FRAMES_PER_PACKET - 1),
        (True, True, 1, IDLE_FRAMES_PER_PACKET),
    ):
        assert _packet(plan, ticks_max, quiet=quiet, idle=idle) == []
        assert plan.ticks == ticks
        assert plan.idle == (ticks == IDLE_FRAMES_PER_PACKET)
        assert _pass_covered(plan) == [b""] * (ticks - 1)


@given(
    ready=st.lists(st.booleans(), max_size=60),
    wishes=st.lists(
        st.tuples(st.integers(1, 6), st.booleans(), st.booleans(), st.booleans()), min_size=80, max_size=80
    ),
)
def test_every_tick_is_in_one_packet_and_the_voice_in_order(
    ready: list[bool], wishes: list[tuple[int, bool, bool, bool]]
) -> None:
    track = SpeechTrack()
    track.start(1)
    sent: list[bytes] = []
    pushed = 0
    plan = PacketPlan(track)
    for tick, (ticks_max, quiet, idle, skipped) in enumerate(wishes):
        if tick < len(ready) and ready[tick]:
            track.push(SpeechPacket(utterance_id=1, index=pushed, opus=CELT + bytes([pushed])), 0.0)
            pushed += 1
        assert plan.media_time == tick * TICK_SAMPLES
        if plan.covered or skipped:
            plan.pass_tick()
        else:
            sent += _packet(plan, ticks_max, quiet=quiet and not track.active, idle=idle)
    assert sent == [CELT + bytes([index]) for index in range(len(sent))]
