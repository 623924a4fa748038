"""A viewer that changes networks: same session, same face, the track goes on; and every way that can go wrong."""

from __future__ import annotations

import pytest

from core.avatar.frame import AnimationFrame
from core.errors import AdmissionError
from core.fabric.memory import MemoryBus
from core.host.entropy import SeededEntropy
from core.limits import (
    IDLE_FRAMES_PER_PACKET,
    RESUME_GRACE_S,
    RESUME_REFRESH_S,
    RESUME_TOKEN_LIFETIME_S,
    TICK_S,
    TICK_SAMPLES,
)
from core.session.state import FaceState
from core.speech import messages
from core.wire.control import encode_control
from core.wire.feedback import Feedback, encode_feedback
from core.wire.frame_codec import FrameDecoder
from edge.presence import GOODBYES
from edge.session_links import SessionLink
from edge.sessions import Sessions
from tests.edge.stage import RecordingLink, Stage, claims


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.connect()
    return stage


def another(stage: Stage) -> tuple[SessionLink, RecordingLink]:
    end, link = stage.session.links.open(), RecordingLink()
    end.attach(link)
    return end, link


def lose(stage: Stage) -> None:
    stage.door.on_closed("connection-lost", stage.now)


def ready(stage: Stage) -> None:
    stage.door.on_control(encode_control("client-ready"), stage.now)


def test_a_viewer_that_is_ready_gets_what_brings_it_back_and_again_now_and_then(stage: Stage) -> None:
    assert stage.link.words("resume") == []
    ready(stage)
    assert [message["type"] for message in stage.link.control] == ["bot-ready", "server-message", "server-message"]
    assert stage.link.words("resume") == [{"token": "vvr_1", "lifetime_s": RESUME_TOKEN_LIFETIME_S}]
    stage.ticks(int(2.5 * RESUME_REFRESH_S / TICK_S))
    assert [word["token"] for word in stage.link.words("resume")] == ["vvr_1", "vvr_2", "vvr_3"]


def test_the_track_goes_on_over_the_new_link_with_a_keyframe(stage: Stage) -> None:
    stage.say(1, 100)
    stage.ticks(20)
    stage.door.on_control(encode_feedback(Feedback(acknowledged=18, received=0x3FFFF)), stage.now)
    stage.ticks(5)
    end, link = another(stage)
    stage.ticks(5)
    assert link.packets == []  # it is still being made
    end.on_connected(stage.now)
    assert stage.closing == [(stage.link, "replaced")]
    sent_before = len(stage.link.packets)
    stage.ticks(5)
    assert len(stage.link.packets) == sent_before
    assert link.units[0].sequence_number == stage.link.units[-1].sequence_number + 1
    assert link.packets[0][1] == stage.link.packets[-1][1] + TICK_SAMPLES
    assert link.units[0].epoch == stage.link.units[0].epoch
    assert link.units[0].fec == b""
    decoder = FrameDecoder()
    assert all(isinstance(decoder.decode(unit.frame, unit.sequence_number), AnimationFrame) for unit in link.units)
    assert stage.ended == []
    assert stage.sent_up(messages.Closed) == []


def test_while_away_the_face_lives_on_and_nothing_is_sent(stage: Stage) -> None:
    ready(stage)
    stage.say(1, 100)
    stage.ticks(10)
    lose(stage)
    stage.session.receive(messages.Transcript(text="hello", final=True), stage.now)
    stage.session.receive(messages.ReplyText(utterance_id=2, text="Hi!", words=()), stage.now)
    stage.session.receive(messages.StageTimes(turn_id=1, stages={"detect": 200.0}), stage.now)
    stage.ticks(200)  # the voice ends meanwhile
    assert stage.registry.get_sample_value("edge_sessions_active") == 0
    sent = len(stage.link.control)
    end, link = another(stage)
    end.on_connected(stage.now)
    assert len(stage.link.control) == sent
    assert link.words("user-transcription")[0]["text"] == "hello"
    assert link.words("caption")[0]["text"] == "Hi!"
    assert len(link.words("bot-stopped-speaking")) == 1
    assert link.words("stages") == []
    assert link.words("state") == [{"state": "idle"}]
    assert [word["token"] for word in link.words("resume")] == ["vvr_2"]
    stage.ticks(IDLE_FRAMES_PER_PACKET)
    before = stage.link.packets[-1][1]
    assert link.packets[0][1] >= before + 190 * TICK_SAMPLES
    assert link.units[0].sequence_number == stage.link.units[-1].sequence_number + 1
    assert [opened.transport for opened in stage.sent_up(messages.Opened)] == ["test", "test"]
    assert stage.registry.get_sample_value("edge_session_resumes_total") == 1


def test_a_character_that_still_speaks_is_heard_over_the_new_link(stage: Stage) -> None:
    stage.say(1, 100)
    stage.ticks(10)
    lose(stage)
    stage.ticks(30)
    end, link = another(stage)
    end.on_connected(stage.now)
    stage.ticks(1)
    assert link.state() is FaceState.SPEAKING
    assert link.words("state") == [{"state": "speaking"}]
    stage.session.on_control(encode_control("client-message", {"t": "interrupt"}), stage.now)
    assert stage.sent_up(messages.BargeIn)[0].utterance_id == 1


def test_an_outage_longer_than_the_grace_ends_with_one_reason(stage: Stage) -> None:
    stage.ticks(10)
    lose(stage)
    stage.ticks(int(30 / TICK_S))
    assert stage.ended == ["connection-lost"]
    assert stage.sent_up(messages.Closed) == [messages.Closed(reason="connection-lost", epoch=1)]
    end, link = another(stage)
    assert stage.closing[-1:] == [] or link in [closed for closed, _ in stage.closing]
    end.on_connected(stage.now)
    stage.ticks(2)
    assert link.packets == []
    assert stage.ended == ["connection-lost"]


def test_the_grace_is_counted_from_the_loss(stage: Stage) -> None:
    lose(stage)
    stage.ticks(int(RESUME_GRACE_S / TICK_S) - 2)
    assert stage.ended == []
    end, _ = another(stage)
    end.on_connected(stage.now)
    stage.ticks(int(2 * RESUME_GRACE_S / TICK_S))
    assert stage.ended == []


@pytest.mark.parametrize("reason", sorted(GOODBYES))
def test_after_a_goodbye_nobody_is_waited_for(stage: Stage, reason: str) -> None:
    stage.door.on_closed(reason, stage.now)
    assert stage.ended == [reason]


def test_a_goodbye_over_the_new_link_ends_the_session_and_closes_it(stage: Stage) -> None:
    lose(stage)
    end, link = another(stage)
    end.on_connected(stage.now)
    end.on_control(encode_control("disconnect-bot"), stage.now)
    assert stage.ended == ["viewer-left"]
    assert (link, "viewer-left") in stage.closing


def test_of_two_racing_links_the_last_to_connect_wins(stage: Stage) -> None:
    lose(stage)
    (first, first_link), (second, second_link) = another(stage), another(stage)
    second.on_connected(stage.now)
    stage.ticks(1)
    first.on_connected(stage.now)
    stage.ticks(1)
    second.on_closed("replaced", stage.now)
    stage.ticks(1)
    assert (len(second_link.packets), len(first_link.packets)) == (1, 2)
    assert stage.ended == []


def test_late_feedback_of_the_old_link_is_not_heard(stage: Stage) -> None:
    stage.ticks(10)
    end, link = another(stage)
    end.on_connected(stage.now)
    stage.ticks(3)
    stage.door.on_control(encode_feedback(Feedback(acknowledged=link.units[-1].sequence_number)), stage.now)
    stage.ticks(3)
    decoder = FrameDecoder()
    newest = link.units[-1]
    assert isinstance(decoder.decode(newest.frame, newest.sequence_number), AnimationFrame)


def test_a_link_that_plays_the_sound_itself_gets_it_protected(stage: Stage) -> None:
    end, link = another(stage)
    link.plays_sound_itself = True
    stage.say(1, 30)
    stage.ticks(5)
    end.on_connected(stage.now)
    stage.ticks(10)
    assert not stage.link.units[-1].fec[0] & 0x40
    assert link.units[-1].fec[0] & 0x40
    assert link.units[-1].fec[0] & 0x0F == 5


# --- through the sessions of a POP -------------------------------------------------------------------------------


class House:
    def __init__(self) -> None:
        self.stage = Stage()
        self.sessions = Sessions(
            bus=MemoryBus(),
            conductor=self.stage.conductor,
            services=self.stage.services,
            capacity=4,
            seed=lambda: 3,
            token_bytes=SeededEntropy(1).token_bytes,
        )

    async def viewer(self, session_id: str) -> tuple[SessionLink, RecordingLink]:
        end, link = await self.sessions.open(claims(session_id)), RecordingLink()
        end.attach(link)
        end.on_connected(self.stage.now)
        end.on_control(encode_control("client-ready"), self.stage.now)
        return end, link

    def refused(self, token: str, session_id: str = "a") -> str:
        with pytest.raises(AdmissionError) as refused:
            self.sessions.resume(token, session_id)
        return refused.value.code


def _token(link: RecordingLink) -> str:
    return str(link.words("resume")[-1]["token"])


async def test_a_token_opens_another_link_of_its_own_session_once() -> None:
    house = House()
    end, link = await house.viewer("a")
    await house.viewer("b")
    token = _token(link)
    assert house.refused(token, "b") == "wrong-session"
    assert house.refused("vvr_" + "A" * 43) == "bad-token"
    end.on_closed("connection-lost", house.stage.now)
    again, second = house.sessions.resume(token, "a"), RecordingLink()
    again.attach(second)
    again.on_connected(house.stage.now)
    assert _token(second) != token
    assert house.refused(token) == "token-spent"
    assert len(house.sessions) == 2
    house.stage.now += RESUME_TOKEN_LIFETIME_S
    assert house.refused(_token(second)) == "token-expired"
    await house.sessions.aclose()
    assert second.closed == "pop-stopping"
    assert house.refused(_token(second)) == "draining"


async def test_a_link_that_never_came_up_leaves_its_token_good() -> None:
    house = House()
    _, link = await house.viewer("a")
    house.sessions.resume(_token(link), "a").abandon("bad-sdp", house.stage.now)
    house.sessions.resume(_token(link), "a")
    assert house.refused(_token(link)) == "token-spent"
    await house.sessions.aclose()


async def test_with_its_session_a_token_is_gone() -> None:
    house = House()
    end, link = await house.viewer("a")
    end.on_control(encode_control("disconnect-bot"), house.stage.now)
    assert house.refused(_token(link)) == "bad-token"
    await house.sessions.aclose()
    assert link.closed == "viewer-left"
