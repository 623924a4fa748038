"""Our own playout of sound: delay, stretch, gaps and clocks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Dropped
from core.limits import JITTER_BUFFER_PACKETS_MAX, PLAYOUT_DELAY_MS_MAX
from core.stream.jitter_buffer import Block, JitterBuffer


def _push(buffer: JitterBuffer, number: int, arrival_ms: float, **flags: bool) -> Dropped | None:
    buffer.advance(arrival_ms)
    silent, repaired = flags.get("silent", False), flags.get("repaired", False)
    return buffer.push(b"x", number * 960, 960, silent=silent, arrival_ms=arrival_ms, repaired=repaired)


def _run(buffer: JitterBuffer, late_ms: list[float | None], *, silent: bool = False) -> list[Block]:
    blocks: list[Block] = []
    arrivals = sorted((n * 20 + late, n) for n, late in enumerate(late_ms) if late is not None)
    for arrival, number in arrivals:
        blocks += buffer.advance(arrival)
        _push(buffer, number, arrival, silent=silent)
    return blocks + buffer.advance(len(late_ms) * 20.0)


def test_a_steady_stream_plays_whole_and_in_order() -> None:
    buffer = JitterBuffer()
    blocks = _run(buffer, [5.0] * 200)
    assert all(block.payload for block in blocks)
    assert [block.ticks for block in blocks] == [n * 960 for n in range(len(blocks))]
    assert buffer.delay_ms == pytest.approx(20.0, abs=1.0)
    assert buffer.concealed == 0


def test_the_delay_follows_the_jitter() -> None:
    buffer = JitterBuffer()
    _run(buffer, [n * 37 % 60 for n in range(400)])
    assert buffer.target_ms == pytest.approx(68.0, abs=3.0)
    assert buffer.delay_ms == pytest.approx(buffer.target_ms, abs=3.0)
    assert not sum(buffer.dropped.values()) > 10


def test_the_delay_has_a_bound() -> None:
    buffer = JitterBuffer()
    _run(buffer, [5.0 if n % 20 else 300.0 for n in range(400)])
    assert buffer.target_ms == PLAYOUT_DELAY_MS_MAX


@pytest.mark.parametrize(("repairs", "awaited_ms"), [(4, 20.0), (5, 130.0)])
def test_where_repairs_are_frequent_the_latest_of_them_is_awaited(repairs: int, awaited_ms: float) -> None:
    """Four of 300 packets are fewer than the quantile waits for; the fifth makes them worth it."""
    buffer, step = JitterBuffer(), 50
    repaired = {step * n: 120.0 if n == 1 else 70.0 for n in range(1, repairs + 1)}
    arrivals = sorted((20.0 * n + repaired.get(n, 0.0), n) for n in range(step * repairs + 1))
    for arrival, number in arrivals:
        buffer.advance(arrival)
        _push(buffer, number, arrival, repaired=number in repaired)
    assert buffer.target_ms == pytest.approx(awaited_ms)


def test_silence_is_stretched_more_than_voice() -> None:
    silent, voice = (
        [block.length_ms for block in _run(JitterBuffer(), [n * 37 % 90 for n in range(60)], silent=quiet)]
        for quiet in (True, False)
    )
    assert max(silent) == pytest.approx(25.0)
    assert max(voice) == pytest.approx(21.0)
    assert min(voice) >= 19.0


def test_a_missing_packet_is_concealed_and_its_late_self_dropped() -> None:
    buffer = JitterBuffer()
    blocks = _run(buffer, [5.0] * 50 + [None] + [5.0] * 50)
    assert [block.ticks for block in blocks if block.payload is None] == [50 * 960]
    assert _push(buffer, 50, 2_020.0) == Dropped("late")
    assert buffer.dropped == {"late": 1}


def test_the_clock_runs_on_through_an_outage() -> None:
    buffer = JitterBuffer()
    blocks = _run(buffer, [5.0] * 50 + [None] * 50 + [5.0] * 50)
    assert buffer.concealed == 50
    assert buffer.position(2_999.0) == pytest.approx((2_999 - 25) * 48, abs=200)
    times = [block.at_ms for block in blocks]
    assert times == sorted(times)


def test_a_long_outage_is_skipped() -> None:
    buffer = JitterBuffer()
    _run(buffer, [5.0] * 50)
    assert len(buffer.advance(3_600_000.0)) < 300
    assert buffer.position(3_600_000.0) == pytest.approx((3_600_000 - 25) * 48, abs=2_000)


def test_a_path_that_becomes_slower_sets_the_clock_back() -> None:
    buffer = JitterBuffer()
    _run(buffer, [5.0] * 50)
    results = [_push(buffer, 50 + n, 1_000 + n * 20 + 500.0) for n in range(10)]
    assert results[:4] == [Dropped("late")] * 4
    assert results[4:] == [None] * 6


def test_80_ms_packets_play_at_their_length() -> None:
    buffer = JitterBuffer()
    for number in range(20):
        buffer.advance(number * 80.0)
        buffer.push(b"i", number * 3_840, 3_840, silent=True, arrival_ms=number * 80.0)
    buffer.advance(1_600.0)
    assert buffer.concealed == 0
    assert buffer.position(1_600.0) == pytest.approx((1_600 - 20) * 48, abs=100)


def test_useless_packets_are_counted() -> None:
    buffer = JitterBuffer()
    assert buffer.position(0.0) is None
    assert buffer.delay_ms == 0.0
    assert _push(buffer, 0, 0.0, repaired=True) == Dropped("late")
    assert _push(buffer, 0, 0.0) is None
    assert _push(buffer, 0, 1.0) == Dropped("duplicate")
    assert _push(buffer, 1_000, 1.0) == Dropped("absurd")
    for number in range(1, 240):
        assert _push(buffer, number, 1.0) is None
    assert buffer.waiting <= JITTER_BUFFER_PACKETS_MAX


@pytest.mark.parametrize("offset", [1_000_000, -1_000_000])
def test_five_absurd_media_times_in_a_row_are_a_new_clock(offset: int) -> None:
    buffer = JitterBuffer()
    assert _push(buffer, 0, 0.0) is None
    for number in range(4):
        assert _push(buffer, offset + number, 0.0) == Dropped("absurd")
    assert _push(buffer, 1, 0.0) is None
    for number in range(4):
        assert _push(buffer, offset + number, 0.0) == Dropped("absurd")
    assert _push(buffer, offset + 4, 0.0, repaired=True) == Dropped("absurd")
    assert _push(buffer, offset + 5, 0.0) is None
    assert buffer.waiting == 1
    assert [block.payload is None for block in buffer.advance(41.0)] == [False]


def test_a_packet_inside_another_is_not_played() -> None:
    buffer = JitterBuffer()
    buffer.push(b"a", 0, 3_840, silent=True, arrival_ms=0.0)
    buffer.push(b"b", 960, 960, silent=True, arrival_ms=0.0)
    assert [block.payload for block in buffer.advance(41.0)] == [b"a"]
    assert buffer.dropped == {"late": 1}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 80), st.booleans(), st.booleans()), max_size=200))
def test_nothing_makes_it_fail_grow_or_run_backwards(packets: list[tuple[int, float, bool, bool]]) -> None:
    buffer, now, last = JitterBuffer(), 0.0, 0.0
    for number, gap, silent, repaired in packets:
        now += gap
        for block in buffer.advance(now):
            assert block.at_ms >= last - 200
            assert block.length_ms > 0
            assert block.duration_ticks > 0
            last = block.at_ms
        buffer.push(b"x", number * 960, 960, silent=silent, arrival_ms=now, repaired=repaired)
        assert buffer.waiting <= JITTER_BUFFER_PACKETS_MAX
