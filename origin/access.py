"""Who may ask this origin for what: API keys, pages, this machine; and how often.

Who comes with a key is measured by the key's limits; everybody else by the address.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from core.session.rates import Rates
from origin.api_keys import ApiKey, ApiKeys, KeyRecord
from origin.config import OriginConfig
from origin.pops import Pops
from origin.problems import ProblemError

__all__ = ["Access", "Caller"]

_BEARER: Final = {"WWW-Authenticate": "Bearer"}
_LOCAL: Final = KeyRecord(name="", hash="", created_at=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and may.

    Attributes:
        name: no two callers have the same; keys by id, others by address.
        key_id: empty: no key, or one of the configuration.
        limits: what it may ask for.
        address: where it comes from, as far as can be told.
        carrier: the mobile network of that address; empty: none that is known.
    """

    name: str
    key_id: str
    limits: KeyRecord
    address: str
    carrier: str


class Access:
    """See the module docstring.

    Args:
        admin_secret: what the operator of this machine finds in the runtime directory; empty: nothing.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: OriginConfig,
        keys: ApiKeys,
        pops: Pops,
        clock: Callable[[], float],
        *,
        admin_secret: str = "",
    ) -> None:
        self._config = config
        self._keys = keys
        self._pops = pops
        self._clock = clock
        self._admin = tuple(secret for secret in (admin_secret, *config.admin_keys) if secret)
        self._carriers = sorted(
            ((ipaddress.ip_network(text, strict=False), name) for text, name in config.carriers.items()),
            key=lambda pair: -pair[0].prefixlen,
        )
        self._proxies = [ipaddress.ip_network(text, strict=False) for text in config.trusted_proxies]
        self._rates = Rates()

    def page_allowed(self, page: str | None) -> bool:
        """Whether pages of this web origin get tickets here."""
        pages = {_origin_of(pop.url) for pop in self._pops.records()}
        pages.update(value.rstrip("/") for value in self._config.allowed_origins)
        # A POP on this machine is the same page under both of its names.
        pages.update(_other_name(known) for known in list(pages))
        return page is not None and page in pages

    async def admit(self, request: Request, page_allowed: bool) -> Caller:
        """Who asks for a session. Raises: ProblemError: this client gets no ticket."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        address = self.address_of(request)
        if scheme:
            await self._keys.start()
            key = self._keys.find(secret.strip()) if scheme.lower() == "bearer" else None
            if key is None:
                raise ProblemError(401, "bad-api-key", "This API key is not known.", _BEARER)
            name = f"key {key.key_id}" if key.key_id else "configuration"
            return self._caller(name, key, address)
        local = self._config.allow_local and _is_local(request)
        if "origin" in request.headers:
            if not page_allowed:
                raise ProblemError(403, "origin-not-allowed", "Pages of this origin get no tickets here.")
        elif not local:
            raise ProblemError(401, "api-key-required", "Send an API key (Authorization: Bearer).", _BEARER)
        return self._caller(f"address {address}", ApiKey("", _LOCAL), address)

    async def admit_admin(self, request: Request) -> None:
        """Raises: ProblemError: this client may not administrate."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise ProblemError(401, "admin-key-required", "Send an admin key (Authorization: Bearer).", _BEARER)
        given = secret.strip().encode()
        matches = [hmac.compare_digest(given, known.encode()) for known in self._admin]
        if any(matches):
            return
        await self._keys.start()
        key = self._keys.find(secret.strip())
        if key is None:
            raise ProblemError(401, "bad-api-key", "This API key is not known.", _BEARER)
        if not key.record.admin:
            raise ProblemError(403, "not-an-admin-key", "This API key may not administrate.")

    def count(self, caller: Caller) -> None:
        """One more session is asked for. Raises: ProblemError: `too-many-tickets`."""
        if caller.key_id:
            self._count(caller.name, caller.limits.tickets_per_minute)
        elif caller.name.startswith("address"):
            self.count_address(caller.address)

    def count_address(self, address: str) -> None:
        """One more request from there. This machine's own are not counted. Raises: ProblemError."""
        if not _is_loopback(address):
            self._count(f"address {address}", self._config.tickets_per_minute_per_address)

    def count_session(self, session_id: str, per_minute: int) -> None:
        """New tickets for a session. Raises: ProblemError."""
        self._count(f"session {session_id}", per_minute)

    def address_of(self, request: Request) -> str:
        """Where a request comes from: the nearest address that no proxy of ours has."""
        address = request.client.host if request.client is not None else ""
        hops = [hop.strip() for hop in request.headers.get("x-forwarded-for", "").split(",") if hop.strip()]
        while hops and self._is_proxy(address):
            address = hops.pop()
        return address

    def carrier_of(self, address: str) -> str:
        """The mobile network of an address, by the longest prefix; empty: none that is known."""
        found = _parse(address)
        return next((name for network, name in self._carriers if found is not None and found in network), "")

    def _caller(self, name: str, key: ApiKey, address: str) -> Caller:
        return Caller(
            name=name, key_id=key.key_id, limits=key.record, address=address, carrier=self.carrier_of(address)
        )

    def _count(self, name: str, per_minute: int) -> None:
        wait_s = self._rates.ask(name, per_minute, self._clock())
        if wait_s > 0.0:
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise ProblemError(429, "too-many-tickets", "That is too often; wait a moment.", headers)

    def _is_proxy(self, address: str) -> bool:
        found = _parse(address)
        return found is not None and any(found in network for network in self._proxies)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _is_loopback(address: str) -> bool:
    found = _parse(address)
    return found is not None and found.is_loopback


def _is_local(request: Request) -> bool:
    """A client on this machine that no proxy speaks for."""
    if "forwarded" in request.headers or "x-forwarded-for" in request.headers or request.client is None:
        return False
    return _is_loopback(request.client.host)


def _origin_of(url: str) -> str:
    """The web origin of a URL (RFC 6454): scheme, host and port, the port only when it is not the usual one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _other_name(origin: str) -> str:
    """The same page by the other name of this machine; other machines stay themselves."""
    host = urlsplit(origin).hostname or ""
    other = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host, host)
    return origin.replace(f"//{host}", f"//{other}", 1)
