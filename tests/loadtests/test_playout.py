from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from core.limits import MEDIA_CLOCK_HZ, TICK_SAMPLES
from loadtests.playout import Block, Playout

TICK = 0.020


def run(arrivals: list[tuple[int, float]], *, silent: bool = False, until: float | None = None) -> list[Block]:
    """Push packet i at its arrival time, then play for a while."""
    playout = Playout()
    return play(playout, arrivals, silent=silent, until=until)


def play(
    playout: Playout, arrivals: list[tuple[int, float]], *, silent: bool = False, until: float | None = None
) -> list[Block]:
    blocks: list[Block] = []
    for index, at in arrivals:
        blocks += playout.advance(at)
        playout.push(index.to_bytes(4), index * TICK_SAMPLES, TICK_SAMPLES, silent=silent, arrival=at)
    blocks += playout.advance(until if until is not None else arrivals[-1][1] + 1.0)
    return blocks


def test_nothing_came_nothing_plays() -> None:
    playout = Playout()
    assert playout.advance(100.0) == []
    assert playout.position(100.0) is None
    assert playout.delay_s == 0.0


def test_punctual_packets_play_back_to_back_after_the_first_delay() -> None:
    blocks = run([(i, 5.0 + i * TICK) for i in range(50)])
    assert [b.payload for b in blocks] == [i.to_bytes(4) for i in range(50)]
    for i, block in enumerate(blocks):
        assert abs(block.at - (5.040 + i * TICK)) < 1e-9


def test_position_runs_with_time_and_stops_when_nothing_is_left() -> None:
    playout = Playout()
    play(playout, [(0, 1.0), (1, 1.02)], until=1.05)
    assert playout.position(1.05) == round(0.010 * MEDIA_CLOCK_HZ)
    playout.advance(3.0)
    assert playout.position(3.0) == 2 * TICK_SAMPLES
    assert playout.stalls == 1


def test_late_packet_makes_the_clock_wait_once_and_the_delay_stays() -> None:
    arrivals = [(i, 1.0 + i * TICK) for i in range(20)]
    arrivals += [(20, 1.0 + 20 * TICK + 0.080)]
    arrivals += [(i, 1.0 + i * TICK + 0.001) for i in range(24, 40)]
    arrivals = sorted([*arrivals, *[(i, 1.0 + 20 * TICK + 0.080) for i in (21, 22, 23)]], key=lambda a: (a[1], a[0]))
    playout = Playout()
    blocks = play(playout, arrivals)
    assert [b.payload for b in blocks] == [i.to_bytes(4) for i in range(40)]
    assert playout.late == 0
    assert blocks[20].at == 1.0 + 20 * TICK + 0.080
    assert playout.stalls == 2  # the late one, and the end


def test_lost_packet_is_concealed_in_its_turn() -> None:
    playout = Playout()
    blocks = play(playout, [(i, 1.0 + i * TICK) for i in range(10) if i != 4])
    assert blocks[4].payload is None
    assert blocks[4].duration == TICK_SAMPLES
    assert len(blocks) == 10
    assert playout.concealed == 1


def test_packet_after_its_turn_is_dropped_and_counted() -> None:
    playout = Playout()
    arrivals = [(0, 1.0), (2, 1.04), (3, 1.06), (1, 1.09), (4, 1.095)]
    blocks = play(playout, arrivals)
    assert playout.late == 1
    assert [b.payload for b in blocks][:3] == [(0).to_bytes(4), None, (2).to_bytes(4)]


def test_silence_is_shortened_until_the_delay_fits_the_link() -> None:
    playout = Playout()
    play(playout, [(i, 1.0 + i * TICK) for i in range(200)], silent=True, until=1.0 + 200 * TICK)
    assert abs(playout.delay_s - 0.020) < 0.006


def test_speech_is_never_shortened() -> None:
    blocks = run([(i, 1.0 + i * TICK) for i in range(200)])
    gaps = {round(b.at - a.at, 6) for a, b in itertools.pairwise(blocks)}
    assert gaps == {0.02}


def test_long_idle_packets_cover_their_whole_span() -> None:
    playout = Playout()
    blocks: list[Block] = []
    for i in range(10):
        at = 1.0 + i * 0.080
        blocks += playout.advance(at)
        playout.push(b"x", i * 4 * TICK_SAMPLES, 4 * TICK_SAMPLES, silent=True, arrival=at)
    blocks += playout.advance(10.0)
    assert playout.concealed == 0
    assert playout.late == 0
    assert len(blocks) == 10


@settings(max_examples=60, deadline=None)
@given(
    jitter=st.lists(st.floats(0.0, 0.15), min_size=2, max_size=80),
    lost=st.sets(st.integers(0, 79), max_size=20),
    silent=st.booleans(),
)
def test_whatever_the_link_does_blocks_are_in_order_never_overlap_and_never_play_before_they_came(
    jitter: list[float], lost: set[int], silent: bool
) -> None:
    arrivals = [(i, 1.0 + i * TICK + extra) for i, extra in enumerate(jitter) if i not in lost]
    if not arrivals:
        return
    arrivals.sort(key=lambda a: a[1])
    came = dict(arrivals)
    blocks = run(arrivals, silent=silent, until=20.0)
    for before, after in itertools.pairwise(blocks):
        assert after.media_time == before.media_time + before.duration
        assert after.at >= before.at + before.duration / MEDIA_CLOCK_HZ - 0.005 - 1e-9
    for block in blocks:
        if block.payload is not None:
            assert block.at >= came[int.from_bytes(block.payload)] - 1e-9
