"""Leave to talk: asking an origin for a session, and a POP for its origin."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx

from core.errors import VisavisError
from loadtests.proof_key import ProofKey

__all__ = [
    "HTTP_TIMEOUT_S",
    "Ticket",
    "ViewerError",
    "WebTransportOffer",
    "fetch_ticket",
    "find_origin",
    "http_client",
    "problem",
    "reason",
    "renew_ticket",
]

HTTP_TIMEOUT_S: Final = 10.0


class ViewerError(VisavisError):
    """The conversation cannot be had. The message is one sentence for people.

    Attributes:
        code: `origin-unreachable`, `origin-refused`, `pop-unreachable`, `pop-refused`, `connect-timeout`,
            `connection-lost` or `goaway`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class WebTransportOffer:
    """Where a POP answers WebTransport, and base64 SHA-256 of its certificates; none: a CA's certificate."""

    url: str
    certificate_hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Leave to hold one conversation at one POP.

    Attributes:
        webtransport: None where the POP offers none.
        key: what the token is bound to; None: to nothing.
        origin: who gave it.
        others: the same session at other POPs, in the order in which to try them.
    """

    session_id: str
    character: str
    pop_name: str
    pop_url: str
    token: str
    webtransport: WebTransportOffer | None = None
    key: ProofKey | None = None
    origin: str = ""
    others: tuple[Ticket, ...] = ()
    epoch: int = 0

    def at(self, offer: dict[str, Any]) -> Ticket:
        """The same session at another POP. Args: offer: an entry of an answer's `pops`."""
        return replace(
            self,
            pop_name=str(offer.get("name", "")),
            pop_url=str(offer.get("url", "")),
            token=str(offer.get("token", "")),
            webtransport=_offer(offer.get("webtransport")),
            epoch=int(offer.get("epoch", 0)),
        )


def http_client(url: str, timeout_s: float = HTTP_TIMEOUT_S) -> httpx.AsyncClient:
    """A client for this address. Reading the certificates of all the world takes 20 ms, which http needs none of."""
    return httpx.AsyncClient(timeout=timeout_s, trust_env=False, verify=url.startswith("https:"))


async def fetch_ticket(
    origin: str,
    *,
    pop: str | None = None,
    character: str | None = None,
    api_key: str | None = None,
    mode: str | None = None,
    bound: bool = True,
) -> Ticket:
    """Ask an origin for a session.

    Args:
        origin: its URL.
        pop: URL of the POP to use; None: the first one offered.
        character: who to talk to; None: the origin's default.
        api_key: for origins that ask for one.
        mode: one of core.session.claims.MODES; None: a conversation.
        bound: to a key of our own, so that nobody else can use it.
    Raises:
        ViewerError: the origin cannot be reached or refuses, or does not offer that POP.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    key = ProofKey() if bound else None
    wanted = (("character", character), ("mode", mode), ("key", key.jwk if key else None))
    body = {name: value for name, value in wanted if value}
    return await _ask(origin, "/v1/sessions", body, headers, key, pop)


async def renew_ticket(ticket: Ticket, *, avoid: tuple[str, ...] = ()) -> Ticket:
    """Ask for the same session at another POP, by the ticket's key.

    Args:
        avoid: names of POPs that have just failed.
    Raises:
        ViewerError: as of `fetch_ticket`; the session may have ended.
    """
    assert ticket.key is not None, "only whoever has the key of a ticket can renew it"
    path = f"/v1/sessions/{ticket.session_id}/tickets"
    headers = {"DPoP": ticket.key.prove("POST", f"{ticket.origin.rstrip('/')}{path}")}
    return await _ask(ticket.origin, path, {"avoid": list(avoid)}, headers, ticket.key, None)


async def _ask(
    origin: str, path: str, body: dict[str, Any], headers: dict[str, str], key: ProofKey | None, pop: str | None
) -> Ticket:
    async with http_client(origin) as http:
        try:
            response = await http.post(f"{origin.rstrip('/')}{path}", json=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ViewerError(
                "origin-unreachable", f"The origin at {origin} cannot be reached ({reason(error)}); is it running?"
            ) from error
    if response.status_code != httpx.codes.CREATED:
        raise ViewerError("origin-refused", f"The origin at {origin} refused a session: {problem(response)}")
    try:
        answer = response.json()
        offers = answer["pops"]
        chosen = next((o for o in offers if pop is None or o["url"].rstrip("/") == pop.rstrip("/")), None)
        if chosen is None and len(offers) == 1 and pop is not None:
            chosen = {**offers[0], "url": pop}  # the same POP under another name (localhost, a tunnel)
        if chosen is None:
            raise ViewerError("origin-refused", f"The origin at {origin} offers no POP{f' at {pop}' if pop else ''}.")
        if key is not None:
            key.set_clock(int(answer.get("issued_at", key.now)))
        first, *others = (
            _ticket(answer, one, origin, key)
            for one in (chosen, *(o for o in offers if pop is None and o is not chosen))
        )
        return replace(first, others=tuple(others))
    except (ValueError, KeyError, TypeError) as error:
        raise ViewerError("origin-refused", f"{origin} answered, but not like an origin of Visavis.") from error


def _ticket(answer: dict[str, Any], offer: dict[str, Any], origin: str, key: ProofKey | None) -> Ticket:
    return Ticket(
        session_id=str(answer["session_id"]),
        character=str(answer["character"]["name"]),
        pop_name=str(offer["name"]),
        pop_url=str(offer["url"]),
        token=str(offer["token"]),
        webtransport=_offer(offer.get("webtransport")),
        key=key,
        origin=origin,
        epoch=int(offer.get("epoch", 0)),
    )


def _offer(found: Any) -> WebTransportOffer | None:
    if found is None:
        return None
    return WebTransportOffer(str(found["url"]), tuple(str(one) for one in found.get("certificate_hashes", ())))


async def find_origin(pop: str) -> str:
    """Ask a POP which origin its page talks to.

    Raises:
        ViewerError: the POP cannot be reached, or does not say.
    """
    async with http_client(pop) as http:
        try:
            response = await http.get(f"{pop.rstrip('/')}/config.json")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ViewerError(
                "pop-unreachable", f"The POP at {pop} cannot be reached ({reason(error)}); is it running?"
            ) from error
    with contextlib.suppress(ValueError, KeyError, TypeError):
        if response.status_code == httpx.codes.OK and (url := str(response.json()["origin_url"])):
            return url
    raise ViewerError("pop-refused", f"{pop} answered, but not like a POP of Visavis; give --origin.")


def reason(error: Exception) -> str:
    """Why a request failed, for people."""
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    return str(error).strip() or type(error).__name__


def problem(response: httpx.Response) -> str:
    """What a refusal says, for people."""
    with contextlib.suppress(ValueError):
        document = response.json()
        if isinstance(document, dict):
            text = document.get("detail") or document.get("title") or document.get("code")
            if text:
                return f"{text} ({document.get('code', response.status_code)})"
    return f"HTTP {response.status_code}"
