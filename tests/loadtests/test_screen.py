from __future__ import annotations

import numpy as np
import pytest

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import TICK_S, TICK_SAMPLES
from core.session.state import FaceState
from core.stream.sender import UnitSender
from core.wire.access_unit import AccessUnitFlags
from loadtests.audio import VoiceEncoder
from loadtests.recording import Heard, Recording
from loadtests.screen import Screen

JAW = BLENDSHAPE_INDEX["jawOpen"]
T0 = 50.0
NO_FLAGS = AccessUnitFlags(0)


class Link:
    """A perfect network between a sender and a screen, 20 ms at a time."""

    def __init__(self, *, protects_sound: bool = False) -> None:
        self.recording = Recording()
        self.screen = Screen(self.recording, protects_sound=protects_sound)
        self.sender = UnitSender(epoch=1, plays_sound_itself=protects_sound)
        self.voice = VoiceEncoder()
        self.tick = 0

    def send(
        self, ticks: int, *, voice: bool = True, flags: AccessUnitFlags = NO_FLAGS, jaw: float = 0.0, lost: bool = False
    ) -> None:
        for _ in range(ticks):
            times = (self.tick * TICK_SAMPLES + np.arange(TICK_SAMPLES)) / 48_000
            tone = (0.3 * np.sin(2 * np.pi * 300 * times)).astype(np.float32)
            weights = REST_FRAME.weights.copy()
            weights[JAW] = jaw
            payload = self.sender.pack(
                frame=AnimationFrame(weights=weights, joints=REST_FRAME.joints),
                opus=[self.voice.encode(tone)] if voice else [],
                state=FaceState.SPEAKING if voice else FaceState.LISTENING,
                flags=flags,
                now=self.now,
            )
            if not lost:
                self.screen.receive(payload, (self.tick * TICK_SAMPLES) & 0xFFFFFFFF, self.now)
            self.screen.draw(self.now)
            self.tick += 1
            self.sender.receive_feedback(self.screen.feedback(self.now), self.now)

    @property
    def now(self) -> float:
        return T0 + self.tick * TICK_S

    def loud(self, begin: float, end: float) -> list[float]:
        """RMS of the blocks that sounded in this time."""
        self.screen.advance(end + 1.0)
        blocks: list[Heard] = [b for b in self.recording.heard if begin <= b.at < end]
        return [float(np.sqrt(np.mean(b.samples**2))) for b in blocks]


def test_voice_is_heard_one_delay_later_and_the_jaw_is_drawn_with_it() -> None:
    link = Link()
    link.send(20, jaw=0.2)
    link.send(20, jaw=0.8)
    assert link.screen.state is FaceState.SPEAKING
    assert min(link.loud(T0 + 0.2, T0 + 0.6)) > 0.15
    early, late = Link(), Link()
    for other, ticks in ((early, 20), (late, 40)):
        other.send(20, jaw=0.2)
        other.send(ticks - 20, jaw=0.8)
        frame = other.screen.draw(other.now)
        assert frame.weights[JAW] == pytest.approx(0.2 if ticks == 20 else 0.8, abs=0.02)


def test_duck_acts_on_what_is_buffered_from_its_arrival_on() -> None:
    link = Link()
    link.send(30)
    ducked_at = link.now
    link.send(20, flags=AccessUnitFlags.DUCK)
    before, after = link.loud(T0 + 0.2, ducked_at - 0.02), link.loud(ducked_at + 0.001, ducked_at + 0.3)
    assert max(after) < 0.3 * min(before)
    assert min(after) > 0.0


def test_cut_mutes_what_is_buffered_and_a_new_voice_is_heard_again() -> None:
    link = Link()
    link.send(30)
    cut_at = link.now
    link.send(10, voice=False, flags=AccessUnitFlags.CUT)
    link.send(20)
    again_at = cut_at + 10 * TICK_S + 0.06
    assert link.screen.state is FaceState.SPEAKING
    # The first block of silence still holds the end of the voice (overlapping transforms).
    assert max(link.loud(cut_at + 0.021, cut_at + 0.2)) == 0.0
    assert min(link.loud(again_at + 0.02, again_at + 0.2)) > 0.1


@pytest.mark.parametrize("payload", [b"", b"\x03", b"\xff" * 40, b"\x00"])
def test_garbage_is_counted_and_changes_nothing(payload: bytes) -> None:
    link = Link()
    link.send(5)
    known = link.recording.undecodable
    link.screen.receive(payload, link.tick * TICK_SAMPLES, link.now)
    link.tick += 1
    link.send(5)
    assert link.recording.undecodable <= known + 1
    assert link.screen.units == 10


def test_lost_packets_ask_for_nothing_while_the_baseline_is_there() -> None:
    link = Link()
    link.send(10, jaw=0.3)
    link.send(3, jaw=0.3, lost=True)
    link.send(10, jaw=0.6)
    assert link.recording.baseline_missing == 0
    assert link.screen.fec["lost"] == 3
    assert link.screen.draw(link.now).weights[JAW] > 0.3


def test_feedback_says_what_was_decoded_and_what_is_audible() -> None:
    link = Link()
    assert link.screen.feedback(T0).acknowledged is None
    assert link.screen.feedback(T0).playout_timestamp is None
    link.send(30)
    feedback = link.screen.feedback(link.now)
    assert feedback.acknowledged == 29
    assert feedback.playout_timestamp is not None
    assert 25 * TICK_SAMPLES < feedback.playout_timestamp < 30 * TICK_SAMPLES
    assert feedback.playout_delay_ms == pytest.approx(25, abs=10)
    assert feedback.owd_gradient is not None


@pytest.mark.parametrize("protects_sound", [True, False])
def test_what_was_lost_is_repaired_and_heard_where_sound_is_protected(protects_sound: bool) -> None:
    link = Link(protects_sound=protects_sound)
    link.send(30)
    link.send(1, lost=True)
    link.send(30)
    assert link.screen.fec == {"lost": 1, "repaired": 1, "late": 0 if not protects_sound else link.screen.fec["late"]}
    assert [arrival.sequence_number for arrival in link.recording.arrivals if arrival.repaired] == [30]
    assert len(link.recording.arrivals) == 61


def test_a_link_of_another_kind_goes_on_with_the_same_face() -> None:
    link = Link()
    link.send(20, jaw=0.5)
    link.screen.on_new_link(protects_sound=False)
    link.screen.on_new_link(protects_sound=True)
    link.sender.restart(plays_sound_itself=True)
    link.send(10, jaw=0.5)
    link.send(1, lost=True)
    link.send(20, jaw=0.5)
    assert link.screen.fec["repaired"] == 1
    assert link.screen.draw(link.now).weights[JAW] == pytest.approx(0.5, abs=0.02)
    assert link.recording.undecodable == 0
