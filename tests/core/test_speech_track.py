"""The voice on the track: order, loss, cuts and the mapping between media time and utterance."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from core.errors import Dropped
from core.limits import LOG_MEL_BANDS, SPEECH_QUEUE_PACKETS_MAX, SPEECH_STALL_S_MAX, TICK_S, TICK_SAMPLES
from core.speech.messages import PhonemeSpan, SpeechPacket
from core.stream.speech_track import Placed, SpeechTrack


def _packet(utterance_id: int, index: int) -> SpeechPacket:
    return SpeechPacket(utterance_id=utterance_id, index=index, opus=bytes([utterance_id, index & 0xFF]))


def _loaded(utterance_id: int, count: int, *, ended: bool = True, track: SpeechTrack | None = None) -> SpeechTrack:
    track = track or SpeechTrack()
    assert track.start(utterance_id) is None
    for index in range(count):
        assert track.push(_packet(utterance_id, index), 1.0) is None
    if ended:
        track.end(utterance_id, count)
    return track


def _play(track: SpeechTrack, ticks: int, begin: int = 0) -> list[Placed | None]:
    return [track.pop((begin + tick) * TICK_SAMPLES) for tick in range(ticks)]


def test_an_utterance_plays_in_order_and_marks_its_ends() -> None:
    track = _loaded(1, 3)
    placed = [item for item in _play(track, 3) if item]
    assert [item.opus for item in placed] == [bytes([1, 0]), bytes([1, 1]), bytes([1, 2])]
    assert [item.first for item in placed] == [True, False, False]
    assert not track.active


def test_the_clock_runs_on_after_the_voice_so_that_the_mouth_can_close() -> None:
    track = _loaded(1, 1)
    tail = _play(track, 30)[1:]
    ticks = [item.ticks for item in tail if item]
    assert ticks == [TICK_SAMPLES * step for step in range(1, len(ticks) + 1)]
    assert 0 < len(ticks) < 20
    assert all(item.opus == b"" for item in tail if item)


def test_the_next_utterance_follows_without_a_gap() -> None:
    track = _loaded(1, 2)
    _loaded(2, 1, track=track)
    placed = _play(track, 3)
    assert [item and item.utterance_id for item in placed] == [1, 1, 2]
    assert not track.active


def test_what_comes_next_can_be_seen_without_playing_it() -> None:
    track = _loaded(1, 2, ended=False)
    _loaded(2, 1, track=track)
    assert [track.next_opus(utterance_id) for utterance_id in (1, 2)] == [bytes([1, 0]), b""]
    _play(track, 2)
    assert track.next_opus(1) == b""
    _play(track, 1, 2)
    assert SpeechTrack().next_opus(1) == b""


def test_a_lost_packet_is_silence_and_a_late_one_is_waited_for() -> None:
    track = SpeechTrack()
    track.start(1)
    track.push(_packet(1, 0), 0.0)
    track.push(_packet(1, 2), 0.0)
    placed = _play(track, 4)
    assert [item and item.opus for item in placed] == [bytes([1, 0]), b"", bytes([1, 2]), b""]
    assert track.holes == 1
    assert track.underruns == 1
    track.push(_packet(1, 3), 0.0)
    late = track.pop(4 * TICK_SAMPLES)
    assert late is not None
    assert late.opus == bytes([1, 3])
    assert late.ticks == 3 * TICK_SAMPLES


def test_an_end_that_comes_after_the_last_packet_has_left_still_ends_it() -> None:
    track = _loaded(1, 2, ended=False)
    _play(track, 2)
    track.end(1, 2)
    assert track.pop(2 * TICK_SAMPLES) is not None
    assert not track.active


def test_an_end_announced_without_its_last_packets_ends_it() -> None:
    track = _loaded(1, 2, ended=False)
    track.end(1, 5)
    placed = _play(track, 3)
    assert placed[-1] is not None
    assert track.holes == 3
    assert not track.active


def test_an_empty_utterance_never_plays() -> None:
    track = SpeechTrack()
    track.start(1)
    track.end(1, 0)
    assert not track.active
    assert track.pop(0) is None


def test_what_was_cut_stays_cut() -> None:
    track = _loaded(1, 5, ended=False)
    _play(track, 2)
    track.cancel(1)
    assert track.pop(2 * TICK_SAMPLES) is None
    assert track.push(_packet(1, 5), 0.0) == Dropped("cut-utterance")
    assert track.start(1) == Dropped("old-utterance")
    _loaded(2, 1, track=track)
    item = track.pop(3 * TICK_SAMPLES)
    assert item is not None
    assert item.utterance_id == 2


def test_bad_packets_are_counted_drops() -> None:
    track = _loaded(1, 2, ended=False)
    _play(track, 1)
    assert track.push(_packet(1, 0), 0.0) == Dropped("late")
    assert track.push(_packet(1, 1), 0.0) == Dropped("duplicate")
    assert track.push(_packet(9, 0), 0.0) == Dropped("unknown-utterance")
    assert track.push(_packet(1, 1_000_000), 0.0) == Dropped("too-far-ahead")


def test_the_queue_is_bounded() -> None:
    track = SpeechTrack()
    track.start(1)
    for index in range(SPEECH_QUEUE_PACKETS_MAX):
        assert track.push(_packet(1, index), 0.0) is None
    track.start(2)
    assert track.push(_packet(2, 0), 0.0) == Dropped("queue-full")


def test_positions_map_both_ways() -> None:
    track = _loaded(1, 4)
    _play(track, 4, begin=10)
    base = 10 * TICK_SAMPLES
    assert track.start_of(1) == base
    assert track.start_of(7) is None
    assert track.heard_until(1, base) == 0
    assert track.heard_until(1, base + 1500) == 1500
    assert track.heard_until(1, base + 10 * TICK_SAMPLES) == 4 * TICK_SAMPLES


def test_an_underrun_shifts_what_was_heard() -> None:
    track = _loaded(1, 2, ended=False)
    _play(track, 3)  # two packets, one underrun
    track.push(_packet(1, 2), 0.0)
    _play(track, 1, begin=3)
    assert track.heard_until(1, 3 * TICK_SAMPLES) == 2 * TICK_SAMPLES
    assert track.heard_until(1, 3 * TICK_SAMPLES + 100) == 2 * TICK_SAMPLES + 100
    assert track.start_of(1) == TICK_SAMPLES


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("start"), st.integers(0, 6), st.just(0)),
            st.tuples(st.just("push"), st.integers(0, 6), st.integers(0, 400)),
            st.tuples(st.just("end"), st.integers(0, 6), st.integers(-1, 20)),
            st.tuples(st.just("cancel"), st.integers(0, 6), st.just(0)),
            st.tuples(st.just("pop"), st.just(0), st.just(0)),
        ),
        max_size=120,
    )
)
def test_any_sequence_keeps_the_queue_bounded_and_the_clock_monotonic(script: list[tuple[str, int, int]]) -> None:
    track = SpeechTrack()
    media_time = 0
    positions: dict[int, int] = {}
    for verb, utterance_id, number in script:
        if verb == "start":
            track.start(utterance_id)
        elif verb == "push":
            track.push(_packet(utterance_id, number), 0.0)
        elif verb == "end":
            track.end(utterance_id, number)
        elif verb == "cancel":
            track.cancel(utterance_id)
        else:
            placed = track.pop(media_time)
            media_time += TICK_SAMPLES
            if placed:
                assert placed.ticks >= positions.get(placed.utterance_id, 0)
                positions[placed.utterance_id] = placed.ticks
        assert 0 <= track.queued_packets <= SPEECH_QUEUE_PACKETS_MAX


def test_an_utterance_whose_end_was_lost_ends_where_the_next_begins() -> None:
    track = _loaded(1, 2, ended=False)
    _loaded(2, 1, track=track)
    assert [item and item.utterance_id for item in _play(track, 3)] == [1, 1, 2]
    assert not track.active


def test_an_announced_utterance_of_which_nothing_came_does_not_hold_up_the_next() -> None:
    track = _loaded(1, 0, ended=False)
    _loaded(2, 1, track=track)
    item = track.pop(0)
    assert item is not None
    assert item.utterance_id == 2


@given(packets=st.integers(0, 2))
def test_an_utterance_is_not_waited_for_for_ever(packets: int) -> None:
    track = _loaded(1, packets, ended=False)
    _play(track, packets + round(SPEECH_STALL_S_MAX / TICK_S))
    assert track.active
    _play(track, 1, begin=10_000)
    assert not track.active


# --- hearing ahead ---------------------------------------------------------------------------------------------------

AHEAD = 3


def _sound(index: int) -> bytes:
    return bytes([index + 1]) * LOG_MEL_BANDS


def _heard_packet(utterance_id: int, index: int, at: int | None = None) -> SpeechPacket:
    """Its sound is its index's; at: its index is another one."""
    return SpeechPacket(utterance_id=utterance_id, index=index if at is None else at, opus=b"x", log_mel=_sound(index))


def _numbers(heard: bytes) -> list[int]:
    """First byte of each frame less one: its index; -1 = silence."""
    assert len(heard) % LOG_MEL_BANDS == 0
    frames = [heard[start : start + LOG_MEL_BANDS] for start in range(0, len(heard), LOG_MEL_BANDS)]
    assert all(len(set(frame)) == 1 for frame in frames)
    return [frame[0] - 1 for frame in frames]


def _spoken(count: int, *, ended: bool = True) -> SpeechTrack:
    track = SpeechTrack()
    track.start(1)
    for index in range(count):
        track.push(_heard_packet(1, index), 0.0)
    if ended:
        track.end(1, count)
    return track


def test_the_first_tick_hears_all_that_lies_ahead_and_each_following_one_frame_more() -> None:
    track = _spoken(6)
    heard = []
    for tick in range(8):
        track.pop(tick * TICK_SAMPLES)
        heard.append(_numbers(track.hear(AHEAD)))
    assert heard == [[0, 1, 2, 3], [4], [5], [-1], [-1], [-1], [-1], [-1]]


def test_what_follows_an_utterance_at_once_is_heard_before_it_begins() -> None:
    track = _spoken(5)
    track.start(2)
    for index in range(5):
        track.push(_heard_packet(2, 10 + index, at=index), 0.0)
    track.end(2, 5)
    heard = []
    for tick in range(10):
        track.pop(tick * TICK_SAMPLES)
        heard.append(_numbers(track.hear(AHEAD)))
    assert heard == [[0, 1, 2, 3], [4], [10], [11], [12], [13], [14], [-1], [-1], [-1]]


def test_what_left_in_one_packet_is_heard_together() -> None:
    track = _spoken(9)
    track.pop(0)
    assert _numbers(track.hear(AHEAD)) == [0, 1, 2, 3]
    for tick in (1, 2, 3):
        track.pop(tick * TICK_SAMPLES)
    assert _numbers(track.hear(AHEAD)) == [4, 5, 6]
    assert track.hear(AHEAD) == b""


def test_the_frame_before_stands_in_for_one_that_is_late_or_lost() -> None:
    track = SpeechTrack()
    track.start(1)
    for index in (0, 1, 3):
        track.push(_heard_packet(1, index), 0.0)
    track.pop(0)
    assert _numbers(track.hear(AHEAD)) == [0, 1, 1, 3]
    track.pop(TICK_SAMPLES)
    assert _numbers(track.hear(AHEAD)) == [3]


def test_a_clock_that_stands_still_hears_nothing_new() -> None:
    track = _spoken(2, ended=False)
    for tick in range(2):
        track.pop(tick * TICK_SAMPLES)
        track.hear(AHEAD)
    track.pop(2 * TICK_SAMPLES)
    assert track.hear(AHEAD) == b""
    assert SpeechTrack().hear(AHEAD) == b""


def test_nothing_is_heard_of_a_voice_that_was_cut() -> None:
    track = _spoken(9)
    track.pop(0)
    track.cancel(1)
    assert track.hear(AHEAD) == b""


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 5), st.integers(1, 3))
def test_every_frame_is_heard_once_in_order_whatever_is_lost(there: list[bool], ahead: int, ticks: int) -> None:
    track = SpeechTrack()
    track.start(1)
    for index, present in enumerate(there):
        if present:
            track.push(_heard_packet(1, index), 0.0)
    track.end(1, len(there))
    heard: list[int] = []
    popped = 0
    for tick in range(0, len(there), ticks):
        for step in range(ticks):
            placed = track.pop((tick + step) * TICK_SAMPLES)
            popped = placed.ticks // TICK_SAMPLES + 1 if placed else popped
            if step == 0 and placed is not None:
                heard += _numbers(track.hear(max(ahead, ticks - 1)))
    for index, number in enumerate(heard[: len(there)]):
        if there[index]:
            assert number == index
        else:
            assert number <= index
    assert len(heard) <= len(there) + max(ahead, ticks - 1) + 20


def test_a_voice_that_comes_as_it_is_spoken_waits_for_what_follows() -> None:
    track = SpeechTrack()
    track.start(1)
    track.hold(1, AHEAD)
    played = []
    for tick in range(12):
        if tick < 8:
            track.push(_heard_packet(1, tick), 0.0)
        elif tick == 8:
            track.end(1, 8)
        placed = track.pop(tick * TICK_SAMPLES)
        played.append(placed.ticks // TICK_SAMPLES if placed and placed.opus else None)
        if placed and placed.opus:
            assert _numbers(track.hear(AHEAD))[-1] in (placed.ticks // TICK_SAMPLES + AHEAD, -1)
    assert played == [None, None, None, 0, 1, 2, 3, 4, 5, 6, 7, None]


def test_a_packet_a_little_late_is_no_gap_and_one_that_ran_dry_fills_up_again() -> None:
    track = SpeechTrack()
    track.start(1)
    track.hold(1, AHEAD)
    arrivals = {0: 4, 2: 2, 12: 3, 13: 1}
    pushed, played = 0, []
    for tick in range(16):
        for _ in range(arrivals.get(tick, 0)):
            track.push(_heard_packet(1, pushed), 0.0)
            pushed += 1
        placed = track.pop(tick * TICK_SAMPLES)
        played.append(bool(placed and placed.opus))
    assert played == [True] * 6 + [False] * 7 + [True] * 3


def test_an_utterance_whose_sender_is_gone_ends_at_its_first_gap() -> None:
    track = _loaded(1, 4, ended=False)
    track.push(_packet(1, 6), 0.0)
    _play(track, 2)
    assert track.close_newest() == (1, 4)
    assert [placed.ticks for placed in _play(track, 2, begin=2) if placed] == [2 * TICK_SAMPLES, 3 * TICK_SAMPLES]
    assert not track.active
    assert track.close_newest() == (0, 0)


def test_a_whole_utterance_is_not_closed_again() -> None:
    assert _loaded(1, 3).close_newest() == (0, 0)


def test_what_waits_gives_a_collector_nothing_to_do() -> None:
    """Thousands of packets wait at a POP; none of them may be looked at in the middle of a phase."""
    track = SpeechTrack()
    track.start(1)
    packet = SpeechPacket(utterance_id=1, index=0, opus=b"x", phonemes=(PhonemeSpan("a", 0, 960),), log_mel=b"y")
    track.push(packet, 0.0)
    waiting = track._utterances[0].packets[0]
    placed = track.pop(960)
    assert not any(map(gc.is_tracked, (packet, packet.phonemes[0], waiting, placed, track._segments[-1])))
