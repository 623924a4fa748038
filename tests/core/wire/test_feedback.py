from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import LocalProtocolError, RemoteProtocolError
from core.session.state import FaceState
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit, encode_access_unit
from core.wire.feedback import Feedback, decode_feedback, embed_feedback, encode_feedback, extract_feedback
from core.wire.opus_padding import embed, silence
from tests.core.wire.strategies import mutated, opus_packets

_MAYBE_16 = st.none() | st.integers(0, 0xFFFF)
_MAYBE_32 = st.none() | st.integers(0, 0xFFFFFFFF)
_FEEDBACK = st.builds(
    Feedback,
    acknowledged=_MAYBE_16,
    playout_timestamp=_MAYBE_32,
    keyframe_request=st.booleans(),
    received=_MAYBE_32,
    epoch=_MAYBE_16,
    owd_gradient=st.none() | st.integers(-0x8000, 0x7FFF),
    playout_delay_ms=_MAYBE_16,
).filter(lambda feedback: feedback.received is None or feedback.acknowledged is not None)
_CODES = {"bad-opus", "too-short", "unknown-kind", "unknown-version", "unknown-flags"}


@given(feedback=_FEEDBACK, packet=opus_packets().filter(lambda packet: len(packet) < 1_000))
def test_round_trip(feedback: Feedback, packet: bytes) -> None:
    data = encode_feedback(feedback)
    assert len(data) <= 20
    assert decode_feedback(data) == feedback
    assert extract_feedback(embed_feedback(packet, feedback)) == feedback


@given(data=st.data(), feedback=_FEEDBACK)
def test_damage_gives_a_value_or_an_error(data: st.DataObject, feedback: Feedback) -> None:
    for read, whole in (
        (decode_feedback, encode_feedback(feedback)),
        (extract_feedback, embed_feedback(b"\x48", feedback)),
    ):
        try:
            read(mutated(whole, data.draw))
        except RemoteProtocolError as error:
            assert error.code in _CODES


@given(data=st.binary(max_size=20))
def test_any_bytes_give_a_value_or_an_error(data: bytes) -> None:
    for content in (data, b"\x21" + data):
        try:
            decode_feedback(content)
        except RemoteProtocolError as error:
            assert error.code in _CODES


@pytest.mark.parametrize(
    "feedback",
    [
        Feedback(acknowledged=65_536),
        Feedback(acknowledged=-1),
        Feedback(playout_timestamp=1 << 32),
        Feedback(epoch=65_536),
        Feedback(owd_gradient=32_768),
        Feedback(owd_gradient=-32_769),
        Feedback(playout_delay_ms=65_536),
        Feedback(playout_delay_ms=-1),
        Feedback(acknowledged=1, received=1 << 32),
        Feedback(received=1),
    ],
)
def test_our_own_mistakes_are_local_errors(feedback: Feedback) -> None:
    with pytest.raises(LocalProtocolError):
        encode_feedback(feedback)


def test_feedback_and_access_units_do_not_mistake_each_other() -> None:
    unit = AccessUnit(epoch=1, sequence_number=2, flags=AccessUnitFlags(0), state=FaceState.IDLE, frame=b"x")
    assert extract_feedback(encode_access_unit(unit, silence())) is None
    assert decode_access_unit(embed_feedback(silence(), Feedback(acknowledged=1))) is None
    assert extract_feedback(silence()) is None
    with pytest.raises(RemoteProtocolError) as caught:
        extract_feedback(embed(silence(), b""))
    assert caught.value.code == "too-short"
