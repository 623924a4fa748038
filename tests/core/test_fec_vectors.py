"""The vectors of forward error correction as another implementation would read them, as
edge/client/src/stream/fec.test.ts does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import Dropped, RemoteProtocolError
from core.session.state import FaceState
from core.stream.fec import FecEncoder, FecTier, decode_block, decode_field, encode_block
from core.stream.fec_decoder import FecDecoder

_DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "fec.json").read_text())


def _cases(key: str) -> list[Any]:
    found = [test for test in _DOCUMENT["tests"] if key in test]
    assert found
    return [pytest.param(test, id=f"{test['id']} {test['comment']}") for test in found]


@pytest.mark.parametrize("test", _cases("data"))
def test_block_or_field(test: dict[str, Any]) -> None:
    data = bytes.fromhex(test["data"])
    if "sound" not in test:
        with pytest.raises(RemoteProtocolError) as caught:
            decode_field(data)
        assert caught.value.code == test["code"]
        return
    if test["result"] == "invalid":
        with pytest.raises(RemoteProtocolError) as caught:
            decode_block(data, epoch=7, sequence_number=300, sound=test["sound"])
        assert caught.value.code == test["code"]
        return
    restored = decode_block(data, epoch=7, sequence_number=300, sound=test["sound"])
    unit, expected = restored.unit, test["unit"]
    assert (unit.epoch, unit.sequence_number) == (expected["epoch"], expected["sequenceNumber"])
    assert (unit.flags, unit.state) == (expected["flags"], FaceState(expected["state"]))
    assert (unit.frame.hex(), unit.fec.hex()) == (expected["frame"], expected["fec"])
    opus = None if test["opus"] is None else bytes.fromhex(test["opus"])
    assert (restored.opus, restored.span_ticks) == (opus, test["spanTicks"])
    assert encode_block(unit, span_ticks=restored.span_ticks, opus=opus) == data


@pytest.mark.parametrize("test", _cases("sent"))
def test_sender(test: dict[str, Any]) -> None:
    encoder = FecEncoder(sound=test["sound"])
    for sent in test["sent"]:
        field = encoder.protect(
            sent["sequenceNumber"], bytes.fromhex(sent["block"]), tier=FecTier(sent["tier"]), window=sent["window"],
            size_bytes_max=sent["sizeBytesMax"],
        )  # fmt: skip
        assert field.hex() == sent["fec"]


@pytest.mark.parametrize("test", _cases("received"))
def test_receiver(test: dict[str, Any]) -> None:
    decoder = FecDecoder(sound=test["sound"])
    for step in test["received"]:
        result = decoder.receive(step["sequenceNumber"], bytes.fromhex(step["block"]), bytes.fromhex(step["fec"]))
        if isinstance(result, Dropped):
            assert result.reason == step["outcome"]
            continue
        assert step["outcome"] == "new"
        assert [{"sequenceNumber": number, "block": block.hex()} for number, block in result] == step["restored"]
    assert dict(decoder.dropped) == test["dropped"]
