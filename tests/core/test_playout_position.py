"""Where the viewer's ears are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.stream.playout_position import PlayoutPosition, unwrap_timestamp


@given(st.integers(0, 1 << 40), st.integers(-(1 << 31) + 1, (1 << 31) - 1))
def test_unwrapping_finds_the_nearest(near: int, offset: int) -> None:
    assert unwrap_timestamp((near + offset) & 0xFFFFFFFF, near) == near + offset


def test_a_report_is_carried_forward_but_never_past_what_was_sent() -> None:
    position = PlayoutPosition()
    assert position.report(48_000, sent=52_800, now=10.0)
    assert position.audible(sent=52_800, now=10.0) == 48_000
    assert position.audible(sent=52_800, now=10.05) == 50_400
    assert position.audible(sent=52_800, now=11.0) == 52_800
    assert position.latency_s(sent=52_800, now=10.0) == 0.1


def test_without_reports_a_usual_latency_is_assumed() -> None:
    position = PlayoutPosition()
    assert position.audible(sent=48_000, now=1.0) == 48_000 - 3_840
    assert position.audible(sent=10, now=1.0) == 0
    assert position.latency_s(sent=48_000, now=1.0) is None


def test_absurd_reports_are_refused() -> None:
    position = PlayoutPosition()
    assert not position.report(96_000, sent=48_000, now=1.0)
    assert not position.report(0, sent=48_000 * 120, now=1.0)
    assert position.latency_s(sent=48_000, now=1.0) is None


def test_an_old_report_is_forgotten() -> None:
    position = PlayoutPosition()
    position.report(48_000, sent=48_000, now=1.0)
    assert position.audible(sent=480_000, now=5.0) == 480_000 - 3_840
