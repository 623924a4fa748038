"""What an origin and somebody else's agent say to each other as text: JSON with a `type` (msgspec tagged structs).

Sound goes beside it, as binary messages. Times are seconds, 0 is the first sample of the utterance's sound.
`docs/agents.md` is the specification.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from core.errors import RemoteProtocolError
from core.limits import AGENT_CONTROL_SIZE_BYTES_MAX, AGENT_TIME_S_MAX, AGENT_WORDS_MAX, TEXT_CHARS_MAX

__all__ = [
    "AgentEvent",
    "AgentMessage",
    "AgentMood",
    "AgentState",
    "AgentTranscript",
    "Bye",
    "ErrorEvent",
    "Hello",
    "Interrupt",
    "Interrupted",
    "Microphone",
    "Phonemes",
    "Ping",
    "PlayoutEvent",
    "Pong",
    "SpeakingStarted",
    "SpeakingStopped",
    "Text",
    "TimedPhoneme",
    "TimedWord",
    "TypedText",
    "UtteranceBegin",
    "UtteranceEnd",
    "ViewerClosed",
    "ViewerOpened",
    "Welcome",
    "Words",
    "decode_agent",
    "decode_event",
    "encode_agent",
]

Microphone = Literal["none", "pcm_s16le", "opus"]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=AGENT_TIME_S_MAX)]
_Name = Annotated[str, msgspec.Meta(max_length=64)]
_Unit = Annotated[float, msgspec.Meta(ge=-1, le=1)]
_Spoken = Annotated[str, msgspec.Meta(max_length=TEXT_CHARS_MAX)]


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    pass


class TimedWord(msgspec.Struct, frozen=True, array_like=True):
    """A word with its start and end in the utterance; None: not known."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    start_s: _Seconds | None = None
    end_s: _Seconds | None = None


class TimedPhoneme(msgspec.Struct, frozen=True, array_like=True):
    """A phoneme: IPA as espeak-ng writes it ("" = pause), start, end, stress (0 none, 1 secondary, 2 primary)."""

    symbol: Annotated[str, msgspec.Meta(max_length=16)]
    start_s: _Seconds
    end_s: _Seconds
    stress: Annotated[int, msgspec.Meta(ge=0, le=2)] = 0


# --- agent → origin ----------------------------------------------------------------------------------------------


class Hello(_Message, frozen=True, kw_only=True, tag="hello"):
    """The first message.

    Attributes:
        token: of the answer to `POST /v1/sessions`, or of the last welcome.
        encoding: of the sound that the agent sends.
        sample_rate, channels: of PCM; Opus says both itself.
        language: of the words, as espeak-ng names it.
        microphone: how the agent wants to hear the viewer; PCM is 16 kHz mono.
    """

    token: Annotated[str, msgspec.Meta(max_length=256)]
    encoding: Literal["pcm_s16le", "opus"] = "pcm_s16le"
    sample_rate: Literal[8_000, 16_000, 22_050, 24_000, 44_100, 48_000] = 24_000
    channels: Literal[1, 2] = 1
    language: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9+_-]{1,32}$")] = "en-us"
    microphone: Microphone = "none"


class UtteranceBegin(_Message, frozen=True, kw_only=True, tag="utterance-begin"):
    """Sound follows. `id` is the agent's own name for it, repeated in events."""

    id: _Name = ""


class UtteranceEnd(_Message, frozen=True, kw_only=True, tag="utterance-end"):
    """All of the utterance's sound was sent."""


class Words(_Message, frozen=True, kw_only=True, tag="words"):
    """Words of the utterance that began last: captions, phonemes where none are given, and what an interruption cut."""

    words: Annotated[tuple[TimedWord, ...], msgspec.Meta(min_length=1, max_length=AGENT_WORDS_MAX)]


class Text(_Message, frozen=True, kw_only=True, tag="text"):
    """What the sound that follows says, until the next text or the utterance's end.

    Attributes:
        duration_s: how long it sounds, where the agent knows: then the mouth forms its phonemes from the first moment.
    """

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_CHARS_MAX)]
    duration_s: _Seconds | None = None


class Phonemes(_Message, frozen=True, kw_only=True, tag="phonemes"):
    """Phonemes of the utterance that began last; they should come before their sound."""

    phonemes: Annotated[tuple[TimedPhoneme, ...], msgspec.Meta(max_length=AGENT_WORDS_MAX)]


class AgentMood(_Message, frozen=True, kw_only=True, tag="mood"):
    """How the character feels from now on; valence and arousal in [-1, 1]."""

    label: _Name
    valence: _Unit
    arousal: _Unit


class AgentState(_Message, frozen=True, kw_only=True, tag="state"):
    """What the character does while it says nothing."""

    state: Literal["listening", "thinking", "idle"]


class AgentTranscript(_Message, frozen=True, kw_only=True, tag="transcript"):
    """What the agent understood of the viewer, for captions."""

    text: _Spoken
    final: bool = True


class Interrupt(_Message, frozen=True, kw_only=True, tag="interrupt"):
    """Fall silent at once: forget all sound that is not audible yet, and all utterances that wait."""


class Ping(_Message, frozen=True, kw_only=True, tag="ping"):
    """Answered by a pong with the same id."""

    id: _Name = ""


class Bye(_Message, frozen=True, kw_only=True, tag="bye"):
    """The conversation is over: the session ends."""


AgentMessage = (
    Hello
    | UtteranceBegin
    | UtteranceEnd
    | Words
    | Text
    | Phonemes
    | AgentMood
    | AgentState
    | AgentTranscript
    | Interrupt
    | Ping
    | Bye
)


# --- origin → agent ----------------------------------------------------------------------------------------------


class Welcome(_Message, frozen=True, kw_only=True, tag="welcome"):
    """The hello was accepted.

    Attributes:
        resume_token: for the hello of the next connection, once; good while this one lives and `resume_s` after it.
        viewer: whether the viewer is there already.
        sound_s_max: so much sound may wait to be spoken.
    """

    session_id: str
    character: str
    resume_token: str
    resume_s: float
    viewer: bool
    sound_s_max: float


class ViewerOpened(_Message, frozen=True, kw_only=True, tag="viewer-opened"):
    """The viewer is there."""

    transport: str


class ViewerClosed(_Message, frozen=True, kw_only=True, tag="viewer-closed"):
    """The viewer has left for good; the connection closes."""

    reason: str


class SpeakingStarted(_Message, frozen=True, kw_only=True, tag="user-started-speaking"):
    """The POP's ear: the viewer speaks."""


class SpeakingStopped(_Message, frozen=True, kw_only=True, tag="user-stopped-speaking"):
    """The POP's ear: the viewer pauses, perhaps only for a breath."""


class TypedText(_Message, frozen=True, kw_only=True, tag="user-text"):
    """The viewer has typed something."""

    text: str


class Interrupted(_Message, frozen=True, kw_only=True, tag="interrupted"):
    """The viewer has interrupted; the character is silent already, and everything that waited is forgotten.

    Attributes:
        id: of the utterance that was cut, "" when none was.
        heard_s: seconds of it that were audible.
        heard_text: its words that were audible, "" where none were given.
    """

    cause: Literal["speech", "request"]
    id: str = ""
    heard_s: float = 0.0
    heard_text: str = ""


class PlayoutEvent(_Message, frozen=True, kw_only=True, tag="playout"):
    """So much of an utterance the viewer has heard; `complete`: all of it."""

    id: str
    heard_s: float
    complete: bool = False


class Pong(_Message, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""

    id: str = ""


class ErrorEvent(_Message, frozen=True, kw_only=True, tag="error"):
    """Something could not be used; `fatal`: the connection closes."""

    code: str
    message: str
    fatal: bool = False


AgentEvent = (
    Welcome
    | ViewerOpened
    | ViewerClosed
    | SpeakingStarted
    | SpeakingStopped
    | TypedText
    | Interrupted
    | PlayoutEvent
    | Pong
    | ErrorEvent
)


class _Kind(msgspec.Struct, frozen=True):
    type: str


_encoder: Final = msgspec.json.Encoder()
_messages: Final[msgspec.json.Decoder[AgentMessage]] = msgspec.json.Decoder(AgentMessage)
_events: Final[msgspec.json.Decoder[AgentEvent]] = msgspec.json.Decoder(AgentEvent)
_kind: Final = msgspec.json.Decoder(_Kind)
_KINDS: Final = frozenset(
    str(struct.__struct_config__.tag)
    for struct in (
        Hello,
        UtteranceBegin,
        UtteranceEnd,
        Words,
        Text,
        Phonemes,
        AgentMood,
        AgentState,
        AgentTranscript,
        Interrupt,
        Ping,
        Bye,
    )
)


def encode_agent(message: AgentMessage | AgentEvent) -> str:
    """One message as JSON."""
    return _encoder.encode(message).decode()


def decode_agent(text: str) -> AgentMessage:
    """What an agent said.

    Raises: RemoteProtocolError: `message-too-large`, `unknown-message` (a type nobody knows) or `bad-message`.
    """
    if len(text) > AGENT_CONTROL_SIZE_BYTES_MAX:
        raise RemoteProtocolError(
            "message-too-large", f"A text message has at most {AGENT_CONTROL_SIZE_BYTES_MAX} characters."
        )
    data = text.encode("utf-8", "replace")
    try:
        kind = _kind.decode(data).type
        if kind not in _KINDS:
            raise RemoteProtocolError("unknown-message", f"There is no message of type {kind[:64]!r}.")
        return _messages.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RemoteProtocolError("bad-message", f"The message cannot be understood: {error}.") from error


def decode_event(text: str) -> AgentEvent:
    """What an origin said.

    Raises: RemoteProtocolError: code `bad-message`.
    """
    try:
        return _events.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise RemoteProtocolError("bad-message", str(error)) from error
