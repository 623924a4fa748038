"""API keys: what they may, how many they get, their rotation and their end; and the admin API they are made by."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from core.speech.messages import SIGNING_KEYS_SUBJECT
from origin.dialogue.services import Shared
from tests.origin.desk import ADMIN, Desk, claims, desk

pytestmark = pytest.mark.asyncio(loop_scope="module")


def code(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["code"])


async def make(place: Desk, **wish: object) -> tuple[str, dict[str, str]]:
    """A key. Returns: its id, and the header that shows it."""
    response = await place.http.post("/v1/admin/keys", json={"name": "a partner", **wish}, headers=ADMIN)
    assert response.status_code == 201, response.text
    return response.json()["id"], {"Authorization": f"Bearer {response.json()['secret']}"}


async def admin(place: Desk, method: str, path: str, body: object = None) -> Any:
    response = await place.http.request(method, f"/v1/admin/{path}", json=body, headers=ADMIN)
    assert response.is_success, response.text
    assert response.headers["Cache-Control"] == "no-store"
    return response.json() if response.content else None


async def test_a_key_may_what_it_says(shared: Shared) -> None:
    async with desk(shared, allowed_origins=()) as place:
        _, key = await make(place, modes=["mirror"], characters=["mira"], transports=["webrtc"], regions=["eu"])
        assert code(await place.ask(), 403) == "origin-not-allowed"
        assert code(await place.ask(key, mode="conversation"), 403) == "key-scope"
        assert code(await place.ask(key, regions=["us"]), 403) == "key-scope"
        assert code(await place.ask(key, regions=["eu"]), 503) == "no-pop", "the POPs here are of no region"
        _, other = await make(place, characters=["somebody"], transports=["webrtc"])
        assert code(await place.ask(other), 403) == "key-scope"
        _, radio = await make(place, transports=["webrtc"])
        offer = (await place.ticket(radio))["pops"][0]
        assert claims(offer["token"])["scp"] == ["webrtc"]
        assert (await place.ticket({"Authorization": "Bearer config-key"}))["pops"]


async def test_a_key_gets_so_many(shared: Shared) -> None:
    async with desk(shared) as place:
        _, key = await make(place, sessions_max=2)
        answers = await asyncio.gather(*(place.ask(key) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [201, 201, 429, 429, 429]
        assert code(await place.ask(key), 429) == "too-many-sessions-of-key"
        taken = next(answer.json()["session_id"] for answer in answers if answer.is_success)
        await admin(place, "DELETE", f"sessions/{taken}")
        async with asyncio.timeout(2):
            while (await place.ask(key)).status_code != 201:
                await asyncio.sleep(0.01)
        _, hasty = await make(place, tickets_per_minute=2)
        answers = [await place.ask(hasty, character="nobody") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [404, 404, 429]
        assert answers[-1].headers["Retry-After"] == "30"


async def test_rotation_and_revocation(shared: Shared) -> None:
    async with desk(shared) as place:
        key_id, old = await make(place)
        secret = (await admin(place, "POST", f"keys/{key_id}/rotate", {"grace_s": 60}))["secret"]
        new = {"Authorization": f"Bearer {secret}"}
        assert (await place.ask(old)).status_code == (await place.ask(new)).status_code == 201
        place.clock.advance(61)
        await place.store.put("pops.a", (await place.store.get("pops.a")).value or b"")
        assert code(await place.ask(old), 401) == "bad-api-key"
        session = (await place.ticket(new))["session_id"]
        assert await admin(place, "DELETE", f"keys/{key_id}") == {"id": key_id, "sessions_ended": 3}
        assert code(await place.ask(new), 401) == "api-key-revoked"
        assert code(await place.renew(session), 404) == "unknown-session"
        assert (await admin(place, "DELETE", f"keys/{key_id}"))["sessions_ended"] == 0
        rotated = await place.http.post(f"/v1/admin/keys/{key_id}/rotate", headers=ADMIN)
        assert code(rotated, 409) == "api-key-revoked"


async def test_secrets_are_shown_once_and_never_kept(shared: Shared) -> None:
    async with desk(shared) as place:
        key_id, key = await make(place, admin=True)
        secret = key["Authorization"].removeprefix("Bearer ")
        shown = await place.http.get("/v1/admin/keys", headers=key)
        assert secret not in shown.text and "hash" not in shown.text
        assert shown.json()["keys"][0]["id"] == key_id
        for name in await place.store.keys(""):
            assert secret.encode() not in ((await place.store.get(name)).value or b"")
        forged = secret[:-3] + ("AAA" if not secret.endswith("AAA") else "BBB")
        for wrong in (forged, f"vvk_{key_id}_", "vvk_", "x" * 300, "é"):
            refused = await place.ask({"Authorization": b"Bearer " + wrong.encode()})  # type: ignore[dict-item]
            assert code(refused, 401) == "bad-api-key"


async def test_who_may_administrate(shared: Shared) -> None:
    async with desk(shared, admin_keys=("second",)) as place:
        _, plain = await make(place)
        _, chief = await make(place, admin=True)
        for path in ("sessions", "pops", "workers", "keys", "signing-keys"):
            assert code(await place.http.get(f"/v1/admin/{path}"), 401) == "admin-key-required"
            assert code(await place.http.get(f"/v1/admin/{path}", headers=plain), 403) == "not-an-admin-key"
            wrong = {"Authorization": "Bearer nobody"}
            assert code(await place.http.get(f"/v1/admin/{path}", headers=wrong), 401) == "bad-api-key"
            for good in (chief, ADMIN, {"Authorization": "Bearer second"}):
                assert (await place.http.get(f"/v1/admin/{path}", headers=good)).status_code == 200
        usual = {"Authorization": "Bearer config-key"}
        assert code(await place.http.get("/v1/admin/keys", headers=usual), 403) == "not-an-admin-key"


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"name": ""},
        {"name": "x" * 65},
        {"name": "a\nb"},
        {"name": "x", "modes": ["karaoke"]},
        {"name": "x", "transports": ["pigeon"]},
        {"name": "x", "sessions_max": -1},
        {"name": "x", "hash": "mine"},
        {"name": "x", "admin": "yes"},
    ],
)
async def test_keys_that_make_no_sense(shared: Shared, wish: dict[str, object]) -> None:
    async with desk(shared) as place:
        assert code(await place.http.post("/v1/admin/keys", json=wish, headers=ADMIN), 400) == "bad-request"
        assert (await admin(place, "GET", "keys"))["keys"] == []


async def test_what_there_is_not(shared: Shared) -> None:
    async with desk(shared) as place:
        for method, path, status, wanted in (
            ("DELETE", "sessions/x", 404, "unknown-session"),
            ("DELETE", "sessions/a.b", 404, "unknown-session"),
            ("DELETE", "keys/x", 404, "unknown-key"),
            ("DELETE", "keys/aaaaaaaaaa", 404, "unknown-key"),
            ("POST", "keys/aaaaaaaaaa/rotate", 404, "unknown-key"),
            ("GET", "nothing", 404, "not-found"),
        ):
            assert code(await place.http.request(method, f"/v1/admin/{path}", headers=ADMIN), status) == wanted
        big = await place.http.post("/v1/admin/keys", content=b" " * 5_000, headers=ADMIN)
        assert code(big, 413) == "body-too-large"


async def test_sessions_and_pops_are_shown(shared: Shared) -> None:
    async with desk(shared) as place:
        session = (await place.ticket())["session_id"]
        (row,) = (await admin(place, "GET", "sessions"))["sessions"]
        assert row["id"] == session and not row["opened"] and row["bound"] and row["pop"] is None
        assert row["candidates"] and row["mode"] == "mirror"
        assert [(row["name"], row["state"]) for row in (await admin(place, "GET", "pops"))["pops"]] == [
            ("a", "serving"),
            ("b", "serving"),
        ]
        assert await admin(place, "GET", "workers") == {"workers": []}


async def test_signing_keys_rotate_and_pops_hear_of_it(shared: Shared) -> None:
    async with desk(shared) as place:
        heard = await place.bus.subscribe(SIGNING_KEYS_SUBJECT)
        before = await admin(place, "GET", "signing-keys")
        after = await admin(place, "POST", "signing-keys/rotate")
        assert (after["current"], after["previous"]) == (before["next"], before["current"])
        async with asyncio.timeout(1):
            await anext(aiter(heard))
        published = (await place.http.get("/.well-known/jwks.json")).json()["keys"]
        assert {key["kid"] for key in published} == set(after.values())
        assert all("d" not in key for key in published)
        await admin(place, "POST", "signing-keys/rotate")
        published = (await place.http.get("/.well-known/jwks.json")).json()["keys"]
        assert before["current"] not in {key["kid"] for key in published}
