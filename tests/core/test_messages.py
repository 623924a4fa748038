"""What origin and POP say to each other: round trips, and nothing but RemoteProtocolError for anything else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RemoteProtocolError
from core.speech import messages

_text = st.text(max_size=40)
_ticks = st.integers(-(1 << 40), 1 << 40)
_spans = st.builds(messages.PhonemeSpan, _text, _ticks, _ticks, st.integers(0, 2))
_words = st.builds(messages.WordSpan, _text, _ticks, _ticks)
_up = st.one_of(
    st.builds(messages.Opened, epoch=_ticks, transport=_text),
    st.builds(messages.MicrophonePacket, opus=st.binary(max_size=200), timestamp=_ticks),
    st.builds(messages.UserSpeech, speaking=st.booleans(), timestamp=_ticks),
    st.builds(messages.UserText, text=_text),
    st.builds(messages.BargeIn, utterance_id=_ticks, heard_until=_ticks, cause=st.sampled_from(["speech", "request"])),
    st.builds(messages.Playout, utterance_id=_ticks, heard_until=_ticks),
    st.builds(messages.VoiceFormat, bitrate_bps=_ticks, loss_percent=_ticks),
    st.builds(messages.HandedOver, generation=_ticks, utterance_id=_ticks, packets=_ticks),
    st.builds(messages.Cut, id=_text),
    st.builds(messages.Closed, reason=_text),
)
_down = st.one_of(
    st.builds(messages.Ready, character=_text, display_name=_text),
    st.builds(messages.TurnState, state=st.sampled_from(["listening", "thinking", "speaking", "idle"])),
    st.builds(messages.SpeechStart, utterance_id=_ticks),
    st.builds(
        messages.SpeechPacket,
        utterance_id=_ticks,
        index=_ticks,
        opus=st.binary(max_size=200),
        phonemes=st.lists(_spans, max_size=4).map(tuple),
        log_mel=st.binary(max_size=40),
    ),
    st.builds(messages.SpeechEnd, utterance_id=_ticks, packets=_ticks),
    st.builds(messages.SpeechCancel, utterance_id=_ticks, generation=_ticks),
    st.builds(messages.Transcript, text=_text, final=st.booleans()),
    st.builds(messages.ReplyText, utterance_id=_ticks, text=_text, words=st.lists(_words, max_size=4).map(tuple)),
    st.builds(messages.Mood, label=_text, valence=st.floats(-1, 1), arousal=st.floats(-1, 1)),
    st.builds(messages.Fault, code=_text, message=_text),
    st.builds(messages.StageTimes, turn_id=_ticks, stages=st.dictionaries(_text, st.floats(0, 1e6), max_size=4)),
)


@given(_up)
def test_up_messages_round_trip(message: messages.UpMessage) -> None:
    assert messages.decode_up(messages.encode(message)) == message


@given(_down)
def test_down_messages_round_trip(message: messages.DownMessage) -> None:
    assert messages.decode_down(messages.encode(message)) == message


@given(st.binary(max_size=120))
def test_any_bytes_give_a_message_or_a_protocol_error(data: bytes) -> None:
    for decode in (messages.decode_up, messages.decode_down):
        try:
            decode(data)
        except RemoteProtocolError as error:
            assert error.code == "bad-message"


@pytest.mark.parametrize(
    "value",
    [
        {"t": "unknown"},
        {"t": "mic", "opus": "not bytes", "timestamp": 1},
        {"t": "turn", "state": "dancing"},
        {"t": "speech", "utterance_id": 1},
        [1, 2, 3],
        None,
    ],
)
def test_what_is_not_a_message_is_refused(value: object) -> None:
    data = msgspec.msgpack.encode(value)
    for decode in (messages.decode_up, messages.decode_down):
        with pytest.raises(RemoteProtocolError):
            decode(data)


def test_nesting_bombs_are_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        messages.decode_up(b"\x91" * 100_000)


def test_a_speech_packet_is_small() -> None:
    packet = messages.SpeechPacket(
        utterance_id=1,
        index=10,
        opus=bytes(80),
        phonemes=(messages.PhonemeSpan("a", 9_600, 14_400, 1),),
        log_mel=bytes(40),
    )
    assert len(messages.encode(packet)) < 200


def test_subjects_belong_to_one_session() -> None:
    assert messages.up_subject("s1") == "session.s1.up"
    assert messages.down_subject("s1") == "session.s1.down"
