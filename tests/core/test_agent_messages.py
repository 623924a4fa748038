from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RemoteProtocolError
from core.limits import AGENT_CONTROL_SIZE_BYTES_MAX
from core.speech import agent_messages
from core.speech.agent_messages import (
    AgentEvent,
    AgentMessage,
    AgentMood,
    AgentState,
    AgentTranscript,
    Bye,
    ErrorEvent,
    Hello,
    Interrupt,
    Interrupted,
    Phonemes,
    Ping,
    PlayoutEvent,
    Pong,
    Text,
    TimedPhoneme,
    TimedWord,
    UtteranceBegin,
    UtteranceEnd,
    Welcome,
    Words,
    decode_agent,
    decode_event,
    encode_agent,
)

MESSAGES: list[AgentMessage] = [
    Hello(token="t", encoding="opus", sample_rate=8_000, channels=2, language="de", microphone="pcm_s16le"),
    UtteranceBegin(id="a"),
    UtteranceEnd(),
    Words(words=(TimedWord("a", 0.0, 0.5), TimedWord("b"))),
    Text(text="hello", duration_s=0.5),
    Phonemes(phonemes=(TimedPhoneme("ɔː", 0.0, 0.1, 2),)),
    AgentMood(label="happy", valence=1.0, arousal=-1.0),
    AgentState(state="thinking"),
    AgentTranscript(text="x", final=False),
    Interrupt(),
    Ping(id="1"),
    Bye(),
]
EVENTS: list[AgentEvent] = [
    Welcome(session_id="s", character="Mira", resume_token="r", resume_s=15.0, viewer=True, sound_s_max=60.0),
    Interrupted(cause="speech", id="a", heard_s=1.5, heard_text="so far"),
    PlayoutEvent(id="a", heard_s=2.0, complete=True),
    Pong(id="1"),
    ErrorEvent(code="flood", message="Too much.", fatal=True),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_what_an_agent_says_is_understood(message: AgentMessage) -> None:
    assert decode_agent(encode_agent(message)) == message


@pytest.mark.parametrize("event", EVENTS)
def test_what_an_origin_says_is_understood(event: AgentEvent) -> None:
    assert decode_event(encode_agent(event)) == event


def test_new_members_do_no_harm() -> None:
    assert decode_agent('{"type":"ping","id":"1","later":true}') == Ping(id="1")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"type":"dance"}', "unknown-message"),
        ('{"type":"welcome"}', "unknown-message"),
        ('{"type":1}', "bad-message"),
        ("[]", "bad-message"),
        ("", "bad-message"),
        ('{"type":"hello"}', "bad-message"),
        ('{"type":"hello","token":"t","sample_rate":12345}', "bad-message"),
        ('{"type":"hello","token":"t","channels":3}', "bad-message"),
        ('{"type":"hello","token":"t","language":"../x"}', "bad-message"),
        ('{"type":"words","words":[]}', "bad-message"),
        ('{"type":"words","words":[["a",-1,0]]}', "bad-message"),
        ('{"type":"words","words":[["a",NaN,0]]}', "bad-message"),
        ('{"type":"text","text":""}', "bad-message"),
        ('{"type":"mood","label":"x","valence":2,"arousal":0}', "bad-message"),
        ('"\ud800"', "bad-message"),
        ("x" * (AGENT_CONTROL_SIZE_BYTES_MAX + 1), "message-too-large"),
    ],
)
def test_everything_else_has_a_code(text: str, code: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_agent(text)
    assert caught.value.code == code


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.lists(inner)).map(json.dumps))
def test_any_text_is_a_message_or_an_error(text: str) -> None:
    for decode in (decode_agent, decode_event):
        try:
            decode(text)
        except RemoteProtocolError as error:
            assert error.code in ("bad-message", "unknown-message")


def test_every_message_is_listed() -> None:
    assert {"Hello", "Welcome", "decode_agent"} <= set(agent_messages.__all__)
    assert len(MESSAGES) == len(agent_messages._KINDS)
