"""The vectors as another implementation would read them; edge/client/src/wire/vectors.test.ts does the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import numpy as np
import pytest

from core.errors import Dropped, RemoteProtocolError
from core.session.state import FaceState
from core.wire.access_unit import decode_access_unit, encode_access_unit
from core.wire.control import decode_control
from core.wire.feedback import decode_feedback, encode_feedback
from core.wire.frame_codec import BaselineMissing, FrameDecoder
from core.wire.opus_padding import duration_samples, embed, extract, silence, strip
from tests.vectors.__main__ import SUITES, stale

_FOLDER = Path(__file__).parents[2] / "vectors"


def _suite(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text())
    return document


def _cases(name: str) -> list[Any]:
    return [pytest.param(test, id=f"{test['id']} {test['comment']}") for test in _suite(name)["tests"]]


def _code(error: pytest.ExceptionInfo[RemoteProtocolError]) -> str:
    return error.value.code


@pytest.mark.parametrize("name", SUITES)
def test_files_follow_the_schema(name: str) -> None:
    jsonschema.validate(_suite(name), json.loads((_FOLDER / "schema.json").read_text()))


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_cases_that_must_fail(name: str) -> None:
    results = {step["result"] for test in _suite(name)["tests"] for step in test.get("steps", [test])}
    assert "invalid" in results
    assert results & {"valid", "frame"}


def test_files_are_what_the_generator_writes() -> None:
    assert stale() == []


@pytest.mark.parametrize("test", _cases("opus_padding"))
def test_opus_padding(test: dict[str, Any]) -> None:
    data = bytes.fromhex(test["data"])
    if test["result"] == "invalid":
        for read in (extract, strip, duration_samples):
            with pytest.raises(RemoteProtocolError) as caught:
                read(data)
            assert _code(caught) == test["code"]
        return
    side = extract(data)
    if test["result"] == "nothing":
        assert side is None
        return
    assert side == bytes.fromhex(test["side"])
    if "packet" in test:
        packet = bytes.fromhex(test["packet"])
        assert embed(packet, side) == embed(data, side) == data
        assert strip(data) == bytes.fromhex(test["stripped"])
        assert duration_samples(packet) == duration_samples(data) == test["durationSamples"]


@pytest.mark.parametrize("test", _cases("access_unit"))
def test_access_unit(test: dict[str, Any]) -> None:
    data = bytes.fromhex(test["data"])
    if test["result"] == "invalid":
        with pytest.raises(RemoteProtocolError) as caught:
            decode_access_unit(data)
        assert _code(caught) == test["code"]
        return
    unit = decode_access_unit(data)
    if test["result"] == "nothing":
        assert unit is None
        return
    assert unit is not None
    expected = test["unit"]
    assert (unit.epoch, unit.sequence_number) == (expected["epoch"], expected["sequenceNumber"])
    assert (unit.flags, unit.state) == (expected["flags"], FaceState(expected["state"]))
    assert (unit.frame.hex(), unit.fec.hex()) == (expected["frame"], expected["fec"])
    if test["encodes"]:
        assert encode_access_unit(unit, silence()) == data


@pytest.mark.parametrize("test", _cases("frame_codec"))
def test_frame_codec(test: dict[str, Any]) -> None:
    decoder = FrameDecoder()
    for step in test["steps"]:
        data, number = bytes.fromhex(step["data"]), step["sequenceNumber"]
        if step["result"] == "invalid":
            with pytest.raises(RemoteProtocolError) as caught:
                decoder.decode(data, number)
            assert _code(caught) == step["code"]
            continue
        decoded = decoder.decode(data, number)
        if isinstance(decoded, BaselineMissing):
            assert decoded == BaselineMissing(step["baseline"], diverged=step["result"] == "diverged")
            continue
        assert step["result"] == "frame"
        np.testing.assert_array_equal(decoded.weights, np.frombuffer(bytes.fromhex(step["weights"]), "<f4"))
        np.testing.assert_array_equal(decoded.joints.ravel(), np.frombuffer(bytes.fromhex(step["joints"]), "<f4"))
        assert decoded.sync_score == step["score"] / 255


@pytest.mark.parametrize("test", _cases("feedback"))
def test_feedback(test: dict[str, Any]) -> None:
    data = bytes.fromhex(test["data"])
    if test["result"] == "invalid":
        with pytest.raises(RemoteProtocolError) as caught:
            decode_feedback(data)
        assert _code(caught) == test["code"]
        return
    feedback = decode_feedback(data)
    assert test["feedback"] == {
        "acknowledged": feedback.acknowledged,
        "playoutTimestamp": feedback.playout_timestamp,
        "keyframeRequest": feedback.keyframe_request,
        "received": feedback.received,
        "epoch": feedback.epoch,
        "owdGradient": feedback.owd_gradient,
        "playoutDelayMs": feedback.playout_delay_ms,
    }
    if test["encodes"]:
        assert encode_feedback(feedback) == data


@pytest.mark.parametrize("test", _cases("control"))
def test_control(test: dict[str, Any]) -> None:
    text = test["text"].replace("%", "a" * test.get("repeat", 1))
    if test["result"] == "invalid":
        with pytest.raises(RemoteProtocolError) as caught:
            decode_control(text)
        assert _code(caught) == test["code"]
        return
    message = decode_control(text)
    if isinstance(message, Dropped):
        assert (test["result"], test["code"]) == ("dropped", message.reason)
        return
    assert test["result"] == "valid"
    if "message" in test:
        assert test["message"] == {"type": message.type, "data": message.data, "id": message.id}
