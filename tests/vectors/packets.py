"""Cases of padding, access units, feedback and control messages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from core.errors import Dropped, RemoteProtocolError
from core.session.state import FaceState
from core.wire import opus_padding
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit, encode_access_unit
from core.wire.control import decode_control, encode_control
from core.wire.feedback import Feedback, decode_feedback, encode_feedback

Case = dict[str, Any]

NOTES = {
    "Code0": "one frame", "Code1": "two frames of equal size", "Code2": "two frames of two sizes",
    "Code3": "any number of frames", "Dtx": "a frame of no bytes", "Merge": "there was padding already",
    "Extension": "the form of draft-ietf-mlcodec-opus-extension, which is read and never written",
    "LengthCoding": "padding of 254 bytes and more", "Malformed": "breaks the syntax", "Foreign": "not ours",
    "Version": "of a version that does not exist yet", "Flags": "flags that nobody has defined yet",
    "Fec": "with repair symbols", "Keyframe": "refers to the rest pose", "Delta": "refers to an acknowledged frame",
    "Wrap": "16 bits are exhausted", "Loss": "frames are missing", "Diverged": "sender and receiver differ",
    "Fields": "optional fields", "Future": "later versions may append", "Rtvi": "a message of RTVI",
    "Size": "at or over a limit", "Block": "what protection brings back of a unit", "Tier": "how much redundancy",
    "Reordered": "not in the order in which they were sent", "Lie": "says what cannot be true",
}  # fmt: skip

_SIDE = bytes.fromhex("11000400010002deadbeef")


def _case(comment: str, flags: list[str], result: str, **fields: Any) -> Case:
    return {"comment": comment, "flags": flags, "result": result, **fields}


def opus_padding_case(packet: bytes, comment: str, flags: list[str], side: bytes = _SIDE) -> Case:
    """Embedding in `packet` and reading it back."""
    data = opus_padding.embed(packet, side)
    return _case(
        comment, flags, "valid", packet=packet.hex(), side=side.hex(), data=data.hex(),
        stripped=opus_padding.strip(data).hex(), durationSamples=opus_padding.duration_samples(packet),
    )  # fmt: skip


def _read(data: bytes, comment: str, flags: list[str]) -> Case:
    """Reading only."""
    try:
        side = opus_padding.extract(data)
    except RemoteProtocolError as error:
        return _case(comment, flags, "invalid", code=error.code, data=data.hex())
    if side is None:
        return _case(comment, flags, "nothing", data=data.hex())
    return _case(comment, flags, "valid", data=data.hex(), side=side.hex())


def opus_padding_suite() -> list[Case]:
    """All cases of padding."""
    voice = bytes(range(1, 31))
    code0, silence = b"\xf8" + voice, opus_padding.silence()
    variable = bytes.fromhex("7b83020301020304050607")
    ours = opus_padding.embed(code0, b"old")
    foreign = bytes((0xFB, 0x41, 5)) + voice + bytes.fromhex("0500000000")
    cases = [
        opus_padding_case(silence, "20 ms of silence", ["Code0"]),
        opus_padding_case(opus_padding.silence(4), "80 ms of silence", ["Code3"]),
        opus_padding_case(code0, "one CELT frame", ["Code0"]),
        opus_padding_case(b"\xf9" + voice, "two equal frames", ["Code1"]),
        opus_padding_case(b"\xfa\x04" + voice, "two frames, the first of 4 bytes", ["Code2"]),
        opus_padding_case(b"\xfa\xfc\x01" + bytes(300), "two frames, the first of 256 bytes", ["Code2"]),
        opus_padding_case(variable, "three frames of variable size", ["Code3"]),
        opus_padding_case(b"\x48", "a lone TOC byte, as DTX sends", ["Code0", "Dtx"]),
        opus_padding_case(b"\x08", "SILK, lone TOC byte", ["Code0", "Dtx"]),
        opus_padding_case(b"\x1b\x02", "two empty frames of 60 ms", ["Code3", "Dtx"]),
        opus_padding_case(ours, "ours is replaced, never wrapped twice", ["Merge"]),
        opus_padding_case(foreign, "foreign padding is replaced", ["Merge", "Foreign"]),
        opus_padding_case(b"\xfb\x41\x00" + voice, "padding of no bytes", ["Merge"]),
        opus_padding_case(code0, "no side data at all", ["Code0"], b""),
        opus_padding_case(code0, "extension-like side data", ["Code0"], b"\xf4vv"),
    ]
    for size in (249, 250, 251, 252, 503, 504, 505, 506, 1000):
        cases.append(opus_padding_case(code0, f"{size} bytes of side data", ["LengthCoding"], b"\x5a" * size))  # noqa: PERF401
    body = bytes((0xFB, 0x41))
    for padding, comment, flags in (
        (b"\xf4vvlong", "extension that runs to the end", ["Extension"]),
        (b"\xf5\x05vvabc", "extension with a length", ["Extension"]),
        (b"\x01\x01\xf5\x05vvabc", "after padding of single bytes", ["Extension"]),
        (b"\x02\x03\x05\x09\x77\xfd\x02ab\xf4vvx", "after other extensions", ["Extension"]),
        (b"\xf5\xff\x02vv" + bytes(255), "extension of 257 bytes", ["Extension", "LengthCoding"]),
        (b"\xf4xyz", "somebody else's use of our extension id", ["Extension", "Foreign"]),
        (b"\xf5\x40vvabc", "extension is cut off", ["Extension", "Foreign"]),
        (b"\xf5\xff", "extension length is cut off", ["Extension", "Foreign"]),
        (b"\xfcdred", "another extension runs to the end", ["Extension", "Foreign"]),
        (b"\x04\xf4vvx", "repetition of extensions is not followed", ["Extension", "Foreign"]),
        (b"\x00\x00\x00\x00", "plain padding", ["Foreign"]),
        (b"\x00\x00v", "half a magic", ["Foreign"]),
        (b"", "padding of no bytes", ["Foreign"]),
    ):
        full, rest = divmod(len(padding), 254) if len(padding) > 254 else (0, len(padding))
        cases.append(_read(body + b"\xff" * full + bytes((rest,)) + voice + padding, comment, flags))
    for text, comment in (
        ("", "no bytes"), ("fb", "code 3 without a frame count"), ("fb00", "no frames"), ("fb07", "140 ms"),
        ("1b03ffff", "180 ms"), ("fb41", "no padding length"), ("fb41ff", "padding length is cut off"),
        ("fb4105000000", "more padding than packet"), ("f9010203", "two equal frames of three bytes"),
        ("fa", "no length of the first frame"), ("fa05010203", "first frame is longer than the packet"),
        ("fafc", "length is cut off"), ("fb830203010203", "lengths exceed the packet"),
        ("fb02ffffff", "three bytes are not two equal frames"),
    ):  # fmt: skip
        cases.append(_read(bytes.fromhex(text), comment, ["Malformed"]))
    cases.append(_read(b"\xf8" + bytes(1276), "a frame of 1276 bytes", ["Malformed", "Size"]))
    cases.append(_read(code0, "plain Opus", ["Foreign"]))
    return cases


def _unit(side: bytes, comment: str, flags: list[str], *, encodes: bool = True) -> Case:
    data = opus_padding.embed(opus_padding.silence(), side)
    try:
        unit = decode_access_unit(data)
    except RemoteProtocolError as error:
        return _case(comment, flags, "invalid", code=error.code, data=data.hex())
    if unit is None:
        return _case(comment, flags, "nothing", data=data.hex())
    if encodes and encode_access_unit(unit, opus_padding.silence()) != data:
        raise AssertionError(f"{comment}: not what the encoder writes")
    fields = {
        "epoch": unit.epoch, "sequenceNumber": unit.sequence_number, "flags": int(unit.flags), "state": int(unit.state),
        "frame": unit.frame.hex(), "fec": unit.fec.hex(),
    }  # fmt: skip
    return _case(comment, flags, "valid", data=data.hex(), unit=fields, encodes=encodes)


def access_unit() -> list[Case]:
    """All cases of access units."""
    cases = []
    for state in FaceState:
        unit = AccessUnit(epoch=7, sequence_number=300, flags=AccessUnitFlags(0), state=state, frame=b"frame")
        side = opus_padding.extract(encode_access_unit(unit, opus_padding.silence()))
        cases.append(_unit(side or b"", f"state {state.name}", ["Fields"]))
    for flag in AccessUnitFlags:
        cases.append(_unit(bytes((0x11, 0, flag, 0, 1, 0, 2, 0xAA)), f"flag {flag.name}", ["Fields"]))  # noqa: PERF401
    for text, comment, flags in (
        ("11003fffffffffaa", "every flag, greatest epoch and sequence number", ["Fields", "Wrap"]),
        ("11000000000000", "no frame", ["Fields"]),
        ("1101070001000200020102030405", "FEC of three bytes", ["Fec"]),
        ("110100000100020000ee", "FEC without a frame", ["Fec"]),
        ("", "side data without a first byte", ["Malformed"]),
        ("11", "kind and version alone", ["Malformed"]),
        ("110000000000", "header is cut off", ["Malformed"]),
        ("1101000001000200", "frame length is cut off", ["Malformed", "Fec"]),
        ("110100000100020002aabb", "FEC flag, but nothing behind the frame", ["Malformed", "Fec"]),
        ("1101000001000200ffaa", "frame length exceeds the packet", ["Malformed", "Fec"]),
        ("10000000010002aa", "version 0", ["Version"]),
        ("12000000010002aa", "version 2", ["Version"]),
        ("1f", "version 15, nothing else", ["Version"]),
        ("11020000010002aa", "critical flag 0x0200", ["Flags"]),
        ("11800000010002aa", "critical flag 0x8000", ["Flags"]),
        ("210200c8", "feedback is no access unit", ["Foreign"]),
        ("31000000000000", "a kind that does not exist yet", ["Foreign", "Future"]),
    ):
        cases.append(_unit(bytes.fromhex(text), comment, flags))
    cases.append(_unit(bytes.fromhex("1100c600010002aa"), "unknown other flags are ignored", ["Flags"], encodes=False))
    plain = opus_padding.silence()
    cases.append(_case("plain Opus", ["Foreign"], "nothing", data=plain.hex()))
    cases.append(_case("no Opus", ["Malformed"], "invalid", code="bad-opus", data=""))
    return cases


def _feedback(data: bytes, comment: str, flags: list[str], *, encodes: bool = True) -> Case:
    try:
        feedback = decode_feedback(data)
    except RemoteProtocolError as error:
        return _case(comment, flags, "invalid", code=error.code, data=data.hex())
    if encodes and encode_feedback(feedback) != data:
        raise AssertionError(f"{comment}: not what the encoder writes")
    fields = {
        "acknowledged": feedback.acknowledged, "playoutTimestamp": feedback.playout_timestamp,
        "keyframeRequest": feedback.keyframe_request, "received": feedback.received, "epoch": feedback.epoch,
        "owdGradient": feedback.owd_gradient, "playoutDelayMs": feedback.playout_delay_ms,
    }  # fmt: skip
    return _case(comment, flags, "valid", data=data.hex(), feedback=fields, encodes=encodes)


def feedback() -> list[Case]:
    """All cases of feedback."""
    full = Feedback(acknowledged=65535, playout_timestamp=0xFFFFFFFF, keyframe_request=True, received=5, epoch=9)
    extended = replace(full, owd_gradient=-1234, playout_delay_ms=133)
    cases = [
        _feedback(encode_feedback(value), comment, ["Fields"])
        for value, comment in (
            (Feedback(), "nothing to say"),
            (Feedback(keyframe_request=True), "keyframe request"),
            (Feedback(acknowledged=0), "acknowledged frame 0"),
            (Feedback(acknowledged=300, received=0x80000001), "received bitmap"),
            (Feedback(playout_timestamp=0x80000000), "playout position with the highest bit"),
            (Feedback(epoch=3), "epoch"),
            (full, "everything but the extension"),
            (Feedback(owd_gradient=-32768), "delay falls as fast as can be said"),
            (Feedback(owd_gradient=32767), "delay grows as fast as can be said"),
            (Feedback(playout_delay_ms=65535), "playout delay"),
            (extended, "everything"),
        )
    ]
    for text, comment, flags in (
        ("", "no bytes", ["Malformed"]),
        ("21", "no flags", ["Malformed"]),
        ("210200", "acknowledged frame is cut off", ["Malformed"]),
        ("210a0001ffffff", "playout position is cut off", ["Malformed"]),
        ("210400000001", "received without acknowledged", ["Malformed", "Flags"]),
        ("2120", "extension without flags", ["Malformed"]),
        ("212001ff", "delay gradient is cut off", ["Malformed"]),
        ("212003000000", "playout delay is cut off", ["Malformed"]),
        ("2140", "critical flag 0x40", ["Flags"]),
        ("2180", "critical flag 0x80", ["Flags"]),
        ("2200", "version 2", ["Version"]),
        ("1100", "an access unit is no feedback", ["Foreign"]),
    ):
        cases.append(_feedback(bytes.fromhex(text), comment, flags))
    cases.append(
        _feedback(bytes.fromhex("2122000184fff6ab"), "unknown field behind the known ones", ["Future"], encodes=False)
    )
    cases.append(_feedback(bytes.fromhex("212000"), "an extension that says nothing", ["Future"], encodes=False))
    return cases


def _control(text: str, comment: str, flags: list[str], repeat: int = 1) -> Case:
    """`text` has "%" where `repeat` times "a" belongs."""
    fields: Case = {"text": text} | ({"repeat": repeat} if repeat > 1 else {})
    try:
        message = decode_control(text.replace("%", "a" * repeat))
    except RemoteProtocolError as error:
        return _case(comment, flags, "invalid", code=error.code, **fields)
    if isinstance(message, Dropped):
        return _case(comment, flags, "dropped", code=message.reason, **fields)
    if repeat > 1:
        return _case(comment, flags, "valid", **fields)
    content = {"type": str(message.type), "data": dict(message.data), "id": message.id}
    return _case(comment, flags, "valid", message=content, **fields)


def control() -> list[Case]:
    """All cases of control messages."""
    shell = len(json.dumps({"label": "rtvi-ai", "type": "send-text", "data": {"content": ""}}))
    room = 16_384 - shell
    caption = {"t": "caption", "d": {"utterance_id": 1, "text": "Grüß 星", "words": [["Grüß", 0, 960]]}}
    cases = [
        _control(encode_control("client-ready", {"version": "1.0.0"}, "42"), "client-ready", ["Rtvi"]),
        _control(encode_control("send-text", {"content": "Why is the sky dark?"}), "send-text", ["Rtvi"]),
        _control(encode_control("client-message", {"t": "interrupt"}), "interrupt", ["Rtvi"]),
        _control(encode_control("server-message", caption), "caption, beyond ASCII", ["Rtvi"]),
        _control(encode_control("bot-stopped-speaking"), "without data", ["Rtvi"]),
        _control('{"label":"rtvi-ai","type":"error","data":null,"id":null}', "data and id are null", ["Rtvi"]),
        _control('{"label":"rtvi-ai","type":"metrics","extra":[1]}', "unknown members are ignored", ["Rtvi", "Future"]),
        _control(
            '{"label":"rtvi-ai","type":"llm-function-call","data":{}}', "a word we do not use", ["Rtvi", "Future"]
        ),
    ]
    text = '{"label": "rtvi-ai", "type": "send-text", "data": {"content": "%"}}'
    cases.append(_control(text, "16,384 bytes", ["Size"], room))
    cases.append(_control(text, "16,385 bytes", ["Size"], room + 1))
    for text, comment in (
        ("", "no text"), ("{", "no JSON"), ("[]", "no object"), ("null", "null"), ("7", "a number"),
        ('{"type":"error"}', "no label"), ('{"label":"rtvi-ai"}', "no type"),
        ('{"label":"rtvi-ai","type":7}', "type is a number"),
        ('{"label":"rtvi-ai","type":"error","data":[1]}', "data is an array"),
        ('{"label":"rtvi-ai","type":"error","data":"x"}', "data is text"),
        ('{"label":"rtvi-ai","type":"error","id":7}', "id is a number"),
        ('{"label":"rtvi-ai","type":"error"} x', "text behind the message"),
        ('{"label":"other","type":"error"}', "another label"),
        ('{"label":"rtvi-ai","type":"error","data":{"x":NaN}}', "NaN is not JSON"),
    ):  # fmt: skip
        cases.append(_control(text, comment, ["Malformed"]))
    cases.append(_control('{"label":"rtvi-ai","type":"error","id":"%"}', "an id of 129 characters", ["Size"], 129))
    cases.append(
        _control(encode_control("bot-output", {"spoken_status": "new"}), "RTVI 2's word for a clause", ["Rtvi"])
    )
    cases.append(_control(encode_control("error-response", {"error": "No."}, "r7"), "a request is refused", ["Rtvi"]))
    return cases
