from __future__ import annotations

import pytest

from core.errors import ConfigError
from core.limits import TICK_SAMPLES
from loadtests.bench import reply
from loadtests.bench._first_audio import summarise_first_audio
from loadtests.microphone import Microphone


def test_the_ratio_is_the_median_over_pairs_that_both_answered() -> None:
    found = [("a", 0.3, 0.6), ("b", 0.4, 0.5), ("c", 0.4, 3.4), ("d", None, 0.5), ("e", 0.5, None)]
    figures, details = summarise_first_audio(found)
    assert figures["ratio_first_audio"] == pytest.approx(0.5)
    assert figures["ratio_first_audio_prompt"] == pytest.approx((0.5 + 0.8) / 2)
    assert figures["pairs"] == 3 and figures["pairs_prompt"] == 2
    assert figures["pairs_unanswered_here"] == figures["pairs_unanswered_by_pipecat"] == 1
    assert details[3] == {"question": "d", "ms": None, "pipecat_ms": 500.0}


def test_a_ratio_without_answers_is_an_error() -> None:
    with pytest.raises(ConfigError, match="both"):
        summarise_first_audio([("a", None, 0.5)])


def test_hits_are_a_share_of_all_guesses() -> None:
    assert reply.hit_ratio({"confirmed": 3.0, "went-on": 1.0}) == {"speculation_hit_ratio": 0.75, "guesses": 4.0}
    assert reply.hit_ratio({}) == {}


def test_a_microphone_without_dtx_sends_the_room_as_well() -> None:
    for dtx in (True, False):
        microphone = Microphone(now=0.0, dtx=dtx)
        packets = [microphone.next_packet() for _ in range(40)]
        assert any(len(packet.opus) == 1 for packet in packets) is dtx
        assert all(packet.needed for packet in packets) is not dtx
        assert packets[-1].timestamp == 39 * TICK_SAMPLES
