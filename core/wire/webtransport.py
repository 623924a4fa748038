"""What a viewer and a POP say to each other inside a WebTransport session: datagrams, control messages, close capsules.

Source: core/wire/SPEC.md section 10; capsules after RFC 9297 section 3.2 and draft-ietf-webtrans-http3 section 6.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final, cast

from core.errors import Dropped, LocalProtocolError, RemoteProtocolError
from core.limits import (
    ACCESS_UNIT_SIZE_BYTES_MAX,
    CAPSULE_SIZE_BYTES_MAX,
    CONTROL_MESSAGE_SIZE_BYTES_MAX,
    MICROPHONE_PACKET_SIZE_BYTES_MAX,
    PROOF_SIZE_BYTES_MAX,
    TOKEN_SIZE_BYTES_MAX,
)

__all__ = [
    "CONTROL_FEEDBACK",
    "CONTROL_HELLO",
    "CONTROL_TEXT",
    "FEEDBACK_DATAGRAM",
    "MICROPHONE_DATAGRAM",
    "UNIT_DATAGRAM",
    "VERSION",
    "CapsuleReader",
    "Close",
    "ControlReader",
    "Hello",
    "MicrophoneDatagram",
    "decode_hello",
    "decode_microphone",
    "decode_unit",
    "encode_close",
    "encode_control",
    "encode_hello",
    "encode_microphone",
    "encode_unit",
    "encode_welcome",
    "session_of_path",
    "session_path",
]

VERSION: Final = 1
"""Of the conversation in a session, as the hellos say."""
UNIT_DATAGRAM: Final = 0x41
"""First byte of a datagram (and of a keyframe stream) that carries an access unit."""
MICROPHONE_DATAGRAM: Final = 0x31
"""First byte of a datagram that carries a microphone packet."""
FEEDBACK_DATAGRAM: Final = 0x21
"""First byte of bare feedback (SPEC.md section 5)."""
CONTROL_HELLO: Final = 0
CONTROL_TEXT: Final = 1
"""Kind of an RTVI message."""
CONTROL_FEEDBACK: Final = 2
_CLOSE_CAPSULE: Final = 0x2843
_REASON_SIZE_BYTES_MAX: Final = 1_024
_PATH: Final = re.compile(r"/v1/sessions/([A-Za-z0-9_-]{1,64})/webtransport\Z")


# --- datagrams -----------------------------------------------------------------------------------------------------


def encode_unit(payload: bytes, timestamp: int) -> bytes:
    """A datagram that carries an access unit.

    Args:
        payload: an Opus packet of 1 to ACCESS_UNIT_SIZE_BYTES_MAX bytes.
        timestamp: 48 kHz media time of its first sample; sent modulo 2^32.
    """
    return b"\x41" + (timestamp & 0xFFFFFFFF).to_bytes(4, "big") + payload


def decode_unit(datagram: bytes) -> tuple[bytes, int] | Dropped:
    """The access unit and its 32-bit timestamp, or `Dropped`: `datagram-kind`, `datagram-short`, `oversize`."""
    if not datagram or datagram[0] != UNIT_DATAGRAM:
        return Dropped("datagram-kind")
    if len(datagram) < 6:
        return Dropped("datagram-short")
    if len(datagram) > 5 + ACCESS_UNIT_SIZE_BYTES_MAX:
        return Dropped("oversize")
    return datagram[5:], int.from_bytes(datagram[1:5], "big")


@dataclass(frozen=True, slots=True)
class MicrophoneDatagram:
    """One microphone packet on its way.

    Attributes:
        payload: the Opus packet, feedback in its padding.
        timestamp: 48 kHz media time of its first sample, modulo 2^32.
        sequence_number: modulo 2^16.
        level_dbov: RFC 6464 audio level, 0 (loudest) to 127 (silence).
        voice: RFC 6464 voice bit.
    """

    payload: bytes
    timestamp: int
    sequence_number: int
    level_dbov: int = 127
    voice: bool = False


def encode_microphone(unit: MicrophoneDatagram) -> bytes:
    """A datagram that carries a microphone packet."""
    level = (0x80 if unit.voice else 0) | unit.level_dbov & 0x7F
    return (
        bytes((MICROPHONE_DATAGRAM, level))
        + (unit.sequence_number & 0xFFFF).to_bytes(2, "big")
        + (unit.timestamp & 0xFFFFFFFF).to_bytes(4, "big")
        + unit.payload
    )


def decode_microphone(datagram: bytes) -> MicrophoneDatagram | Dropped:
    """The microphone packet, or `Dropped`: `datagram-kind`, `datagram-short`, `oversize`."""
    if not datagram or datagram[0] != MICROPHONE_DATAGRAM:
        return Dropped("datagram-kind")
    if len(datagram) < 9:
        return Dropped("datagram-short")
    if len(datagram) > 8 + MICROPHONE_PACKET_SIZE_BYTES_MAX:
        return Dropped("oversize")
    level = datagram[1]
    return MicrophoneDatagram(
        payload=datagram[8:],
        timestamp=int.from_bytes(datagram[4:8], "big"),
        sequence_number=datagram[2] << 8 | datagram[3],
        level_dbov=level & 0x7F,
        voice=level >= 0x80,
    )


# --- the control stream --------------------------------------------------------------------------------------------


def encode_control(kind: int, content: bytes) -> bytes:
    """One control message.

    Args:
        kind: CONTROL_HELLO, CONTROL_TEXT or CONTROL_FEEDBACK.

    Raises: LocalProtocolError: the content is longer than CONTROL_MESSAGE_SIZE_BYTES_MAX.
    """
    if len(content) > CONTROL_MESSAGE_SIZE_BYTES_MAX:
        raise LocalProtocolError(f"a control message has at most {CONTROL_MESSAGE_SIZE_BYTES_MAX} bytes")
    return bytes((kind,)) + len(content).to_bytes(3, "big") + content


class ControlReader:
    """Finds the messages in the bytes of a control stream, however they were cut. Keeps at most one message."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[tuple[int, bytes]]:
        """Kind and content of the messages that are complete now.

        Raises: RemoteProtocolError: `control-too-large`; nothing more can be read then.
        """
        self._buffer += data
        messages: list[tuple[int, bytes]] = []
        start = 0
        while len(self._buffer) - start >= 4:
            size_bytes = int.from_bytes(self._buffer[start + 1 : start + 4], "big")
            if size_bytes > CONTROL_MESSAGE_SIZE_BYTES_MAX:
                raise RemoteProtocolError("control-too-large", "A control message is too large.")
            end = start + 4 + size_bytes
            if end > len(self._buffer):
                break
            messages.append((self._buffer[start], bytes(self._buffer[start + 4 : end])))
            start = end
        del self._buffer[:start]
        return messages


@dataclass(frozen=True, slots=True)
class Hello:
    """A viewer's first message.

    Attributes:
        token: a ticket's token or a resume token.
        proof: of possession of the key that the token is bound to (`core.session.proof`); empty: none.
    """

    token: str
    proof: str = ""


def encode_hello(token: str, proof: str = "") -> bytes:
    """The viewer's first control message."""
    hello = {"version": VERSION, "token": token, **({"proof": proof} if proof else {})}
    return encode_control(CONTROL_HELLO, json.dumps(hello).encode())


def encode_welcome() -> bytes:
    """The POP's answer to an admitted hello."""
    return encode_control(CONTROL_HELLO, json.dumps({"version": VERSION}).encode())


def decode_hello(content: bytes) -> Hello:
    """What a viewer's hello says.

    Raises: RemoteProtocolError: `bad-hello`, `unknown-version`.
    """
    try:
        hello: object = json.loads(content)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("bad-hello", "The hello is not JSON.") from None
    fields = cast("dict[str, object]", hello) if isinstance(hello, dict) else {}
    version = fields.get("version")
    if not isinstance(version, int):
        raise RemoteProtocolError("bad-hello", "The hello has no version.")
    if version != VERSION:
        raise RemoteProtocolError("unknown-version", f"This POP speaks version {VERSION}.")
    token = fields.get("token")
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_SIZE_BYTES_MAX:
        raise RemoteProtocolError("bad-hello", "The hello has no token.")
    proof = fields.get("proof", "")
    if not isinstance(proof, str) or len(proof) > PROOF_SIZE_BYTES_MAX:
        raise RemoteProtocolError("bad-hello", "The hello's proof is none.")
    return Hello(token, proof)


# --- capsules ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Close:
    """How the other side closed the session.

    Attributes:
        code: 0: orderly.
        reason: an error code of ours; empty when it said nothing.
    """

    code: int
    reason: str


def encode_close(code: int, reason: str) -> bytes:
    """A CLOSE_WEBTRANSPORT_SESSION capsule."""
    content = code.to_bytes(4, "big") + reason.encode()[:_REASON_SIZE_BYTES_MAX]
    return b"\x68\x43" + _encode_integer(len(content)) + content


class CapsuleReader:
    """Finds the close capsule in the bytes of a session's CONNECT stream; other capsules are passed over (GREASE)."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip_bytes = 0

    def receive(self, data: bytes) -> Close | None:
        """How the session was closed, if these bytes say so.

        Raises: RemoteProtocolError: `bad-capsule`: the close capsule is not one.
        """
        self._buffer += data
        while True:
            if self._skip_bytes:
                skipped = min(self._skip_bytes, len(self._buffer))
                del self._buffer[:skipped]
                self._skip_bytes -= skipped
            kind = _decode_integer(self._buffer, 0)
            size = _decode_integer(self._buffer, kind[1]) if kind else None
            if self._skip_bytes or kind is None or size is None:
                return None
            if kind[0] != _CLOSE_CAPSULE:
                del self._buffer[: size[1]]
                self._skip_bytes = size[0]
                continue
            if not 4 <= size[0] <= CAPSULE_SIZE_BYTES_MAX:
                raise RemoteProtocolError("bad-capsule", "A close capsule has 4 to 1,028 bytes.")
            content = bytes(self._buffer[size[1] : size[1] + size[0]])
            if len(content) < size[0]:
                return None
            return Close(int.from_bytes(content[:4], "big"), content[4:].decode("utf-8", "replace"))


def _encode_integer(value: int) -> bytes:
    """RFC 9000 section 16, up to 14 bits."""
    return bytes((value,)) if value < 64 else (value | 0x4000).to_bytes(2, "big")


def _decode_integer(data: bytearray, start: int) -> tuple[int, int] | None:
    """A variable-length integer and where it ends; None when it is cut off."""
    if start >= len(data):
        return None
    end = start + (1 << (data[start] >> 6))
    if end > len(data):
        return None
    return int.from_bytes(data[start:end], "big") & (1 << 8 * (end - start) - 2) - 1, end


# --- addresses -----------------------------------------------------------------------------------------------------


def session_path(session_id: str) -> str:
    """Path of a session's WebTransport below the ticket's URL."""
    return f"/v1/sessions/{session_id}/webtransport"


def session_of_path(path: str) -> str | None:
    """The session a path means; None when it is another path. A query is ignored."""
    found = _PATH.match(path.partition("?")[0])
    return found[1] if found else None
