"""What an origin and its workers say to each other over the bus, as msgpack (msgspec tagged structs).

An origin asks a worker on `command_subject` (one life of it, so that no earlier command reaches a later life); a worker
tells its news on `news_subject`. News may be lost: every `Status` says everything again.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from core.packed import unpack

__all__ = [
    "CONTROL_SUBJECT",
    "NEWS_SUBJECTS",
    "PROTOCOL",
    "Answered",
    "Ask",
    "Begin",
    "CameIn",
    "Command",
    "Control",
    "Controlled",
    "Done",
    "Drain",
    "End",
    "Ended",
    "Go",
    "Hosted",
    "News",
    "Refused",
    "Release",
    "Released",
    "Reply",
    "Status",
    "command_subject",
    "decode_command",
    "decode_control",
    "decode_controlled",
    "decode_news",
    "decode_reply",
    "encode",
    "news_subject",
]

PROTOCOL: Final = 1
"""Workers of another protocol are given nothing; those of another version with the same protocol are."""
NEWS_SUBJECTS: Final = "worker-news.*"
CONTROL_SUBJECT: Final = "workers-control"
"""Where an origin answers `visavis workers`."""


def command_subject(name: str, life: str) -> str:
    """Where one life of a worker takes commands."""
    return f"worker.{name}.{life}"


def news_subject(name: str) -> str:
    """Where a worker tells its news."""
    return f"worker-news.{name}"


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    pass


# --- origin → worker -----------------------------------------------------------------------------------------------


class Begin(_Message, frozen=True, kw_only=True, tag="begin"):
    """Answer in a session.

    Attributes:
        slot, request: which slot's lease it is, and whose.
        ordinal: how many processes have answered in it, this one included.
        generation: epoch of the session's lease; 0 in standby.
        resume: another process answered; its memory is in the store.
        standby: get ready, and wait for `Go`.
    """

    session: str
    character: str
    slot: str
    request: str
    ordinal: int
    generation: int
    open_s_max: float
    resume: bool = False
    standby: bool = False


class Go(_Message, frozen=True, kw_only=True, tag="go"):
    """Leave standby: the other process has released the session.

    Attributes:
        after: the Cut up to which it has listened.
    """

    session: str
    generation: int
    memory: bytes
    after: str


class Release(_Message, frozen=True, kw_only=True, tag="release"):
    """Stop answering between two turns, and say what there is to know."""

    session: str
    cut: str
    wait_s: float


class End(_Message, frozen=True, kw_only=True, tag="end"):
    """End a session."""

    session: str
    reason: str


class Drain(_Message, frozen=True, kw_only=True, tag="drain"):
    """Take nothing new."""


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """What `visavis workers` asks an origin on CONTROL_SUBJECT.

    Attributes:
        drain: name of a worker to drain; empty: only tell.
    """

    drain: str = ""


class Controlled(msgspec.Struct, frozen=True, kw_only=True):
    """The origin's answer.

    Attributes:
        workers: `WorkerSessions.report`.
        moved: sessions that were moved.
        error: one sentence; empty: it is done.
    """

    workers: list[dict[str, Any]] = []
    moved: int = 0
    error: str = ""


class Ask(_Message, frozen=True, kw_only=True, tag="ask"):
    """How are you?"""


Command = Begin | Go | Release | End | Drain | Ask


# --- worker → origin -----------------------------------------------------------------------------------------------


class Done(_Message, frozen=True, kw_only=True, tag="done"):
    """It is so."""


class Refused(_Message, frozen=True, kw_only=True, tag="refused"):
    """It is not. `code`: `draining`, `taken`, `unknown-session`, `unknown-character`, `failed`, `bad-command`."""

    code: str


class Released(_Message, frozen=True, kw_only=True, tag="released"):
    """What the next process must know."""

    memory: bytes


class Hosted(msgspec.Struct, frozen=True, kw_only=True):
    """A session that a worker answers in."""

    session: str
    character: str
    slot: str
    request: str
    generation: int
    opened: bool


class Status(_Message, frozen=True, kw_only=True, tag="status"):
    """Everything about a worker.

    Attributes:
        machine: host and boot; processes of the same one may be watched by their pid.
        instance: what a provider calls the machine.
        beats: heartbeats that were acknowledged.
        memory_bytes: resident, without its own helpers.
        warm_up_s: from the start of its process to ready.
        counts: what its process has counted since it began: `guess.` and an outcome, `opening.` and a result.
    """

    name: str
    life: str
    version: str
    protocol: int
    state: Literal["warming", "warm", "draining"]
    slots: int
    pid: int
    machine: str
    instance: str = ""
    beats: int = 0
    memory_bytes: int = 0
    warm_up_s: float = 0.0
    sessions: tuple[Hosted, ...] = ()
    counts: dict[str, int] = {}


class Ended(_Message, frozen=True, kw_only=True, tag="ended"):
    """A session is over."""

    name: str
    life: str
    session: str
    generation: int
    reason: str


class CameIn(_Message, frozen=True, kw_only=True, tag="came-in"):
    """A session's viewer is there."""

    name: str
    life: str
    session: str


class Answered(_Message, frozen=True, kw_only=True, tag="answered"):
    """A spoken turn was answered.

    Attributes:
        stages: milliseconds by the names of core.session.budget, together from the end of speech to the first packet.
    """

    name: str
    life: str
    stages: dict[str, float]


Reply = Done | Refused | Released | Status
News = Status | Ended | CameIn | Answered

_encoder: Final = msgspec.msgpack.Encoder()
_commands: Final[msgspec.msgpack.Decoder[Command]] = msgspec.msgpack.Decoder(Command)
_replies: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)
_controls: Final[msgspec.msgpack.Decoder[Control]] = msgspec.msgpack.Decoder(Control)
_controlled: Final[msgspec.msgpack.Decoder[Controlled]] = msgspec.msgpack.Decoder(Controlled)
_news: Final[msgspec.msgpack.Decoder[News]] = msgspec.msgpack.Decoder(News)


def encode(message: Command | Reply | News | Control | Controlled) -> bytes:
    """Bytes of one message."""
    return _encoder.encode(message)


def decode_command(data: bytes) -> Command:
    """Raises: RemoteProtocolError: `bad-message`."""
    return unpack(_commands, data)


def decode_reply(data: bytes) -> Reply:
    """Raises: RemoteProtocolError: `bad-message`."""
    return unpack(_replies, data)


def decode_control(data: bytes) -> Control:
    """Raises: RemoteProtocolError: `bad-message`."""
    return unpack(_controls, data)


def decode_controlled(data: bytes) -> Controlled:
    """Raises: RemoteProtocolError: `bad-message`."""
    return unpack(_controlled, data)


def decode_news(data: bytes) -> News:
    """Raises: RemoteProtocolError: `bad-message`."""
    return unpack(_news, data)
