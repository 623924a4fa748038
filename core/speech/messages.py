"""Everything an origin and a POP say to each other about one session, as msgpack (msgspec tagged structs).

Subjects on the bus (`core.fabric.bus`): a POP publishes `UpMessage`s on `up_subject(session_id)`, the origin publishes
`DownMessage`s on `down_subject(session_id)`. Times are 48 kHz ticks; utterance-relative ticks start at 0 with the first
sample of the utterance's first packet.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from core.packed import unpack

__all__ = [
    "ECHO_SUBJECT",
    "PRESENCE_SUBJECTS",
    "SIGNING_KEYS_SUBJECT",
    "BargeIn",
    "Closed",
    "Cut",
    "DownMessage",
    "Fault",
    "HandedOver",
    "MicrophonePacket",
    "Mood",
    "Opened",
    "Owner",
    "PhonemeSpan",
    "Playout",
    "PopPresence",
    "Prepare",
    "Ready",
    "ReplyText",
    "SessionEnd",
    "SpeechCancel",
    "SpeechEnd",
    "SpeechPacket",
    "SpeechStart",
    "StageTimes",
    "Transcript",
    "TurnState",
    "UpMessage",
    "UserSpeech",
    "UserText",
    "VoiceFormat",
    "WordSpan",
    "decode_down",
    "decode_prepare",
    "decode_presence",
    "decode_up",
    "down_subject",
    "encode",
    "encode_prepare",
    "prepare_subject",
    "presence_subject",
    "session_of_presence",
    "up_subject",
]


ECHO_SUBJECT: Final = "origin.echo"
"""Requests here come back as they are: a POP measures with them how long a message takes."""
SIGNING_KEYS_SUBJECT: Final = "origin.signing-keys"
"""Something is published here when the origin's signing keys have changed: POPs fetch the key set anew."""


def up_subject(session_id: str) -> str:
    """Subject on which the POP speaks to the origin."""
    return f"session.{session_id}.up"


def down_subject(session_id: str) -> str:
    """Subject on which the origin speaks to the POP."""
    return f"session.{session_id}.down"


def prepare_subject(pop: str) -> str:
    """Subject on which the origin announces to a POP that somebody has a ticket for it."""
    return f"pop.{pop}.prepare"


class Prepare(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket was minted for this POP.

    Attributes:
        key_id: `kid` of the key that signs it.
    """

    key_id: str


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    pass


class _DownMessage(_Message, frozen=True, kw_only=True):
    generation: int = 0
    """Epoch of the lease by which its sender answers in this session; a POP refuses what is older than the newest it
    has seen. 0: a sender that nobody else takes over from."""


class PhonemeSpan(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One phoneme: IPA symbol as espeak-ng writes it ('' or '_' = pause), utterance-relative start and end in ticks,
    and stress (0 none, 1 secondary, 2 primary)."""

    symbol: str
    start: int
    end: int
    stress: int = 0


class WordSpan(msgspec.Struct, frozen=True, array_like=True):
    """One word of an utterance with its utterance-relative start and end in ticks."""

    text: str
    start: int
    end: int


# --- POP → origin ------------------------------------------------------------------------------------------------


class Opened(_Message, frozen=True, kw_only=True, tag="opened"):
    """A viewer is connected; the origin may greet, once. Repeated every limits.SIGN_OF_LIFE_S while it is.

    Attributes:
        moved: this POP goes on with the state of the one before; otherwise a higher epoch than before is a viewer that
            has lost a POP, and with it what was being said.
        missed: the way to the origin was broken: what was said lately may not have come here.
    """

    epoch: int
    transport: str
    moved: bool = False
    missed: bool = False


class MicrophonePacket(_Message, frozen=True, kw_only=True, tag="mic"):
    """One untouched Opus packet of the viewer's microphone.

    Attributes:
        opus: a valid Opus packet; padding is allowed and ignored.
        timestamp: unwrapped 48 kHz media time of its first sample.
    """

    opus: bytes
    timestamp: int


class UserSpeech(_Message, frozen=True, kw_only=True, tag="user-speech"):
    """The ear's opinion: the user's speech began or (reversibly) ended.

    Attributes:
        speaking: new state.
        timestamp: unwrapped 48 kHz microphone media time of the change.
    """

    speaking: bool
    timestamp: int


class UserText(_Message, frozen=True, kw_only=True, tag="user-text"):
    """The viewer typed something (at most limits.TEXT_CHARS_MAX characters)."""

    text: str


class BargeIn(_Message, frozen=True, kw_only=True, tag="barge-in"):
    """The edge has already cut the character's voice.

    Attributes:
        utterance_id: the utterance that was cut; 0 when nothing was playing (the viewer pressed interrupt).
        heard_until: utterance-relative ticks that were audible to the viewer.
        cause: "speech" (the ear) or "request" (the viewer asked).
    """

    utterance_id: int
    heard_until: int
    cause: Literal["speech", "request"] = "speech"


class Playout(_Message, frozen=True, kw_only=True, tag="playout"):
    """What the viewer has heard so far of an utterance (at most every 200 ms, and once at its end)."""

    utterance_id: int
    heard_until: int


class VoiceFormat(_Message, frozen=True, kw_only=True, tag="voice-format"):
    """How the voice should be encoded for the viewer's link; the newest counts. At most every 2 s.

    Attributes:
        bitrate_bps: aim, limits.VOICE_BITRATE_BPS_MIN to _MAX; the origin never goes above its own setting.
        loss_percent: packets in 100 that the link loses, 0 to 100. Above 0 the voice carries in-band FEC for as many.
    """

    bitrate_bps: int
    loss_percent: int


class Closed(_Message, frozen=True, kw_only=True, tag="closed"):
    """The viewer has left for good; the origin frees the session.

    Attributes:
        epoch: of the POP that says so; a POP that another one has taken over from ends nothing. 0: a POP that does not
            tell.
    """

    reason: str = ""
    epoch: int = 0


class HandedOver(_Message, frozen=True, kw_only=True, tag="handed-over"):
    """A newer generation has spoken: what there is of the utterance that the one before was sending. It is played to
    that end, and nothing older is taken any more.

    Attributes:
        generation: the newer one.
        utterance_id: the utterance that was not complete; 0: none was.
        packets: how many of its packets, without a gap, the viewer will have heard.
    """

    generation: int
    utterance_id: int = 0
    packets: int = 0


class Cut(_Message, frozen=True, kw_only=True, tag="cut"):
    """Said by whoever answers now, to itself and its successor: what comes before it on this subject is the one's,
    what comes after is the other's. No POP says it."""

    id: str


UpMessage = (
    Opened | MicrophonePacket | UserSpeech | UserText | BargeIn | Playout | VoiceFormat | HandedOver | Cut | Closed
)


# --- origin → POP ------------------------------------------------------------------------------------------------


class Ready(_DownMessage, frozen=True, kw_only=True, tag="ready"):
    """The session's pipeline is warm."""

    character: str
    display_name: str


class TurnState(_DownMessage, frozen=True, kw_only=True, tag="turn"):
    """The origin's authoritative word on the conversation: it alone ends a turn."""

    state: Literal["listening", "thinking", "speaking", "idle"]
    turn_id: int = 0


class SpeechStart(_DownMessage, frozen=True, kw_only=True, tag="speech-start"):
    """An utterance begins. Utterance ids increase strictly within a session and start at 1.

    Attributes:
        first: index of the first packet that follows; those before it were heard elsewhere.
    """

    utterance_id: int
    turn_id: int = 0
    first: int = 0


class SpeechPacket(_DownMessage, frozen=True, kw_only=True, tag="speech", gc=False):
    """20 ms of the character's voice and all that the animator needs of it.

    Attributes:
        index: 0, 1, 2 … within the utterance; its first sample is at index · 960 ticks.
        opus: one 20 ms Opus packet (mono, 48 kHz).
        phonemes: spans that *start* in this packet's 20 ms, or a little earlier where they became known late; ends may
            lie far ahead.
        log_mel: 40 bytes, see core.speech.features; b"" when the origin has no PCM.
    """

    utterance_id: int
    index: int
    opus: bytes
    phonemes: tuple[PhonemeSpan, ...] = ()
    log_mel: bytes = b""


class SpeechEnd(_DownMessage, frozen=True, kw_only=True, tag="speech-end"):
    """The utterance is complete with `packets` packets."""

    utterance_id: int
    packets: int


class SpeechCancel(_DownMessage, frozen=True, kw_only=True, tag="speech-cancel"):
    """Forget what is still queued of this utterance and all before it."""

    utterance_id: int


class Transcript(_DownMessage, frozen=True, kw_only=True, tag="transcript"):
    """What the user said, so far or finally."""

    text: str
    final: bool
    turn_id: int = 0


class ReplyText(_DownMessage, frozen=True, kw_only=True, tag="reply-text"):
    """A clause of the character's answer, for captions, sent before its speech.

    Attributes:
        words: the clause's words on the utterance's clock.
    """

    utterance_id: int
    text: str
    words: tuple[WordSpan, ...] = ()


class Mood(_DownMessage, frozen=True, kw_only=True, tag="mood"):
    """How the character feels. valence and arousal in [-1, 1]."""

    label: str
    valence: float
    arousal: float


class Fault(_DownMessage, frozen=True, kw_only=True, tag="fault"):
    """Something failed in a way the viewer should know of; the session lives.

    Attributes:
        code: kebab-case, e.g. "stt-failed", "tts-failed", "llm-failed", "llm-slow".
    """

    code: str
    message: str


class SessionEnd(_DownMessage, frozen=True, kw_only=True, tag="session-end"):
    """This POP must let go of the session and says nothing of it upwards.

    Attributes:
        reason: for the viewer: `superseded` (another POP has it), `kicked`, `key-revoked`, `ended`.
        epoch: of the POP that is meant; `core.session.tenure.EVERY_EPOCH`: whoever has it.
    """

    reason: str
    epoch: int


class StageTimes(_DownMessage, frozen=True, kw_only=True, tag="stages"):
    """Milliseconds each origin stage of a turn took; names as in core.session.budget."""

    turn_id: int
    stages: dict[str, float]


class Owner(_DownMessage, frozen=True, kw_only=True, tag="owner"):
    """From here on the session belongs to the POP that has this epoch. It divides what the origin says: what comes
    before it is told to the viewer by the former owner, what comes after it by this one."""

    epoch: int


DownMessage = (
    Ready
    | Owner
    | TurnState
    | SpeechStart
    | SpeechPacket
    | SpeechEnd
    | SpeechCancel
    | Transcript
    | ReplyText
    | Mood
    | Fault
    | StageTimes
    | SessionEnd
)


# --- POP → broker ------------------------------------------------------------------------------------------------


class PopPresence(msgspec.Struct, frozen=True, kw_only=True):
    """A POP's claim on a session: it has the viewer, or had it. On `presence_subject(session_id)`, where brokers hear
    it without hearing the microphones as well.

    Attributes:
        pop: its name.
        epoch: of the ticket that opened the session there.
        here: the viewer is connected; False: it has left for good.
    """

    pop: str
    epoch: int
    here: bool
    reason: str = ""


PRESENCE_SUBJECTS: Final = "session.*.presence"
"""What brokers subscribe to."""


def presence_subject(session_id: str) -> str:
    """Subject on which POPs claim a session."""
    return f"session.{session_id}.presence"


def session_of_presence(subject: str) -> str:
    """The session of a presence subject."""
    return subject.split(".")[1]


_encoder: Final = msgspec.msgpack.Encoder()
_prepare: Final[msgspec.msgpack.Decoder[Prepare]] = msgspec.msgpack.Decoder(Prepare)
_up: Final[msgspec.msgpack.Decoder[UpMessage]] = msgspec.msgpack.Decoder(UpMessage)
_presence: Final = msgspec.msgpack.Decoder(PopPresence)
_down: Final[msgspec.msgpack.Decoder[DownMessage]] = msgspec.msgpack.Decoder(DownMessage)


def encode(message: UpMessage | DownMessage | PopPresence) -> bytes:
    """Bytes of one message, at most limits.FABRIC_MESSAGE_SIZE_BYTES_MAX for any valid content."""
    return _encoder.encode(message)


def encode_prepare(prepare: Prepare) -> bytes:
    """Bytes of an announcement."""
    return _encoder.encode(prepare)


def decode_prepare(data: bytes) -> Prepare:
    """Raises: RemoteProtocolError: code `bad-message`."""
    return unpack(_prepare, data)


def decode_up(data: bytes) -> UpMessage:
    """The message a POP sent.

    Raises: RemoteProtocolError: code `bad-message`.
    """
    return unpack(_up, data)


def decode_down(data: bytes) -> DownMessage:
    """The message an origin sent.

    Raises: RemoteProtocolError: code `bad-message`.
    """
    return unpack(_down, data)


def decode_presence(data: bytes) -> PopPresence:
    """What a POP claims.

    Raises: RemoteProtocolError: code `bad-message`.
    """
    return unpack(_presence, data)
