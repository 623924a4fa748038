"""The origin is asked for another voice rarely, and only for one that it can speak."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.limits import VOICE_BITRATE_BPS_MAX, VOICE_BITRATE_BPS_MIN, VOICE_FORMAT_S_MIN
from core.speech.messages import VoiceFormat
from core.stream.voice_format import VoiceAdvisor


def test_what_the_origin_knows_is_not_said_again() -> None:
    advisor = VoiceAdvisor()
    assert advisor.advise(bitrate_bps=24_000, loss=0.0, now=0.0) == VoiceFormat(bitrate_bps=24_000, loss_percent=0)
    assert advisor.advise(bitrate_bps=24_000, loss=0.001, now=10.0) is None
    assert advisor.advise(bitrate_bps=18_000, loss=0.0, now=11.0) == VoiceFormat(bitrate_bps=18_000, loss_percent=0)


def test_what_changes_too_soon_is_said_later() -> None:
    advisor = VoiceAdvisor()
    advisor.advise(bitrate_bps=24_000, loss=0.0, now=0.0)
    assert advisor.advise(bitrate_bps=12_000, loss=0.1, now=VOICE_FORMAT_S_MIN - 0.1) is None
    told = advisor.advise(bitrate_bps=12_000, loss=0.1, now=VOICE_FORMAT_S_MIN)
    assert told == VoiceFormat(bitrate_bps=12_000, loss_percent=10)


def test_loss_about_a_threshold_does_not_flicker() -> None:
    advisor = VoiceAdvisor()
    told = [advisor.advise(bitrate_bps=24_000, loss=0.06 + 0.01 * (step % 3 - 1), now=3.0 * step) for step in range(20)]
    assert [each.loss_percent for each in told if each is not None] == [5, 10]
    calm = advisor.advise(bitrate_bps=24_000, loss=0.0, now=100.0)
    assert calm is not None
    assert calm.loss_percent == 0


@given(
    st.lists(st.tuples(st.integers(-(10**9), 10**9), st.floats(), st.floats(0.0, 10.0, allow_nan=False)), max_size=50)
)
def test_absurd_wishes_become_possible_ones_at_most_every_two_seconds(script: list[tuple[int, float, float]]) -> None:
    advisor, now, told_at = VoiceAdvisor(), 0.0, -10.0
    for bitrate_bps, loss, later in script:
        now += later
        told = advisor.advise(bitrate_bps=bitrate_bps, loss=loss, now=now)
        if told is not None:
            assert VOICE_BITRATE_BPS_MIN <= told.bitrate_bps <= VOICE_BITRATE_BPS_MAX
            assert told.loss_percent in (0, 5, 10, 20)
            assert now - told_at >= VOICE_FORMAT_S_MIN
            told_at = now
