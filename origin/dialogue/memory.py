"""What another process needs to go on with a conversation: an opaque record of at most 16 kB.

It holds what a language model sees, the answer under way and what of it was sent. Whoever goes on learns from the POP
what the viewer will have heard (`core.speech.messages.HandedOver`), and speaks the rest.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from core.errors import RemoteProtocolError
from core.limits import HANDOFF_STATE_SIZE_BYTES_MAX
from core.speech.messages import WordSpan
from origin.dialogue.heard import SpokenUtterance
from origin.dialogue.opus_voice import VoiceEncoding
from origin.dialogue.state import DialogueState

__all__ = ["Memory", "decode_memory", "encode_memory", "rest_of", "take_snapshot"]


class _Spoken(msgspec.Struct, frozen=True, array_like=True):
    id: int
    heard_until: int
    clauses: tuple[tuple[str, int, int, tuple[WordSpan, ...]], ...]


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One conversation between two messages.

    Attributes:
        messages: role and text of each, the oldest first.
        phase: what was going on.
        answer: clauses that were thought of for the answer under way.
        answer_whole: whether no more of them come.
        spoken: what was sent of it.
        opened: whether its viewer has come.
        bitrate_bps, loss_percent: what its link asked for; 0 bit/s: nothing.
    """

    messages: tuple[tuple[str, str], ...] = ()
    phase: Literal["listening", "thinking", "speaking", "idle"] = "idle"
    answer: tuple[str, ...] = ()
    answer_whole: bool = False
    spoken: _Spoken | None = None
    opened: bool = False
    bitrate_bps: int = 0
    loss_percent: int = 0

    @property
    def interrupted(self) -> bool:
        """Whether the viewer waits for an answer, or for the rest of it."""
        return self.phase in ("thinking", "speaking")

    def heard(self, utterance_id: int, until: int) -> str:
        """The words of the answer that the viewer will have heard.

        Args:
            utterance_id: what the POP was playing; 0: it has not said.
            until: ticks of it that will have been heard.
        """
        if self.spoken is None or utterance_id not in (0, self.spoken.id):
            return ""
        utterance = SpokenUtterance(self.spoken.id, 0, list(self.spoken.clauses))
        utterance.note(max(until, self.spoken.heard_until) if utterance_id else self.spoken.heard_until)
        return utterance.heard_text()


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Memory)


def take_snapshot(
    state: DialogueState, spoken: SpokenUtterance | None, encoding: VoiceEncoding | None, *, opened: bool
) -> Memory:
    """The conversation as it is now."""
    messages = (message for message in state.context.messages if isinstance(message, dict))
    return Memory(
        messages=tuple((str(message["role"]), str(message.get("content") or "")) for message in messages),
        phase=state.phase,
        answer=tuple(state.answer) if state.under_way.valid else (),
        answer_whole=state.answer_whole and state.under_way.valid,
        spoken=None if spoken is None else _Spoken(spoken.id, spoken.heard_until, tuple(spoken.clauses)),
        opened=opened,
        bitrate_bps=0 if encoding is None else encoding.bitrate_bps,
        loss_percent=0 if encoding is None else encoding.loss_percent,
    )


def encode_memory(memory: Memory) -> bytes:
    """The record, at most HANDOFF_STATE_SIZE_BYTES_MAX: the oldest messages fall out until it fits, the newest one is
    kept as far as there is room for it."""
    data = _encoder.encode(memory)
    if len(data) > HANDOFF_STATE_SIZE_BYTES_MAX and len(_encoder.encode(_bare(memory))) > _HALF:
        memory = msgspec.structs.replace(memory, answer=(), answer_whole=False, spoken=None)
        data = _encoder.encode(memory)
    messages = list(memory.messages)
    while len(data) > HANDOFF_STATE_SIZE_BYTES_MAX and len(messages) > 1:
        del messages[0]
        data = _encoder.encode(msgspec.structs.replace(memory, messages=tuple(messages)))
    if len(data) > HANDOFF_STATE_SIZE_BYTES_MAX:
        role, text = messages[-1]
        shortened = text.encode()[-_HALF // 2 :].decode(errors="ignore")
        data = _encoder.encode(msgspec.structs.replace(memory, messages=((role, shortened),)))
    return data


_HALF: Final = HANDOFF_STATE_SIZE_BYTES_MAX // 2


def _bare(memory: Memory) -> Memory:
    return msgspec.structs.replace(memory, messages=())


def decode_memory(data: bytes) -> Memory:
    """Raises: RemoteProtocolError: `bad-record`."""
    if len(data) > HANDOFF_STATE_SIZE_BYTES_MAX:
        raise RemoteProtocolError("bad-record", f"a memory of {len(data)} bytes")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RemoteProtocolError("bad-record", f"no memory ({error})") from None


def rest_of(answer: tuple[str, ...], heard: str) -> str:
    """The answer from the first word that was not heard."""
    words = " ".join(answer).split()
    return " ".join(words[len(heard.split()) :])
