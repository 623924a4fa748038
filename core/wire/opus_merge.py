"""Several Opus packets as one: fewer headers for the same sound. RFC 6716 section 3.2, as libopus' repacketizer does.

The frames stay as they are, so a decoder gives bit-identical samples. Only frames of one configuration (TOC byte less
its code) can share a packet.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import LocalProtocolError
from core.wire.opus_padding import DURATION_SAMPLES_MAX, duration_samples, split

__all__ = ["can_merge", "merge"]

_CONFIGURATION = 0xFC


def can_merge(first: bytes, second: bytes) -> bool:
    """Whether the frames of both packets may share one: same mode, bandwidth, frame size and channels."""
    return bool(first) and bool(second) and not (first[0] ^ second[0]) & _CONFIGURATION


def merge(packets: Sequence[bytes]) -> bytes:
    """One packet with the frames of all of them, without their padding, in its shortest form.

    Args:
        packets: one or more, in order, each of any code, 120 ms in all.
    Raises:
        RemoteProtocolError: one of them is not Opus (code `bad-opus`).
        LocalProtocolError: there are none, they differ in configuration, or last too long together.
    """
    if not packets or not all(can_merge(packets[0], packet) for packet in packets):
        raise LocalProtocolError("only packets of one configuration can be merged")
    if sum(map(duration_samples, packets)) > DURATION_SAMPLES_MAX:
        raise LocalProtocolError(f"{len(packets)} packets last longer than 120 ms")
    frames = [frame for packet in packets for frame in split(packet)]
    toc, equal = packets[0][0] & _CONFIGURATION, len({len(frame) for frame in frames}) == 1
    if len(frames) == 1:
        return bytes((toc,)) + frames[0]
    lengths = b"" if equal else b"".join(_length(len(frame)) for frame in frames[:-1])
    if len(frames) == 2:
        head = bytes((toc | (1 if equal else 2),))
    else:
        head = bytes((toc | 3, len(frames) | (0 if equal else 0x80)))
    return b"".join((head, lengths, *frames))


def _length(size: int) -> bytes:
    """RFC 6716 section 3.2.1: one byte below 252, otherwise two."""
    if size < 252:
        return bytes((size,))
    first = 252 + (size & 3)
    return bytes((first, (size - first) >> 2))
