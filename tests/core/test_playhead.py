"""The clocks behind motion."""

from __future__ import annotations

import pytest

from core.stream.playhead import TICKS_PER_MS, ArrivalClock, Playhead


def test_waits_one_interval_and_the_jitter_it_has_seen() -> None:
    clock = ArrivalClock()
    for frame in range(50):
        clock.observe(frame * 960, 1_000.0 + frame * 20 + (frame % 5) * 3)
    assert clock.delay_ms == pytest.approx(32.0)
    assert (clock.ticks_at(2_000.0) or 0.0) / TICKS_PER_MS == pytest.approx(968.0)
    assert clock.lateness_ms(50 * 960, 2_000.0 + 7) == pytest.approx(7.0)


def test_waits_longer_on_an_idle_track_and_returns() -> None:
    clock = ArrivalClock()
    for frame in range(10):
        clock.observe(frame * 3_840, 1_000.0 + frame * 80)
    assert clock.delay_ms == 84.0
    clock.observe(9 * 3_840 + 960, 1_740.0)
    assert clock.delay_ms == 24.0


def test_does_not_wait_for_ever_after_one_terrible_packet() -> None:
    clock = ArrivalClock()
    clock.observe(0, 0.0)
    clock.observe(960, 900.0)
    assert clock.delay_ms <= 90.0


def test_knows_nothing_at_first_and_after_a_reset() -> None:
    clock = ArrivalClock()
    assert clock.ticks_at(0.0) is None
    assert clock.delay_ms == clock.lateness_ms(960, 5.0) == 0.0
    clock.observe(0, 0.0)
    clock.reset()
    assert clock.ticks_at(0.0) is None


def test_the_playhead_runs_with_the_media() -> None:
    playhead = Playhead()
    assert playhead.advance(0.0, 0.0)
    for now in range(16, 1_000, 16):
        assert not playhead.advance(float(now), now * 48.0)
        assert playhead.ticks == pytest.approx(now * 48.0)


def test_the_playhead_never_goes_back_and_never_races() -> None:
    playhead = Playhead()
    playhead.advance(0.0, 0.0)
    former = 0.0
    for now in range(10, 610, 10):
        playhead.advance(float(now), (now - 60 if 200 <= now < 400 else now) * 48.0)
        step = (playhead.ticks or 0.0) / 48 - former
        assert 0.0 < step <= 22.01
        former += step
    assert former == pytest.approx(600.0, abs=5.0)


@pytest.mark.parametrize(("now", "target"), [(16.0, 48_000.0), (2_000.0, 96_000.0)])
def test_the_playhead_jumps_over_what_cannot_be_chased(now: float, target: float) -> None:
    playhead = Playhead()
    playhead.advance(0.0, 0.0)
    assert playhead.advance(now, target)
    assert playhead.ticks == target
    playhead.jump(now, 5.0)
    assert playhead.ticks == 5.0
    playhead.reset()
    assert playhead.ticks is None
