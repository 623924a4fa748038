"""Control messages: RTVI's envelope and words, as text on the reliable channel. SPEC.md section 6."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgspec

from core.errors import Dropped, LocalProtocolError, RemoteProtocolError
from core.limits import CONTROL_MESSAGE_SIZE_BYTES_MAX

__all__ = ["LABEL", "ControlMessage", "ControlType", "decode_control", "encode_control"]

LABEL: Final = "rtvi-ai"
"""Marks a message as RTVI."""
_ID_CHARS_MAX: Final = 128


class ControlType(StrEnum):
    """The words both sides know."""

    CLIENT_READY = "client-ready"
    SEND_TEXT = "send-text"
    CLIENT_MESSAGE = "client-message"
    DISCONNECT_BOT = "disconnect-bot"
    BOT_READY = "bot-ready"
    USER_STARTED_SPEAKING = "user-started-speaking"
    USER_STOPPED_SPEAKING = "user-stopped-speaking"
    USER_TRANSCRIPTION = "user-transcription"
    BOT_STARTED_SPEAKING = "bot-started-speaking"
    BOT_STOPPED_SPEAKING = "bot-stopped-speaking"
    BOT_TRANSCRIPTION = "bot-transcription"
    BOT_TTS_TEXT = "bot-tts-text"
    BOT_OUTPUT = "bot-output"
    ERROR = "error"
    ERROR_RESPONSE = "error-response"
    METRICS = "metrics"
    SERVER_MESSAGE = "server-message"


_TYPES: Final[dict[str, ControlType]] = {member.value: member for member in ControlType}


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """One message.

    Attributes:
        type: a known word.
        data: its content; empty when it has none.
        id: correlates a request and its answer; "" when absent.
    """

    type: ControlType
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    id: str = ""


class _Envelope(msgspec.Struct):
    label: str
    type: str
    id: str | None = None
    data: dict[str, Any] | None = None


_decoder: Final = msgspec.json.Decoder(_Envelope)
_encoder: Final = msgspec.json.Encoder()


def encode_control(type: str, data: Mapping[str, Any] | None = None, message_id: str | None = None) -> str:  # noqa: A002
    """One message as JSON text.

    Args:
        type: a `ControlType` or its text.
        data: what JSON can say.
        message_id: correlation id; left out when None or empty.
    Raises: LocalProtocolError: an unknown type, data that JSON cannot say, or more than
        limits.CONTROL_MESSAGE_SIZE_BYTES_MAX bytes.
    """
    if type not in _TYPES:
        raise LocalProtocolError(f"control messages have no type {type!r}")
    message: dict[str, Any] = {"label": LABEL, "type": type}
    if message_id:
        message["id"] = message_id
    message["data"] = dict(data) if data else {}
    try:
        encoded = _encoder.encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LocalProtocolError(f"{type}: {error}") from error
    if len(encoded) > CONTROL_MESSAGE_SIZE_BYTES_MAX:
        raise LocalProtocolError(f"{type} of {len(encoded)} bytes, at most {CONTROL_MESSAGE_SIZE_BYTES_MAX} can travel")
    return encoded.decode()


def decode_control(data: str | bytes) -> ControlMessage | Dropped:
    """One message; `Dropped("unknown-control-type")` for words of other RTVI versions, which a caller counts.

    Raises: RemoteProtocolError: codes `control-too-large`, `bad-control`, `unknown-label`.
    """
    try:
        raw = data.encode() if isinstance(data, str) else data
        if len(raw) > CONTROL_MESSAGE_SIZE_BYTES_MAX:
            raise RemoteProtocolError("control-too-large", f"control message of {len(raw)} bytes")
        envelope = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError("bad-control", str(error)) from error
    if envelope.label != LABEL:
        raise RemoteProtocolError("unknown-label", f"label {envelope.label[:40]!r}")
    if envelope.id is not None and len(envelope.id) > _ID_CHARS_MAX:
        raise RemoteProtocolError("bad-control", "id is too long")
    known = _TYPES.get(envelope.type)
    if known is None:
        return Dropped("unknown-control-type")
    return ControlMessage(known, envelope.data or {}, envelope.id or "")
