"""Tickets: several POPs, the same request again, new ones for the same session, and who has it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import httpx
import pytest

from core.fabric.memory import MemoryStore
from core.limits import POP_LOAD_MAX, POP_SILENCE_S_MAX, PROOF_AGE_S_MAX, REQUEST_ID_LIFETIME_S
from core.session.proof import parse_public_key
from core.session.turn_credentials import turn_credentials
from core.speech.messages import PopPresence, SessionEnd, decode_down, down_subject, encode, presence_subject
from loadtests.proof_key import ProofKey
from origin.dialogue.services import Shared
from tests.origin.desk import Desk, claims, desk, pop, reopened

pytestmark = pytest.mark.asyncio(loop_scope="module")


def code(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["code"])


async def opens(place: Desk, session: str, name: str, epoch: int, *, here: bool = True) -> list[SessionEnd]:
    """A POP claims a session. Returns: what the origin says to that."""
    down = await place.bus.subscribe(down_subject(session))
    said: list[SessionEnd] = []

    async def listen() -> None:
        async for message in down:
            received = decode_down(message.payload)
            if isinstance(received, SessionEnd):
                said.append(received)

    listening = asyncio.create_task(listen())
    presence = PopPresence(pop=name, epoch=epoch, here=here)
    await place.bus.publish(presence_subject(session), encode(presence))
    await asyncio.sleep(0.02)
    await down.aclose()
    await listening
    return said


async def test_each_pop_has_its_own_token_and_epoch(shared: Shared) -> None:
    async with desk(shared, pops=tuple(pop(name) for name in "abcd")) as place:
        ticket = await place.ticket()
        offers = ticket["pops"]
        assert len({offer["name"] for offer in offers}) == 3 and [offer["epoch"] for offer in offers] == [1, 2, 3]
        thumbprint = parse_public_key(place.key.jwk).thumbprint
        for offer in offers:
            said = claims(offer["token"])
            assert (said["aud"], said["epoch"], said["cnf"]) == (offer["name"], offer["epoch"], {"jkt": thumbprint})
            assert said["exp"] - said["iat"] <= 60
        assert len({claims(offer["token"])["jti"] for offer in offers}) == 3
        again = await place.ticket()
        assert again["pops"][0]["name"] in {offer["name"] for offer in offers}


async def test_the_first_pop_that_opens_has_the_session(shared: Shared) -> None:
    async with desk(shared) as place:
        ticket = await place.ticket()
        session, (first, second) = ticket["session_id"], ticket["pops"]
        assert await opens(place, session, second["name"], second["epoch"]) == []
        assert (await place.record(session))["pop"] == second["name"]
        assert await opens(place, session, first["name"], first["epoch"]) == [
            SessionEnd(reason="superseded", epoch=first["epoch"])
        ]
        assert await opens(place, session, "nobody", 9) == [SessionEnd(reason="superseded", epoch=9)]
        assert await opens(place, session, first["name"], first["epoch"], here=False) == []
        assert place.broker.sessions.has(session), "the loser's goodbye ends nothing"
        assert await opens(place, session, second["name"], second["epoch"], here=False) == []
        async with asyncio.timeout(2):
            while place.broker.sessions.has(session):
                await asyncio.sleep(0.01)
        assert await opens(place, session, first["name"], first["epoch"]) == [
            SessionEnd(reason="ended", epoch=first["epoch"])
        ]
        await place.bus.publish(presence_subject("x"), b"garbage")


async def test_new_tickets_fence_the_pop_before(shared: Shared) -> None:
    async with desk(shared) as place:
        ticket = await place.ticket()
        session, (first, second) = ticket["session_id"], ticket["pops"]
        await opens(place, session, first["name"], first["epoch"])
        renewed = (await place.renew(session, avoid=[first["name"]])).json()
        assert renewed["session_id"] == session
        assert [(offer["name"], offer["epoch"]) for offer in renewed["pops"]] == [(second["name"], 3)]
        assert await opens(place, session, first["name"], first["epoch"]) == [], "until the new one opens"
        assert await opens(place, session, second["name"], 3) == [SessionEnd(reason="superseded", epoch=1)]
        assert await opens(place, session, first["name"], first["epoch"]) == [SessionEnd(reason="superseded", epoch=1)]
        # Where nobody else is there, the POP that is avoided is better than none.
        await place.store.put("pops.b" if second["name"] == "b" else "pops.a", pop(second["name"], serving=False))
        await asyncio.sleep(0)
        names = [offer["name"] for offer in (await place.renew(session, avoid=[first["name"]])).json()["pops"]]
        assert names == [first["name"]]


async def test_who_may_have_new_tickets(shared: Shared) -> None:
    async with desk(shared) as place:
        session = (await place.ticket())["session_id"]
        other = ProofKey(lambda: float(place.clock.wall()))
        assert code(await place.renew("nobody"), 404) == "unknown-session"
        assert code(await place.renew(session, {}), 401) == "proof-missing"
        assert code(await place.renew(session, place.proof(session, other)), 401) == "proof-wrong-key"
        assert code(await place.renew(session, place.proof("another")), 401) == "proof-wrong-request"
        proof = place.proof(session)
        assert (await place.renew(session, proof)).status_code == 201
        assert code(await place.renew(session, proof), 401) == "proof-replayed"
        late = place.proof(session)
        place.clock.advance(PROOF_AGE_S_MAX + 1)
        assert code(await place.renew(session, late), 401) == "proof-expired"
        refusals = [await place.renew(session) for _ in range(40)]
        assert code(refusals[-1], 429) == "too-many-tickets" and int(refusals[-1].headers["Retry-After"]) > 0


async def test_the_same_request_gets_the_same_session_and_tokens(shared: Shared) -> None:
    async with desk(shared) as place:
        first = await place.ticket(request_id="r-1")
        assert await place.ticket(request_id="r-1") == first
        assert await place.ticket(headers={"Idempotency-Key": '"r-1"'}) == first
        assert (await place.ticket(request_id="r-2"))["session_id"] != first["session_id"]
        assert code(await place.ask(request_id="r-1", mode="conversation"), 422) == "request-id-reused"
        assert code(await place.ask(headers={"Idempotency-Key": "x"}, request_id="r-1"), 400) == "bad-request"
        for bad in ("x" * 129, "\x07", "é"):
            assert code(await place.ask(request_id=bad), 400) == "bad-request"
        asked = await asyncio.gather(*(place.ticket(request_id="r-3") for _ in range(10)))
        assert len({ticket["session_id"] for ticket in asked}) == 1
        assert place.broker.count == 3
        mine = await place.ticket(request_id="r-1", headers={"Authorization": "Bearer config-key"})
        assert mine["session_id"] != first["session_id"], "another caller's request ids are its own"
        # Used tokens are replaced by others, of the same session.
        await opens(place, first["session_id"], first["pops"][0]["name"], 1)
        used = await place.ticket(request_id="r-1")
        assert used["session_id"] == first["session_id"]
        assert [offer["epoch"] for offer in used["pops"]] == [3, 4]
        place.clock.advance(45)
        await place.store.put("pops.a", pop("a", beats=2))
        await asyncio.sleep(0)
        late = await place.ticket(request_id="r-1")
        assert [offer["epoch"] for offer in late["pops"]] == [5], "expired ones, too"


async def test_a_request_outlives_the_origin(shared: Shared) -> None:
    async with desk(shared) as place:
        first = await place.ticket(request_id="r-1")
        await place.store.put("sessions.kept", (await place.store.get(f"sessions.{first['session_id']}")).value or b"")
        request = next(key for key in await place.store.keys("requests."))
        value = json.loads((await place.store.get(request)).value or b"")
    await place.store.put(request, json.dumps({**value, "session": "kept"}).encode())
    async with reopened(shared, place.store, place.bus, place.clock, signer=place.signer, key=place.key) as again:
        assert await again.broker.adopt() == 1
        assert (await again.ticket(request_id="r-1"))["session_id"] == "kept"
        await again.broker.kick("kept")
        assert code(await again.ask(request_id="r-1"), 410) == "session-ended"
        again.clock.advance(REQUEST_ID_LIFETIME_S + 1)
        assert await again.broker.requests.sweep() == 1
        await again.store.put("pops.a", pop("a", beats=9))
        await asyncio.sleep(0)
        assert (await again.ticket(request_id="r-1"))["session_id"] != "kept"


async def test_a_request_that_failed_may_be_asked_again(shared: Shared) -> None:
    async with desk(shared, pops=()) as place:
        assert code(await place.ask(request_id="r-1"), 503) == "no-pop"
        assert await place.store.keys("requests.") == []
        await place.store.put("pops.a", pop("a"))
        assert (await place.ticket(request_id="r-1"))["pops"][0]["name"] == "a"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"serving": False}, "no-pop"),
        ({"load": POP_LOAD_MAX}, "overloaded"),
        ({"region": "us"}, "no-pop"),
        ({"carrier": "acme"}, "no-pop"),
        ({"protocols": ["cmaf"]}, "no-pop"),
    ],
)
async def test_who_is_sent_nowhere(shared: Shared, changes: dict[str, Any], why: str) -> None:
    async with desk(shared, pops=(pop("a", **changes),)) as place:
        response = await place.ask(regions=["eu"] if "region" in changes else None)
        assert code(response, 503) == why
        assert int(response.headers["Retry-After"]) > 0
        assert await place.store.keys("sessions.") == []


async def test_a_pop_whose_beats_stop_is_not_given_out(shared: Shared) -> None:
    async with desk(shared) as place:
        place.clock.advance(POP_SILENCE_S_MAX + 0.1)
        await place.store.put("pops.a", pop("a", beats=2))
        await asyncio.sleep(0)
        assert [offer["name"] for offer in (await place.ticket())["pops"]] == ["a"]
        assert place.broker.pops.states() == {"serving": 1, "silent": 1}
        place.clock.advance(POP_SILENCE_S_MAX + 0.1)
        assert code(await place.ask(), 503) == "no-pop"
        await place.store.put("pops.b", pop("b", beats=0))  # of a version that does not beat
        await asyncio.sleep(0)
        assert [offer["name"] for offer in (await place.ticket())["pops"]] == ["b"]


async def test_who_is_placed_counts_until_the_next_beat(shared: Shared) -> None:
    async with desk(shared, pops=(pop("a", capacity=2), pop("b", capacity=2))) as place:
        firsts = [(await place.ticket())["pops"][0]["name"] for _ in range(4)]
        assert sorted(firsts) == ["a", "a", "b", "b"]
        assert code(await place.ask(), 503) == "overloaded"


async def test_a_carriers_pop_is_for_its_network_only(shared: Shared) -> None:
    changes: dict[str, Any] = {"carriers": {"198.51.100.0/24": "acme", "198.51.100.128/25": "other"}}
    pops = (pop("zone", carrier="acme"), pop("open"))
    for address, names in (
        ("198.51.100.7", {"zone", "open"}),
        ("198.51.100.200", {"open"}),
        ("::ffff:198.51.100.7", {"zone", "open"}),
        ("192.0.2.1", {"open"}),
    ):
        async with desk(shared, pops=pops, address=address, **changes) as place:
            assert {offer["name"] for offer in (await place.ticket())["pops"]} == names, address
    async with desk(shared, pops=pops, trusted_proxies=("192.0.2.0/24",), **changes) as place:
        for forwarded, names in (("198.51.100.7", {"zone", "open"}), ("198.51.100.7, 203.0.113.5", {"open"})):
            offers = (await place.ticket(headers={"X-Forwarded-For": forwarded}))["pops"]
            assert {offer["name"] for offer in offers} == names, forwarded


async def test_relays_are_given_with_credentials_that_expire(shared: Shared) -> None:
    async with desk(shared, turn_urls=("turn:turn.example:3478",), turn_secret="north") as place:
        ticket = await place.ticket()
        (server,) = ticket["ice_servers"]
        expires_at = ticket["issued_at"] + 86_400
        granted = turn_credentials("north", user=ticket["session_id"], expires_at=expires_at)
        assert server == {
            "urls": ["turn:turn.example:3478"],
            "username": granted.username,
            "credential": granted.credential,
        }


async def test_keys_that_prove_something(shared: Shared) -> None:
    async with desk(shared, require_proof=True) as place:
        assert code(await place.ask(key=None), 400) == "proof-key-required"
        assert code(await place.ask(key={**place.key.jwk, "d": "AA"}), 400) == "bad-proof-key"
        assert code(await place.ask(key={"kty": "RSA"}), 400) == "bad-proof-key"
        assert "cnf" in claims((await place.ticket())["pops"][0]["token"])
    async with desk(shared) as place:
        assert "cnf" not in claims((await place.ticket(key=None))["pops"][0]["token"])


async def test_unbound_sessions_are_renewed_by_the_key_that_asked(shared: Shared) -> None:
    async with desk(shared) as place:
        made = await place.http.post("/v1/admin/keys", json={"name": "x"}, headers={"Authorization": "Bearer operator"})
        bearer = {"Authorization": f"Bearer {made.json()['secret']}"}
        session = (await place.ticket(headers=bearer, key=None))["session_id"]
        assert code(await place.renew(session, {}), 403) == "origin-not-allowed"
        assert code(await place.renew(session, {"Authorization": "Bearer config-key"}), 403) == "not-your-session"
        assert (await place.renew(session, bearer)).status_code == 201


async def test_addresses_ask_only_so_often(shared: Shared) -> None:
    async with desk(shared, tickets_per_minute_per_address=3) as place:
        answers = [await place.ask(character="nobody") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
        assert answers[-1].headers["Retry-After"] == "20"
        assert answers[-1].headers["Access-Control-Allow-Origin"] == "http://page.example"
        place.clock.advance(20)
        assert code(await place.ask(character="nobody"), 404) == "unknown-character"
    async with desk(shared, tickets_per_minute_per_address=1, address="127.0.0.1") as place:
        for _ in range(3):
            assert (await place.ask()).status_code == 201, "this machine is not counted"


async def test_a_page_may_send_its_proof(shared: Shared) -> None:
    async with desk(shared) as place:
        session = (await place.ticket())["session_id"]
        path = f"/v1/sessions/{session}/tickets"
        preflight = await place.http.options(path, headers={"Access-Control-Request-Headers": "dpop"})
        assert "DPoP" in preflight.headers["Access-Control-Allow-Headers"]
        assert (await place.renew(session)).headers["Access-Control-Allow-Origin"] == "http://page.example"


async def test_the_benchmark_counts_tickets_that_were_given(shared: Shared) -> None:
    from loadtests.bench._tickets import measure_tickets

    store = MemoryStore()
    figures = await measure_tickets(store, 0.1)
    assert figures.per_s > 0 and len(await store.keys("requests.")) >= len(figures.loaded_s) > 0
    assert set(figures.details()) >= {"tickets_per_s", "ticket_ms_p50_alone", "ticket_ms_p99_under_load"}
    assert await store.keys("sessions.") == []


async def test_no_more_go_on_than_there_is_room_for_each_key(shared: Shared) -> None:
    config = dataclasses.replace(shared.config, sessions_max=2)
    async with desk(dataclasses.replace(shared, config=config)) as place:
        answers = await asyncio.gather(*(place.ask() for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [201, 201, 503, 503, 503]
