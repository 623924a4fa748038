"""API keys: who may ask for sessions, for which ones, and how many. The store keeps hashes; a secret is shown once.

A key is `vvk_{id}_{secret}` with 256 random bits, so that a plain hash is enough to keep it. Those of the configuration
(`origin.api_keys`) are texts of any form; they may ask for everything and are limited by nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from core.errors import FabricError
from core.fabric.store import Store
from core.host.clock import Clock
from core.host.entropy import Entropy
from core.limits import API_KEY_SIZE_BYTES_MAX, API_KEYS_MAX, LEASE_TRIES_MAX
from core.session.claims import ALL_SCOPES, MODE_AGENT, MODES
from origin.mirrored import Mirrored
from origin.problems import ProblemError

__all__ = ["UNLIMITED", "ApiKey", "ApiKeys", "KeyRecord", "KeyWish"]

_PREFIX: Final = "keys."
_FORM: Final = re.compile(r"vvk_([a-z2-7]{10})_[A-Za-z0-9_-]{43}\Z")
_ID: Final = re.compile(r"[a-z2-7]{10}\Z")
_NAME: Final = re.compile(r"[\w .:@/-]{1,64}\Z")
_ROTATION_S_MAX: Final = 30 * 86_400


class KeyWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new key shall be: the body of `POST /v1/admin/keys`. Empty lists and 0: no limit.

    Attributes:
        name: for people, 1 to 64 characters.
        modes, characters, transports, regions: what it may ask for.
        admin: it may use the admin API.
        sessions_max: at once.
        tickets_per_minute: sessions asked for.
    """

    name: str
    modes: tuple[str, ...] = ()
    characters: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    admin: bool = False
    sessions_max: int = 0
    tickets_per_minute: int = 0


class KeyRecord(KeyWish, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=False):
    """A key as the store has it.

    Attributes:
        hash: SHA-256 of the whole key, hexadecimal.
        created_at, revoked_at: wall time in seconds; 0: not revoked.
        previous_hash, previous_until: the secret before the last rotation, and until when it is still good.
    """

    hash: str
    created_at: int
    revoked_at: int = 0
    previous_hash: str = ""
    previous_until: int = 0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that somebody came with.

    Attributes:
        key_id: empty for those of the configuration.
    """

    key_id: str
    record: KeyRecord


_Change = Callable[[KeyRecord], KeyRecord]

UNLIMITED: Final = ApiKey("", KeyRecord(name="configuration", hash="", created_at=0))
"""What keys of the configuration are."""


def _decode(value: bytes) -> KeyRecord | None:
    try:
        return msgspec.json.decode(value, type=KeyRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class ApiKeys:
    """All keys of an origin.

    Args:
        configured: those of the configuration.
    """

    def __init__(self, store: Store, clock: Clock, entropy: Entropy, configured: tuple[str, ...] = ()) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._configured = configured
        self._records = Mirrored(store, _PREFIX, _decode, clock.monotonic)

    async def start(self) -> None:
        """Begin to follow the store, once. Raises: FabricError."""
        await self._records.start()

    async def aclose(self) -> None:
        """Stop following."""
        await self._records.aclose()

    def find(self, secret: str) -> ApiKey | None:
        """The key with this secret; None: it is not known.

        Raises: ProblemError: `api-key-revoked`.
        """
        if len(secret) > API_KEY_SIZE_BYTES_MAX:
            return None
        # All keys are compared, each in constant time: the answer's timing tells nothing.
        given = secret.encode("utf-8", "surrogatepass")
        matches = [hmac.compare_digest(given, key.encode()) for key in self._configured]
        if any(matches):
            return UNLIMITED
        match = _FORM.match(secret)
        seen = self._records.get(match[1]) if match else None
        if match is None or seen is None:
            return None
        record, hashed = seen.value, _hash(secret)
        current = hmac.compare_digest(hashed, record.hash)
        before = hmac.compare_digest(hashed, record.previous_hash) and self._clock.wall() < record.previous_until
        if not current and not before:
            return None
        if record.revoked_at:
            raise ProblemError(401, "api-key-revoked", "This API key was revoked.", {"WWW-Authenticate": "Bearer"})
        return ApiKey(match[1], record)

    def report(self) -> list[dict[str, object]]:
        """What the admin API tells of each; no hash."""
        return [key_report(name, seen.value) for name, seen in self._records.items()]

    async def create(self, wish: KeyWish) -> tuple[str, str]:
        """Make a key. Returns: its id and the secret, which nobody can show again.

        Raises: ProblemError: the wish makes no sense; FabricError.
        """
        _check(wish)
        if len(self._records.items()) >= API_KEYS_MAX:
            raise ProblemError(409, "too-many-keys", f"There are {API_KEYS_MAX} keys; revoked ones count too.")
        key_id = base64.b32encode(self._entropy.token_bytes(7)).decode().lower()[:10]
        secret = self._secret(key_id)
        record = KeyRecord(**msgspec.structs.asdict(wish), hash=_hash(secret), created_at=self._clock.wall())
        await self._store.create(_PREFIX + key_id, msgspec.json.encode(record))
        await self._records.refresh()
        return key_id, secret

    async def rotate(self, key_id: str, grace_s: int) -> str:
        """Give a key a new secret; the one before stays good for a while. Returns: the new secret.

        Args:
            grace_s: 0 to 30 days.
        Raises: ProblemError: `unknown-key`, `api-key-revoked`, `bad-request`; FabricError.
        """
        if not 0 <= grace_s <= _ROTATION_S_MAX:
            raise ProblemError(400, "bad-request", f"grace_s is 0 to {_ROTATION_S_MAX}.")
        secret = self._secret(key_id)
        until = self._clock.wall() + grace_s

        def turn(record: KeyRecord) -> KeyRecord:
            if record.revoked_at:
                raise ProblemError(409, "api-key-revoked", "This API key was revoked; create another one.")
            return msgspec.structs.replace(record, hash=_hash(secret), previous_hash=record.hash, previous_until=until)

        await self._change(key_id, turn)
        return secret

    async def revoke(self, key_id: str) -> KeyRecord:
        """Make a key worthless from now on. Revoking it again changes nothing.

        Raises: ProblemError: `unknown-key`; FabricError.
        """
        now = self._clock.wall()
        return await self._change(
            key_id, lambda record: msgspec.structs.replace(record, revoked_at=record.revoked_at or now)
        )

    def _secret(self, key_id: str) -> str:
        return f"vvk_{key_id}_{base64.urlsafe_b64encode(self._entropy.token_bytes(32)).rstrip(b'=').decode()}"

    async def _change(self, key_id: str, change: _Change) -> KeyRecord:
        for _ in range(LEASE_TRIES_MAX):
            try:
                if not _ID.match(key_id):
                    raise FabricError("not-found")
                entry = await self._store.get(_PREFIX + key_id)
                record = _decode(entry.value or b"")
                if record is None:
                    raise FabricError("not-found")
                changed = change(record)
                await self._store.update(_PREFIX + key_id, msgspec.json.encode(changed), entry.revision)
            except FabricError as error:
                if error.code == "not-found":
                    raise ProblemError(404, "unknown-key", "There is no API key with this id.") from None
                if error.code != "conflict":
                    raise
            else:
                await self._records.refresh()
                return changed
        raise FabricError("conflict", "somebody else changes this key again and again")


def key_report(key_id: str, record: KeyRecord) -> dict[str, object]:
    """A key as the admin API shows it."""
    row: dict[str, object] = {"id": key_id}
    for name in KeyWish.__struct_fields__:
        row[name] = msgspec.to_builtins(getattr(record, name))
    row["created_at"] = record.created_at
    row["revoked_at"] = record.revoked_at or None
    return row


def _check(wish: KeyWish) -> None:
    known = {"modes": {*MODES, MODE_AGENT}, "transports": set(ALL_SCOPES)}
    for name, words in known.items():
        strange = sorted(set(getattr(wish, name)) - words)
        if strange:
            raise ProblemError(400, "bad-request", f"{name}: {strange[0]!r} is none of {', '.join(sorted(words))}.")
    if not _NAME.match(wish.name):
        raise ProblemError(400, "bad-request", "name has 1 to 64 letters, digits, spaces or . : @ / - _.")
    if wish.sessions_max < 0 or wish.tickets_per_minute < 0:
        raise ProblemError(400, "bad-request", "Limits are 0 (none) or more.")
