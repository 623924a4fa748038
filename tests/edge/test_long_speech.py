"""An answer that does not end: what a POP keeps of it is as much after minutes as after one."""

from __future__ import annotations

import numpy as np
import pytest

from core.avatar.behaviour import Behaviours
from core.limits import TICK_SAMPLES
from core.session.state import FaceState
from core.speech import messages
from core.wire.access_unit import AccessUnitFlags
from core.wire.control import encode_control
from core.wire.feedback import Feedback, encode_feedback
from edge.animator import Animator
from edge.config import EdgeConfig
from edge.mouths import Mouths
from edge.pop import make_animator
from tests.edge.stage import VOICE, Stage
from tests.reachable import reachable_bytes

SETTLED = 2_200
"""Ticks after which everything is full that has a bound: units that feedback may still be about."""
CLAUSE = 150
"""Ticks of one clause of ten words."""


class Monologue:
    """A viewer that listens, and an origin that speaks one second ahead."""

    def __init__(self, animator: Animator) -> None:
        self.stage = Stage(animator=animator)
        self.stage.connect()
        ready = encode_control("client-ready", {"version": "2.0.0", "about": {"library": "test"}}, "1")
        self.stage.session.on_control(ready, self.stage.now)
        self.stage.session.receive(messages.SpeechStart(utterance_id=1, turn_id=1), self.stage.now)
        self.sent = self.tick = 0

    def go_on(self, ticks: int) -> None:
        stage = self.stage
        for _ in range(ticks):
            while self.sent < self.tick + 50:
                self._send()
            stage.ticks(1)
            self.tick += 1
            if self.tick % 5 == 0:
                self._listen()
        stage.up.clear()

    def _send(self) -> None:
        stage, index = self.stage, self.sent
        self.sent += 1
        if index % CLAUSE == 0:
            words = tuple(
                messages.WordSpan(f"word{n}", (index + 15 * n) * TICK_SAMPLES, (index + 15 * n + 15) * TICK_SAMPLES)
                for n in range(10)
            )
            text = " ".join(word.text for word in words)
            stage.session.receive(messages.ReplyText(utterance_id=1, text=text, words=words), stage.now)
        spans: tuple[messages.PhonemeSpan, ...] = ()
        if index % 5 == 0:
            spans = (messages.PhonemeSpan("ta"[index // 5 % 2], index * TICK_SAMPLES, (index + 5) * TICK_SAMPLES, 2),)
        packet = messages.SpeechPacket(utterance_id=1, index=index, opus=VOICE, phonemes=spans, log_mel=bytes(40))
        stage.session.receive(packet, stage.now)

    def _listen(self) -> None:
        stage = self.stage
        unit, (_, timestamp) = stage.link.units[-1], stage.link.packets[-1]
        self.newest = unit
        feedback = Feedback(
            acknowledged=unit.sequence_number,
            received=0xFFFFFFFF,
            epoch=unit.epoch,
            playout_timestamp=max(0, timestamp - 4_800) & 0xFFFFFFFF,
        )
        stage.session.on_control(encode_feedback(feedback), stage.now)
        stage.link.packets.clear()
        stage.link.control.clear()

    def size(self) -> int:
        return reachable_bytes(self.stage.session, self.stage.animator, self.stage.conductor)


def test_a_session_does_not_grow_while_the_voice_goes_on() -> None:
    speech = Monologue(make_animator(EdgeConfig(capacity=1))[0])
    speech.go_on(SETTLED)
    before = speech.size()
    speech.go_on(1_000)
    assert speech.newest.state is FaceState.SPEAKING and speech.newest.flags & AccessUnitFlags.SPEECH
    assert speech.size() - before < 4_000, "bytes in 20 seconds"


@pytest.mark.parametrize("by_rules", [True, False])
def test_a_mouth_forgets_what_it_has_said(by_rules: bool) -> None:
    mouths = Mouths(1, Behaviours(1))
    mouths.open(0)
    mouths.go_by_rules(0, by_rules)
    slots, sources = np.zeros(1, np.intp), np.ones(1, np.int64)
    sizes: list[int] = []
    for syllable in range(4 * 60):
        start = syllable * 12 * TICK_SAMPLES
        mouths.speech_phonemes(0, 1, (messages.PhonemeSpan("a", start, start + 12 * TICK_SAMPLES, 2),))
        for ticks in range(start, start + 12 * TICK_SAMPLES, 4 * TICK_SAMPLES):
            mouths.follow(slots, np.array([ticks / 48_000]), sources, np.array([ticks]))
        sizes.append(reachable_bytes(mouths))
    assert max(sizes[200:]) <= max(sizes[140:200])
