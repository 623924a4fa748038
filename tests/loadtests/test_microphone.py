from __future__ import annotations

import numpy as np
import pytest

from loadtests.audio import VoiceDecoder
from loadtests.microphone import Microphone, MicrophonePacket

TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)


def take(microphone: Microphone, count: int) -> list[MicrophonePacket]:
    return [microphone.next_packet() for _ in range(count)]


def test_packets_are_due_when_their_last_sample_was_captured() -> None:
    packets = take(Microphone(now=100.0), 5)
    assert [p.captured_at for p in packets] == pytest.approx([100.02, 100.04, 100.06, 100.08, 100.10])
    assert [p.timestamp for p in packets] == [0, 960, 1_920, 2_880, 3_840]


def test_what_is_said_sounds_from_the_next_packet_on() -> None:
    microphone = Microphone(now=100.0)
    take(microphone, 10)
    assert microphone.say(TONE) == pytest.approx(100.2)
    assert microphone.speaking
    packets = take(microphone, 50)
    assert not microphone.speaking
    assert all(p.level_dbov in (13, 14) for p in packets)
    assert microphone.say(TONE[:1_000]) == pytest.approx(101.2)
    assert microphone.say(TONE[:500]) == pytest.approx(101.2 + 1_000 / 48_000)


def test_levels_follow_the_sound_and_the_sound_survives() -> None:
    microphone = Microphone(now=0.0)
    microphone.say(TONE)
    decoder = VoiceDecoder()
    pieces = [decoder.decode(p.opus) for p in take(microphone, 50)]
    decoded = np.concatenate([piece for piece in pieces if piece is not None])
    assert float(np.sqrt(np.mean(decoded[4_800:] ** 2))) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_quiet_room_needs_few_packets_and_they_are_valid_opus() -> None:
    microphone = Microphone(now=0.0)
    microphone.say(TONE[:4_800])
    packets = take(microphone, 105)
    assert all(p.needed for p in packets[:15])
    resting = packets[30:]
    assert sum(p.needed for p in resting) <= 5
    assert all(len(p.opus) == 1 and p.level_dbov >= 68 for p in resting)
    decoder = VoiceDecoder()
    for packet in packets[:16]:
        assert decoder.decode(packet.opus) is not None


def test_machine_that_stood_still_gives_packets_up_and_keeps_the_clock() -> None:
    microphone = Microphone(now=0.0)
    microphone.say(TONE)
    assert microphone.skip_to(0.15) == 0
    assert microphone.skip_to(0.5) == 24
    assert microphone.next_packet().timestamp == 24 * 960
    assert microphone.due == pytest.approx(0.52)
