"""What POPs and the broker say to each other to move a session (`core.session.handoff`), as msgpack requests.

A POP answers on `pop_subject(name)`, any broker on `BROKER_SUBJECT`, each on its own subject, too. Whoever is asked
answers `Done`, what was asked for, or `Refused`. Everything may be asked twice; the second time changes nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from core.packed import unpack

__all__ = [
    "BROKER_SUBJECT",
    "Answer",
    "BrokerRequest",
    "CancelDrain",
    "Demote",
    "Demoted",
    "Done",
    "Drain",
    "DrainProgress",
    "Drop",
    "Expect",
    "Export",
    "Exported",
    "Failed",
    "Invite",
    "Move",
    "Moved",
    "PopRequest",
    "Prepare",
    "Previewed",
    "Promote",
    "Refused",
    "Release",
    "Told",
    "decode_answer",
    "decode_broker_request",
    "decode_pop_request",
    "encode_handoff",
    "pop_subject",
]

BROKER_SUBJECT: Final = "broker.handoffs"


def pop_subject(name: str) -> str:
    """Subject on which a POP is asked."""
    return f"pop.{name}.handoffs"


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    pass


# --- broker → POP ------------------------------------------------------------------------------------------------


class Expect(_Message, frozen=True, kw_only=True, tag="expect"):
    """Make room for a session, and listen to its origin: what it says from now on is not in the state that follows."""

    session_id: str


class Export(_Message, frozen=True, kw_only=True, tag="export"):
    """Give the state of a session that is yours. Nothing changes by it."""

    session_id: str


class Prepare(_Message, frozen=True, kw_only=True, tag="prepare"):
    """Go on with this session, unseen: it is yours when its epoch counts.

    Attributes:
        epoch: reserved for you.
        state: what `Export` gave, opaque.
        broker: subject on which the one who moves it wants to hear of it.
    """

    session_id: str
    epoch: int
    character: str
    mode: str
    state: bytes
    broker: str = BROKER_SUBJECT


class Invite(_Message, frozen=True, kw_only=True, tag="invite"):
    """Send your viewer there.

    Attributes:
        offer: an entry of a ticket's `pops`, as JSON.
    """

    session_id: str
    epoch: int
    offer: bytes


class Demote(_Message, frozen=True, kw_only=True, tag="demote"):
    """The session is `epoch`'s: say nothing more, but go on sending. Answer: `Demoted`."""

    session_id: str
    epoch: int


class Promote(_Message, frozen=True, kw_only=True, tag="promote"):
    """The session is yours. `said`: the last word that the viewer was told has become audible (`Demoted`)."""

    session_id: str
    epoch: int
    said: tuple[int, int] | None = None


class Release(_Message, frozen=True, kw_only=True, tag="release"):
    """The viewer follows `epoch`: let go of the session."""

    session_id: str
    epoch: int


class Drop(_Message, frozen=True, kw_only=True, tag="drop"):
    """It was for nothing: the target lets go of what has this epoch, the source takes the invitation to it back."""

    session_id: str
    epoch: int


# --- whoever operates → POP --------------------------------------------------------------------------------------


class Drain(_Message, frozen=True, kw_only=True, tag="drain"):
    """Move every session elsewhere and take no new ones. Asked again, it goes on. Answer: `DrainProgress`.

    Attributes:
        deadline_s: after so long, whoever is still here is sent away.
    """

    deadline_s: float


class CancelDrain(_Message, frozen=True, kw_only=True, tag="cancel-drain"):
    """Take sessions again; those that have moved have moved. Answer: `DrainProgress`."""


# --- POP → broker ------------------------------------------------------------------------------------------------


class Move(_Message, frozen=True, kw_only=True, tag="move"):
    """Move a session that is mine to another POP. Answered when it is over, with `Moved` or `Refused`.

    Attributes:
        epoch, pop: of whoever asks.
    """

    session_id: str
    epoch: int
    pop: str


class Previewed(_Message, frozen=True, kw_only=True, tag="previewed"):
    """The viewer has come with the ticket for this epoch, and can decode what I send."""

    session_id: str
    epoch: int


class Told(_Message, frozen=True, kw_only=True, tag="told"):
    """The viewer follows this epoch and no other."""

    session_id: str
    epoch: int


class Failed(_Message, frozen=True, kw_only=True, tag="failed"):
    """What was prepared for this epoch is gone, before it counted."""

    session_id: str
    epoch: int
    reason: str


# --- answers -----------------------------------------------------------------------------------------------------


class Done(_Message, frozen=True, kw_only=True, tag="done"):
    """It is so."""


class Refused(_Message, frozen=True, kw_only=True, tag="refused"):
    """It cannot be. `code`: kebab-case."""

    code: str


class Exported(_Message, frozen=True, kw_only=True, tag="exported"):
    """A session's state, opaque, and what its tickets say of it."""

    state: bytes
    character: str
    mode: str


class Demoted(_Message, frozen=True, kw_only=True, tag="demoted"):
    """The last word that the viewer was told has become audible: its utterance and first tick."""

    said: tuple[int, int]


class Moved(_Message, frozen=True, kw_only=True, tag="moved"):
    """The session is at `pop`. `overlap_s`: how long both have sent."""

    pop: str
    epoch: int
    overlap_s: float


class DrainProgress(_Message, frozen=True, kw_only=True, tag="drain-progress"):
    """How far a POP is with moving its sessions.

    Attributes:
        state: `none`, `draining`, `drained` (nobody is left, and nobody new is taken), `cancelled`.
        sessions: that are still here; moved, failed, sent_away: since it began.
        overlap_s_max: the longest time that both sides of a move have sent.
        last_failure: why the last move that failed did.
    """

    state: str
    sessions: int
    moved: int = 0
    failed: int = 0
    sent_away: int = 0
    overlap_s_max: float = 0.0
    last_failure: str = ""


PopRequest = Expect | Export | Prepare | Invite | Demote | Promote | Release | Drop | Drain | CancelDrain
BrokerRequest = Move | Previewed | Told | Failed
Answer = Done | Refused | Exported | Demoted | Moved | DrainProgress

_encoder: Final = msgspec.msgpack.Encoder()
_pop: Final[msgspec.msgpack.Decoder[PopRequest]] = msgspec.msgpack.Decoder(PopRequest)
_broker: Final[msgspec.msgpack.Decoder[BrokerRequest]] = msgspec.msgpack.Decoder(BrokerRequest)
_answer: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)


def encode_handoff(message: PopRequest | BrokerRequest | Answer) -> bytes:
    """Bytes of one message."""
    return _encoder.encode(message)


def decode_pop_request(data: bytes) -> PopRequest:
    """What a POP is asked. Raises: RemoteProtocolError: `bad-message`."""
    return unpack(_pop, data)


def decode_broker_request(data: bytes) -> BrokerRequest:
    """What the broker is asked. Raises: RemoteProtocolError: `bad-message`."""
    return unpack(_broker, data)


def decode_answer(data: bytes) -> Answer:
    """What either answers. Raises: RemoteProtocolError: `bad-message`."""
    return unpack(_answer, data)
