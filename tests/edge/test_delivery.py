"""Units go over the link that counts, feedback is counted, and the origin hears what voice the link wants."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry

from core.avatar.frame import REST_FRAME
from core.session.state import FaceState
from core.speech.messages import VoiceFormat
from core.stream.rate_control import Decision, LadderController
from core.wire.access_unit import AccessUnitFlags
from core.wire.feedback import Feedback
from edge.delivery import Delivery
from edge.metrics import PopMetrics
from tests.edge.stage import VOICE, RecordingLink


class Desk:
    def __init__(self, decision: Decision | None = None) -> None:
        self.registry = CollectorRegistry()
        self.wishes: list[VoiceFormat] = []
        self.link = RecordingLink()
        self.decision = decision
        self.delivery = Delivery(
            epoch=1, metrics=PopMetrics(self.registry), make_controller=self.controller, ask_voice=self.wishes.append
        )

    def controller(self) -> LadderController:
        made = LadderController()
        if self.decision is not None:
            made.decision = self.decision
        return made

    def send(self, step: int) -> None:
        self.delivery.send(
            frame=REST_FRAME,
            opus=[VOICE],
            state=FaceState.SPEAKING,
            flags=AccessUnitFlags(0),
            media_time=960 * step,
            now=0.02 * step,
        )

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def test_without_a_link_nothing_is_packed() -> None:
    desk = Desk()
    desk.send(0)
    desk.delivery.begin(desk.link)
    desk.send(1)
    desk.delivery.end()
    desk.send(2)
    desk.delivery.send_idle(frame=REST_FRAME, state=FaceState.IDLE, media_time=0, now=0.0)
    assert [unit.sequence_number for unit in desk.link.units] == [0]


def test_losses_feedback_and_tiers_are_counted() -> None:
    desk = Desk()
    assert desk.count("edge_fec_tier", tier="F1") == 0
    desk.delivery.begin(desk.link)
    assert desk.count("edge_fec_tier", tier="F1") == 1
    for step in range(100):
        desk.send(step)
        if step % 5 == 4:
            desk.delivery.receive(Feedback(acknowledged=step, received=0xF7BDEF7B), 0.02 * step)
    desk.delivery.receive(Feedback(acknowledged=0, received=0), 2.0)
    assert desk.count("edge_feedback_total") == 21
    assert desk.count("edge_dropped_total", reason="feedback-stale") == 1
    assert 10 < desk.count("edge_packets_lost_total") < 30
    assert desk.count("edge_fec_tier", tier="F1") == 0
    desk.delivery.end()
    assert sum(desk.count("edge_fec_tier", tier=tier) for tier in ("F0", "F1", "F2", "F3")) == 0


def test_the_origin_hears_of_losses_that_only_opus_can_repair() -> None:
    for plays_sound_itself, percent in ((False, 20), (True, 0)):
        desk = Desk()
        desk.link.plays_sound_itself = plays_sound_itself
        desk.delivery.begin(desk.link)
        for step in range(200):
            desk.send(step)
            if step % 5 == 4:
                desk.delivery.receive(Feedback(acknowledged=step, received=0xF7BDEF7B), 0.02 * step)
        assert desk.wishes[-1].loss_percent == percent
        assert len(desk.wishes) <= 3


def test_a_keyframe_that_was_asked_for_goes_also_the_reliable_way() -> None:
    desk = Desk()
    desk.delivery.begin(desk.link)
    desk.send(0)
    desk.delivery.receive(Feedback(keyframe_request=True), 0.0)
    desk.send(1)
    desk.send(2)
    assert desk.link.keyframes == [desk.link.packets[1]]


def test_the_packet_time_is_the_controllers() -> None:
    rung = replace(LadderController().decision, ptime_ms=60)
    assert Desk(rung).delivery.ticks_per_packet == 3
    assert Desk(replace(rung, ptime_ms=5)).delivery.ticks_per_packet == 1
