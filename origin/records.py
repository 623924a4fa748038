"""What the origin writes into the store: sessions, and which request was given which session.

Old and new processes meet in the store: members are only added, with a default.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Final

import msgspec

from core.limits import EPOCH_MAX
from core.session.claims import ALL_SCOPES, MODE_CONVERSATION, MODES
from core.session.tenure import Tenure

__all__ = [
    "REQUESTS_PREFIX",
    "SESSIONS_PREFIX",
    "RequestRecord",
    "SessionRecord",
    "can_go_on",
    "decode_request",
    "decode_session",
    "request_key",
]

_log = logging.getLogger(__name__)

SESSIONS_PREFIX: Final = "sessions."
REQUESTS_PREFIX: Final = "requests."


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session.

    Attributes:
        character, mode: who speaks; without a mode it is a conversation.
        epoch, pop: of the POP that has it; 0 and empty: nobody has opened it yet.
        floor, reserved, candidates: see `core.session.tenure.Tenure`.
        offered_at: when its newest tickets were minted, wall time in seconds.
        thumbprint: of its viewer's key; empty: it has none.
        key: id of the API key that asked for it; empty: a page, or a program of this machine.
        scopes: what its tickets open.
        regions: where its data may be; None: anywhere.
        carrier: the mobile network that its viewer came from.
    """

    character: str
    epoch: int
    pop: str
    created_at: int
    mode: str = MODE_CONVERSATION
    floor: int = 0
    reserved: int = 0
    candidates: tuple[str, ...] = ()
    offered_at: int = 0
    thumbprint: str = ""
    key: str = ""
    scopes: tuple[str, ...] = ALL_SCOPES
    regions: tuple[str, ...] | None = None
    carrier: str = ""

    @property
    def tenure(self) -> Tenure:
        """Which POP has it."""
        return Tenure(
            epoch=self.epoch,
            floor=self.floor,
            reserved=max(self.reserved, self.epoch),
            candidates=self.candidates,
        )

    def with_tenure(self, tenure: Tenure) -> SessionRecord:
        """The record after a change of that."""
        return msgspec.structs.replace(
            self, epoch=tenure.epoch, floor=tenure.floor, reserved=tenure.reserved, candidates=tenure.candidates
        )


def decode_session(key: str, value: bytes | None) -> SessionRecord | None:
    """A session's record; None: it is none that this version can go on with."""
    try:
        record = msgspec.json.decode(value or b"", type=SessionRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        _log.warning("store key %s is no session record", key)
        return None
    tenure = record.tenure
    sound = 0 <= record.epoch <= tenure.reserved < EPOCH_MAX and 0 <= record.floor <= tenure.reserved
    return record if sound and tenure.reserved > 0 else None


def can_go_on(record: SessionRecord) -> bool:
    """Whether an origin that knows nothing but its record can serve it."""
    return record.mode in MODES


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was answered, or is being answered.

    Attributes:
        session: the id that its session has, or will have.
        body: hash of what was asked for; the same request id with something else is a mistake.
        created_at: wall time in seconds.
        done: it was answered.
    """

    session: str
    body: str
    created_at: int
    done: bool = False


def request_key(caller: str, request_id: str) -> str:
    """Where a request is remembered: callers do not see each other's."""
    digest = hashlib.sha256(f"{caller}\0{request_id}".encode("utf-8", "surrogatepass")).hexdigest()
    return REQUESTS_PREFIX + digest[:40]


def decode_request(value: bytes | None) -> RequestRecord | None:
    """A request's record; None: it is none."""
    try:
        return msgspec.json.decode(value or b"", type=RequestRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
