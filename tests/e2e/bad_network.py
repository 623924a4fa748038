"""Puts relays between a page and its POP: the page is told other addresses, over WebTransport and over WebRTC alike.

A relay has one target, and each WebRTC link of the POP has a port of its own, so there is one relay per answer; over
WebTransport there is one for the POP's port. HTTP is not impaired: what is lost there TCP sends again.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, Route

from loadtests.link_model import LinkProfile
from loadtests.profiles import PROFILES
from loadtests.relay import Address, Relay

__all__ = ["BadNetwork", "gilbert"]

_LOOPBACK = "127.0.0.1"
_TICKETS = re.compile(r"/v1/sessions$")
_OFFERS = re.compile(r"/v1/sessions/[^/]+/webrtc(/.*)?$")
_CANDIDATE = re.compile(r"^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host.*$", re.IGNORECASE)


def gilbert(loss: float, burst: float, *, delay_s: float = 0.02, jitter_s: float = 0.0) -> LinkProfile:
    """A link that loses this share of packets in runs of this mean length (Gilbert's model)."""
    leave = 1.0 / burst
    return LinkProfile(
        name=f"{loss:.0%} in runs of {burst:g}",
        loss_enter=leave * loss / (1.0 - loss),
        loss_leave=leave,
        delay_s=delay_s,
        jitter_s=jitter_s,
    )


class BadNetwork:
    """One viewer's way to the POP: `async with BadNetwork() as network: visit(…, network=network)`.

    Args:
        profile: what it begins with. A path that suddenly becomes longer looks crowded to a rate controller; so tests
            that are about loss begin with the delay that stays.
        tamper: share of the datagrams that are tampered with (`loadtests.tamper`).

    Attributes:
        relays: all that were needed so far, the newest last.
    """

    def __init__(self, profile: LinkProfile = PROFILES["perfect"], *, seed: int = 1, tamper: float = 0.0) -> None:
        self.relays: list[Relay] = []
        self._profile = profile
        self._seed = seed
        self._tamper = tamper
        self._by_target: dict[Address, Relay] = {}
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> BadNetwork:
        return self

    async def __aexit__(self, *_: object) -> None:
        for relay in self.relays:
            await relay.aclose()

    async def attach(self, context: BrowserContext) -> None:
        """From now on the pages of this context are told the relays' addresses."""
        await context.route(_TICKETS, self._on_ticket)
        await context.route(_OFFERS, self._on_signalling)

    def impair(self, profile: LinkProfile) -> None:
        """Every path, also those to come, is like this from now on."""
        self._profile = profile
        for relay in self.relays:
            relay.impair(profile)

    def cut(self) -> None:
        """The paths in use die for good; whoever comes from elsewhere gets through."""
        for relay in self.relays:
            relay.cut()

    def pause(self, paused: bool) -> None:
        """Nothing gets through on any path, or all of it again."""
        for relay in self.relays:
            relay.paused = paused

    def fates(self) -> Counter[str]:
        """What became of the datagrams, both ways, all relays together."""
        found: Counter[str] = Counter()
        for relay in self.relays:
            report = relay.report()
            for part in ("to_target", "from_target", "tampered", "refused"):
                found.update(report[part])
        return found

    async def relay_to(self, target: Address) -> Address:
        """Address of the relay whose target this is."""
        async with self._starting:
            relay = self._by_target.get(target)
            if relay is None:
                relay = await Relay.start((_LOOPBACK, 0), target, self._profile, seed=self._seed, tamper=self._tamper)
                self._by_target[target] = relay
                self.relays.append(relay)
        return relay.address

    async def _on_ticket(self, route: Route) -> None:
        response = await route.fetch()
        if response.status != 201:
            await route.fulfill(response=response)
            return
        ticket = await response.json()
        for pop in ticket["pops"]:
            if "webtransport" in pop:
                url = urlsplit(pop["webtransport"]["url"])
                host, port = await self.relay_to((url.hostname or _LOOPBACK, url.port or 443))
                pop["webtransport"]["url"] = f"https://{host}:{port}"
        await route.fulfill(response=response, body=json.dumps(ticket))

    async def _on_signalling(self, route: Route) -> None:
        """The POP must not learn where the page really is, or it would send its checks past the relay."""
        request = route.request
        if request.method == "PATCH":
            await route.fulfill(status=204)
        elif request.method != "POST":
            await route.continue_()
        else:
            response = await route.fetch(post_data=_without_candidates(request.post_data or ""))
            body = await response.text()
            await route.fulfill(response=response, body=await self._relayed(body) if response.status == 201 else body)

    async def _relayed(self, answer: str) -> str:
        """The answer with one candidate, the relay's."""
        found = [match for line in answer.splitlines() if (match := _CANDIDATE.match(line))]
        assert found, "the POP offers an IPv4 address"
        best = next((match for match in found if match[1] == _LOOPBACK), found[0])
        host, port = await self.relay_to((best[1], int(best[2])))
        line = f"a=candidate:1 1 udp 2130706431 {host} {port} typ host\r\n"
        return _without_candidates(answer).replace("a=ice-ufrag:", f"{line}a=ice-ufrag:", 1)


def _without_candidates(sdp: str) -> str:
    return re.sub(r"^a=candidate:.*\r?\n", "", sdp, flags=re.MULTILINE)
