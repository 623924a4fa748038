"""Cases of forward error correction: blocks, what a sender writes, and what a receiver makes of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from core.errors import Dropped, RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX
from core.session.state import FaceState
from core.stream.fec import FecEncoder, FecTier, decode_block, decode_field, encode_block
from core.stream.fec_decoder import FecDecoder
from core.wire.access_unit import AccessUnit, AccessUnitFlags

Case = dict[str, Any]
Unit = tuple[int, bytes, bytes]


def _case(comment: str, flags: list[str], result: str, **fields: Any) -> Case:
    return {"comment": comment, "flags": flags, "result": result, **fields}


def block(index: int) -> bytes:
    """Content of a unit: of many lengths, also such as end in zeros."""
    return bytes((index * 37 + place * place) & 0xFF if place % 4 else 0 for place in range(index * 11 % 29))


def _block_case(data: bytes, sound: bool, comment: str, flags: list[str]) -> Case:
    try:
        restored = decode_block(data, epoch=7, sequence_number=300, sound=sound)
    except RemoteProtocolError as error:
        return _case(comment, flags, "invalid", code=error.code, data=data.hex(), sound=sound)
    unit = restored.unit
    if encode_block(unit, span_ticks=restored.span_ticks, opus=restored.opus) != data:
        raise AssertionError(f"{comment}: not what the encoder writes")
    fields = {
        "epoch": unit.epoch, "sequenceNumber": unit.sequence_number, "flags": int(unit.flags), "state": int(unit.state),
        "frame": unit.frame.hex(), "fec": unit.fec.hex(),
    }  # fmt: skip
    opus = None if restored.opus is None else restored.opus.hex()
    return _case(
        comment, flags, "valid", data=data.hex(), sound=sound, unit=fields, spanTicks=restored.span_ticks, opus=opus
    )


def _blocks() -> list[Case]:
    flags = AccessUnitFlags.SPEECH | AccessUnitFlags.CUT
    cases = []
    for frame, opus, span, comment in (
        (b"frame", None, 960, "motion alone"), (b"", None, 3840, "motion alone, idle, no frame"),
        (b"frame", b"\x78voice", 960, "sound and motion"), (b"", b"", 30_600, "sound and motion, both empty, longest"),
        (bytes(130), b"\x78", 120, "sound and motion, a frame of 130 bytes"),
    ):  # fmt: skip
        unit = AccessUnit(epoch=7, sequence_number=300, flags=flags, state=FaceState.SPEAKING, frame=frame)
        data = encode_block(unit, span_ticks=span, opus=opus)
        cases.append(_block_case(data, opus is not None, comment, ["Block"]))
    for text, sound, comment in (
        ("", False, "no bytes"), ("07", False, "flags alone"), ("0700", False, "no span"),
        ("4708", False, "a flag that nobody has defined"), ("0708", True, "no length of the frame"),
        ("070883", True, "length of the frame is cut off"), ("070802aa", True, "frame is cut off"),
    ):  # fmt: skip
        cases.append(_block_case(bytes.fromhex(text), sound, comment, ["Block", "Malformed"]))
    return cases


def _fields() -> list[Case]:
    cases = []
    for text, comment in (
        ("", "no bytes"), ("80", "reserved bit"), ("00", "no window"), ("70ff", "copies of no window"),
        ("12", "length of a copy is cut off"), ("1280", "long length of a copy is cut off"),
        ("1203aabb", "copy is cut off"), ("3601aa", "second copy is missing"), ("1101aabb", "bytes behind the copy"),
    ):  # fmt: skip
        data = bytes.fromhex(text)
        try:
            decode_field(data)
        except RemoteProtocolError as error:
            cases.append(_case(f"field: {comment}", ["Fec", "Malformed"], "invalid", code=error.code, data=text))
        else:
            raise AssertionError(f"{comment}: is a field")
    return cases


def _send(
    tiers: Iterable[FecTier], windows: Iterable[int], *, first: int = 0, sound: bool = False, size_bytes_max: int = 1150
) -> tuple[list[Case], list[Unit]]:
    encoder, sent, units = FecEncoder(sound=sound), [], []
    for index, (tier, window) in enumerate(zip(tiers, windows, strict=True)):
        number, content = first + index & 0xFFFF, block(index)
        fec = encoder.protect(number, content, tier=tier, window=window, size_bytes_max=size_bytes_max)
        units.append((number, content, fec))
        sent.append(
            {"sequenceNumber": number, "block": content.hex(), "tier": int(tier), "window": window,
             "sizeBytesMax": size_bytes_max, "fec": fec.hex()}
        )  # fmt: skip
    return sent, units


def _receive(units: Iterable[Unit], *, sound: bool = False) -> tuple[list[Case], dict[str, int]]:
    decoder, received = FecDecoder(sound=sound), []
    for number, content, fec in units:
        result = decoder.receive(number, content, fec)
        found = () if isinstance(result, Dropped) else result
        restored = [{"sequenceNumber": each, "block": data.hex()} for each, data in found]
        received.append(
            {"sequenceNumber": number, "block": content.hex(), "fec": fec.hex(),
             "outcome": result.reason if isinstance(result, Dropped) else "new", "restored": restored}
        )  # fmt: skip
    return received, dict(sorted(decoder.dropped.items()))


def _tracks() -> list[Case]:
    cases = []
    lost = {7, 8, 15, 17, 24, 25, 26, 27, 33}
    for tier in FecTier:
        sent, units = _send([tier] * 44, [6] * 44)
        received, dropped = _receive(unit for index, unit in enumerate(units) if index not in lost)
        cases.append(
            _case(f"tier {tier.name}, window 6", ["Tier", "Loss"], "valid", sound=False, sent=sent, received=received,
                  dropped=dropped)
        )  # fmt: skip
    for window in (1, 2, 3, 15, 99, -1):
        sent, units = _send([FecTier.F3] * 24, [window] * 24, sound=True)
        received, dropped = _receive((unit for index, unit in enumerate(units) if index not in lost), sound=True)
        cases.append(
            _case(f"tier F3, window {window}", ["Tier", "Loss"], "valid", sound=True, sent=sent, received=received,
                  dropped=dropped)
        )  # fmt: skip
    changing = [FecTier(index * 7 % 4) for index in range(40)]
    sent, units = _send(changing, [1 + index * 5 % 15 for index in range(40)], first=65_520)
    received, dropped = _receive(unit for index, unit in enumerate(units) if index not in lost)
    cases.append(
        _case("tier and window change, numbers wrap", ["Tier", "Wrap", "Loss"], "valid", sound=False, sent=sent,
              received=received, dropped=dropped)
    )  # fmt: skip
    for size in (0, 12, 40, 60):
        sent, units = _send([FecTier.F3] * 16, [5] * 16, size_bytes_max=size)
        received, dropped = _receive(unit for index, unit in enumerate(units) if index not in lost)
        cases.append(
            _case(f"room for {size} bytes", ["Tier", "Size"], "valid", sound=False, sent=sent, received=received,
                  dropped=dropped)
        )  # fmt: skip
    return cases


def _arrivals() -> list[Case]:
    _, units = _send([FecTier.F2] * 80, [6] * 80, first=65_500)
    reordered = [units[index ^ 3] for index in range(40) if index not in (9, 20)]
    far = (units[3][0] + 20_000 & 0xFFFF, b"forged", b"")
    number, content, fec = units[9]
    encoder = FecEncoder(sound=False)
    encoder.protect(2, bytes(256), tier=FecTier.F1, window=1)
    zeros = encoder.protect(3, b"x", tier=FecTier.F1, window=1)
    runs: list[tuple[str, list[str], list[Unit]]] = [
        ("reordered and lost", ["Reordered", "Loss"], reordered),
        ("every unit twice", ["Reordered"], [unit for unit in units[:20] for _ in (0, 1)]),
        ("restored, then the original comes", ["Reordered"], [*units[:6], *units[7:14], units[6], *units[14:16]]),
        ("late beyond the history", ["Reordered"], [*units[:4], *units[10:60], units[4], units[20], *units[60:68]]),
        ("an outage longer than the history", ["Loss"], [*units[:8], *units[60:66], *units[67:80]]),
        ("one forged number, then the track goes on", ["Lie"], [*units[:4], far, *units[4:9], *units[10:24]]),
        ("a copy that says other than the unit", ["Lie"], [*units[:9], (number, content, b"\x16\x03lie" + fec[12:])]),
        ("a symbol shorter than what it combines", ["Lie"], [(1, b"long enough", b""), (3, b"x", b"\x02?")]),
        ("a symbol that solves to no block", ["Lie"], [(1, b"", b""), (3, b"x", b"\x01\xff\xff\xff\xff")]),
        ("a symbol of zeros alone", ["Fec"], [(1, b"", b""), (3, b"x", b"\x01\0\0\0")]),
        ("a block of nothing but zeros, as long as its length hides", ["Fec", "Size"], [(3, b"x", zeros)]),
        ("another original than was restored", ["Lie"], [*units[:6], *units[7:14], (units[6][0], b"other", b"")]),
        ("fields that are none", ["Malformed"], [(1, b"", b"\x80"), (2, b"a", b"\x12\x09"), (3, b"b", b"\x41\x00")]),
        ("a symbol, then another copy", ["Lie"], [(1, b"", b""), (3, b"x", b"\x01\x01"), (4, b"y", b"\x12\x01\x09")]),
    ]  # fmt: skip
    cases = []
    for comment, flags, run in runs:
        received, dropped = _receive(run)
        cases.append(_case(comment, flags, "valid", sound=False, received=received, dropped=dropped))
    return cases


def fec() -> list[Case]:
    """All cases."""
    if ACCESS_UNIT_SIZE_BYTES_MAX != 1150:
        raise AssertionError("the vectors assume another packet size")
    return [*_blocks(), *_fields(), *_tracks(), *_arrivals()]
