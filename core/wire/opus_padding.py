"""Side data in the padding of an Opus packet: the packet stays valid and sounds the same.

SPEC.md section 2; RFC 6716 section 3 (packet organisation), section 3.2.5 (code 3 and its padding).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from core.errors import LocalProtocolError, RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX

__all__ = ["DURATION_SAMPLES_MAX", "MAGIC", "duration_samples", "embed", "extract", "silence", "split", "strip"]

MAGIC: Final = b"vv"
"""Marks padding as ours."""
_PREFIX: Final = b"\0\0" + MAGIC
"""The zeros first: FFmpeg's native decoder reads extensions when padding starts otherwise, and changes its output; to
whoever follows draft-ietf-mlcodec-opus-extension the first zero says that plain padding runs to the end."""
_EXTENSION_ID: Final = 122
"""Experimental and unused extension id of that draft; read, never written."""

_FRAME_SIZE_BYTES_MAX: Final = 1275
DURATION_SAMPLES_MAX: Final = 5760
"""120 ms, the longest packet."""
_SILENT_TOC: Final = 0xF8
_SILENT_FRAME: Final = b"\xff\xfe"
_SILK_SAMPLES: Final = (480, 960, 1920, 2880)


class _Layout(NamedTuple):
    """Where things are in a packet: TOC with code 3, the flag byte without its padding bit, its frames' lengths and
    bytes as they stand in a code 3 packet, and the padding's content."""

    toc: int
    frames: int
    body: bytes
    padding: bytes


def embed(packet: bytes, side: bytes, *, size_bytes_max: int = ACCESS_UNIT_SIZE_BYTES_MAX) -> bytes:
    """The same voice with `side` in its padding. Padding that is there already, ours or not, is replaced.

    Args:
        packet: one Opus packet of any code; a lone TOC byte (DTX) is a packet.
        side: what to carry.
        size_bytes_max: bound of the result.
    Returns: a code 3 packet that decodes to the same samples.
    Raises:
        RemoteProtocolError: `packet` is not Opus (code `bad-opus`).
        LocalProtocolError: the result would be larger than `size_bytes_max`.
    """
    toc, count, body, _ = _parse(packet)
    full, rest = divmod(len(_PREFIX) + len(side), 254)
    if rest == 0:
        full, rest = full - 1, 254
    length = b"\xff" * full + bytes((rest,))
    size = 2 + len(length) + len(body) + len(_PREFIX) + len(side)
    if size > size_bytes_max:
        raise LocalProtocolError(f"packet of {size} bytes, at most {size_bytes_max} can travel")
    return b"".join((bytes((toc, count | 0x40)), length, body, _PREFIX, side))


def extract(packet: bytes) -> bytes | None:
    """The side data of a packet, None when it carries none of ours.

    Raises: RemoteProtocolError: `packet` is not Opus (code `bad-opus`).
    """
    padding = _parse(packet).padding
    if padding.startswith(_PREFIX):
        return padding[len(_PREFIX) :]
    return _find_extension(padding)


def strip(packet: bytes) -> bytes:
    """The packet without padding, in its shortest form: `strip(embed(packet, side)) == packet` for codes 0 to 2.

    Raises: RemoteProtocolError: `packet` is not Opus (code `bad-opus`).
    """
    toc, count, body, _ = _parse(packet)
    if count == 1 or count == 0x81:
        return bytes((toc & 0xFC,)) + body
    if count == 2:
        return bytes((toc & 0xFC | 1,)) + body
    if count == 0x82:
        return bytes((toc & 0xFC | 2,)) + body
    return bytes((toc, count)) + body


def split(packet: bytes) -> list[bytes]:
    """The frames of a packet, without TOC, lengths and padding.

    Raises: RemoteProtocolError: `packet` is not Opus (code `bad-opus`).
    """
    _, count, body, _ = _parse(packet)
    frames = count & 0x3F
    if not count & 0x80:
        size = len(body) // frames
        return [body[start * size : (start + 1) * size] for start in range(frames)]
    sizes: list[int] = []
    position = 0
    for _ in range(frames - 1):
        size = body[position]
        position += 1
        if size >= 252:
            size += 4 * body[position]
            position += 1
        sizes.append(size)
    found: list[bytes] = []
    for size in sizes:
        found.append(body[position : position + size])
        position += size
    return [*found, body[position:]]


def silence(frames: int = 1) -> bytes:
    """Digital silence: `frames` (1 to 6) CELT frames of 20 ms in one mono packet, two bytes each, as DTX sends.

    Raises: LocalProtocolError: another number of frames.
    """
    if not 1 <= frames <= 6:
        raise LocalProtocolError(f"an Opus packet holds 1 to 6 frames of 20 ms, not {frames}")
    if frames == 1:
        return bytes((_SILENT_TOC,)) + _SILENT_FRAME
    return bytes((_SILENT_TOC | 3, frames)) + _SILENT_FRAME * frames


def duration_samples(packet: bytes) -> int:
    """Length of a packet in 48 kHz samples, 120 to 5760.

    Raises: RemoteProtocolError: `packet` is not Opus (code `bad-opus`).
    """
    toc, count, _, _ = _parse(packet)
    return _frame_samples(toc) * (count & 0x3F)


def _frame_samples(toc: int) -> int:
    config = toc >> 3
    if config < 12:
        return _SILK_SAMPLES[config & 3]
    if config < 16:
        return 480 << (config & 1)
    return 120 << (config & 3)


def _bad(message: str) -> RemoteProtocolError:
    return RemoteProtocolError("bad-opus", message)


def _parse(packet: bytes) -> _Layout:
    """Check all that RFC 6716 section 3.4 demands ([R1] to [R7])."""
    if not packet:
        raise _bad("empty packet")
    toc, code, body = packet[0] | 3, packet[0] & 3, packet[1:]
    if code == 0:
        if len(body) > _FRAME_SIZE_BYTES_MAX:
            raise _bad("frame too long")
        return _Layout(toc, 1, body, b"")
    if code == 1:
        _check_constant(body, 2)
        return _Layout(toc, 2, body, b"")
    if code == 2:
        _check_variable(body, 2)
        return _Layout(toc, 0x82, body, b"")
    return _parse_code_3(toc, body)


def _parse_code_3(toc: int, rest: bytes) -> _Layout:
    if not rest:
        raise _bad("code 3 without a frame count")
    count, frames, start = rest[0] & 0xBF, rest[0] & 0x3F, 1
    if frames == 0 or frames * _frame_samples(toc) > DURATION_SAMPLES_MAX:
        raise _bad(f"{frames} frames")
    padding_size = 0
    if rest[0] & 0x40:
        while True:
            if start >= len(rest):
                raise _bad("padding length is cut off")
            byte = rest[start]
            start += 1
            if byte != 255:
                padding_size += byte
                break
            padding_size += 254
    end = len(rest) - padding_size
    if end < start:
        raise _bad("more padding than packet")
    body = rest[start:end]
    if count & 0x80:
        _check_variable(body, frames)
    else:
        _check_constant(body, frames)
    return _Layout(toc, count, body, rest[end:])


def _check_constant(body: bytes, frames: int) -> None:
    size, remainder = divmod(len(body), frames)
    if remainder or size > _FRAME_SIZE_BYTES_MAX:
        raise _bad(f"{len(body)} bytes are not {frames} equal frames")


def _check_variable(body: bytes, frames: int) -> None:
    position = total = 0
    for _ in range(frames - 1):
        if position >= len(body) or (body[position] >= 252 and position + 1 >= len(body)):
            raise _bad("frame length is cut off")
        size = body[position]
        position += 1
        if size >= 252:
            size += 4 * body[position]
            position += 1
        total += size
    if not 0 <= len(body) - position - total <= _FRAME_SIZE_BYTES_MAX:
        raise _bad("frame lengths do not fit the packet")


def _find_extension(padding: bytes) -> bytes | None:
    """Our data as an extension of draft-ietf-mlcodec-opus-extension-05: byte `id << 1 | L`, length after it."""
    position = 0
    while position < len(padding):
        extension, has_length = padding[position] >> 1, padding[position] & 1
        position += 1
        if extension == 0 and has_length:
            continue
        if extension in (0, 2):
            return None
        if extension < 32:
            position += has_length
            continue
        size = len(padding) - position
        if has_length:
            size = 0
            while True:
                if position >= len(padding):
                    return None
                byte = padding[position]
                position += 1
                size += byte
                if byte != 255:
                    break
        content = padding[position : position + size]
        if extension == _EXTENSION_ID and content.startswith(MAGIC):
            return content[len(MAGIC) :] if len(content) == size else None
        position += size
    return None
