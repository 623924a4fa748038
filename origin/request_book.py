"""Requests by their ids: a client that asks again with the same id, because it heard no answer, gets the same session.

What a request was given is written before anything else happens, so that it holds over a restart of the origin.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from core.errors import FabricError
from core.fabric.store import Store
from core.host.clock import Clock
from core.limits import REQUEST_ID_LIFETIME_S
from origin.problems import ProblemError
from origin.records import REQUESTS_PREFIX, SESSIONS_PREFIX, RequestRecord, decode_request, request_key

__all__ = ["Request", "RequestBook"]

_SWEEP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """A request under its id.

    Attributes:
        session_id: what its session is called, now and always.
        first: it was never heard of before.
        done: it was answered before.
    """

    session_id: str
    first: bool
    done: bool


class RequestBook:
    """See the module docstring."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}

    @asynccontextmanager
    async def book(self, caller: str, request_id: str, body: str, session_id: str) -> AsyncIterator[Request]:
        """Hold a request while it is answered; it is forgotten where that fails.

        Args:
            caller: whose request id it is.
            body: hash of what is asked for.
            session_id: for the session of a new request.

        Raises: ProblemError: `request-id-reused`; FabricError.
        """
        key = request_key(caller, request_id)
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                record, revision = await self._enter(
                    key, RequestRecord(session=session_id, body=body, created_at=self._clock.wall())
                )
                request = Request(record.session, record.session == session_id, record.done)
                try:
                    yield request
                except BaseException:
                    if not request.done:
                        with contextlib.suppress(FabricError):
                            await self._store.delete(key, revision)
                    raise
                if not request.done:
                    done = msgspec.structs.replace(record, done=True)
                    await self._store.update(key, msgspec.json.encode(done), revision)
        finally:
            if not lock.locked():
                self._locks.pop(key, None)

    async def _enter(self, key: str, fresh: RequestRecord) -> tuple[RequestRecord, int]:
        try:
            return fresh, await self._store.create(key, msgspec.json.encode(fresh))
        except FabricError as error:
            if error.code != "exists":
                raise
        entry = await self._store.get(key)
        record = decode_request(entry.value)
        if record is None:
            return fresh, await self._store.update(key, msgspec.json.encode(fresh), entry.revision)
        if record.body != fresh.body:
            raise ProblemError(
                422, "request-id-reused", "This request id was used for another request; choose a new one."
            )
        return record, entry.revision

    async def run(self) -> None:
        """Forget old requests, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            with contextlib.suppress(FabricError):
                await self.sweep()

    async def sweep(self) -> int:
        """Forget requests that are old and whose session is over. Returns: how many. Raises: FabricError."""
        forgotten = 0
        alive = {key.removeprefix(SESSIONS_PREFIX) for key in await self._store.keys(SESSIONS_PREFIX)}
        for key in await self._store.keys(REQUESTS_PREFIX):
            with contextlib.suppress(FabricError):  # somebody else was quicker
                entry = await self._store.get(key)
                record = decode_request(entry.value)
                old = record is None or self._clock.wall() - record.created_at > REQUEST_ID_LIFETIME_S
                if old and (record is None or record.session not in alive):
                    await self._store.delete(key, entry.revision)
                    forgotten += 1
        return forgotten
