"""What POPs and broker say to each other comes through, old and new, and garbage has a name."""

from __future__ import annotations

import msgspec
import pytest

from core.errors import RemoteProtocolError
from core.session import handoff_messages as messages

POP: list[messages.PopRequest] = [
    messages.Expect(session_id="s"),
    messages.Export(session_id="s"),
    messages.Prepare(session_id="s", epoch=2, character="mira", mode="conversation", state=b"\x00", broker="b"),
    messages.Invite(session_id="s", epoch=2, offer=b"{}"),
    messages.Demote(session_id="s", epoch=2),
    messages.Promote(session_id="s", epoch=2, said=(1, 960)),
    messages.Promote(session_id="s", epoch=2),
    messages.Release(session_id="s", epoch=2),
    messages.Drop(session_id="s", epoch=2),
    messages.Drain(deadline_s=120.0),
    messages.CancelDrain(),
]
BROKER: list[messages.BrokerRequest] = [
    messages.Move(session_id="s", epoch=1, pop="a"),
    messages.Previewed(session_id="s", epoch=2),
    messages.Told(session_id="s", epoch=2),
    messages.Failed(session_id="s", epoch=2, reason="viewer-left"),
]
ANSWERS: list[messages.Answer] = [
    messages.Done(),
    messages.Refused(code="no-viewer"),
    messages.Exported(state=b"x", character="mira", mode="mirror"),
    messages.Demoted(said=(0, -1)),
    messages.Moved(pop="b", epoch=2, overlap_s=0.1),
    messages.DrainProgress(state="draining", sessions=3),
]


def test_all_messages_come_through() -> None:
    assert [messages.decode_pop_request(messages.encode_handoff(one)) for one in POP] == POP
    assert [messages.decode_broker_request(messages.encode_handoff(one)) for one in BROKER] == BROKER
    assert [messages.decode_answer(messages.encode_handoff(one)) for one in ANSWERS] == ANSWERS


def test_what_a_newer_process_adds_is_passed_over() -> None:
    newer = msgspec.msgpack.encode({"t": "export", "session_id": "s", "colour": "green"})
    assert messages.decode_pop_request(newer) == messages.Export(session_id="s")


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x80", msgspec.msgpack.encode({"t": "fly"}), b"\x81\xa1t\xa5drain"])
def test_garbage_is_refused(data: bytes) -> None:
    for decode in (messages.decode_pop_request, messages.decode_broker_request, messages.decode_answer):
        with pytest.raises(RemoteProtocolError) as refused:
            decode(data)
        assert refused.value.code == "bad-message"


def test_every_pop_has_its_subject() -> None:
    assert messages.pop_subject("pop-a") == "pop.pop-a.handoffs"
