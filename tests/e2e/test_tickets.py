"""Tickets among real processes: two POPs, one that dies, an operator who ends sessions, and a thief."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from loadtests.stack import Stack, another_pop, local_stack
from loadtests.tickets import Ticket, ViewerError, fetch_ticket
from loadtests.turn import ask, settle
from loadtests.viewer import Viewer

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFFER = {"Content-Type": "application/sdp"}


@pytest.fixture(scope="module")
def place() -> Iterator[Stack]:
    with local_stack() as stack:
        yield stack


def visavis(stack: Stack, *arguments: str) -> tuple[int, str]:
    """The command beside this origin."""
    found = subprocess.run(
        [sys.executable, "-m", "core.host.cli", *arguments, "--origin", stack.origin_url,
         "--set", f"origin.fabric={stack.directory}/fabric.sock"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return found.returncode, found.stdout + found.stderr


async def told(stack: Stack, *arguments: str) -> Any:
    code, said = await asyncio.to_thread(visavis, stack, *arguments, "--json")
    assert code == 0, said
    return json.loads(said)


async def offers(stack: Stack, count: int) -> Ticket:
    """A ticket that names so many POPs; each beats every two seconds."""
    async with asyncio.timeout(20):
        while True:
            ticket = await fetch_ticket(stack.origin_url)
            if len(ticket.others) + 1 == count:
                return ticket
            await asyncio.sleep(0.1)


async def until_over(viewer: Viewer, timeout_s: float = 5.0) -> ViewerError:
    with pytest.raises(ViewerError) as over:
        await viewer.wait_until(lambda _: False, timeout_s)
    return over.value


async def test_one_ticket_opens_one_pop(place: Stack) -> None:
    with another_pop(place, "second"):
        ticket = await offers(place, 2)
        assert {ticket.pop_name, ticket.others[0].pop_name} == {"local", "second"}
        first = Viewer(ticket, microphone=False)
        other = Viewer(ticket.others[0], transport="webtransport", microphone=False)
        try:
            await first.start()
            assert await first.wait_until(lambda viewer: viewer.ready, 10)
            (row,) = [row for row in (await told(place, "sessions", "list"))["sessions"] if row["opened"]]
            assert (row["id"], row["pop"], row["epoch"]) == (ticket.session_id, ticket.pop_name, 1)
            began = time.monotonic()
            with pytest.raises(ViewerError) as refused:  # sent away before it is ready, or right after that
                await other.start()
                await other.wait_until(lambda _: False, 5.0)
            print(f"\n{refused.value}")
            assert time.monotonic() - began < 2.0
            units = first.screen.units
            assert await first.wait_until(lambda viewer: viewer.screen.units > units + 10, 5), "the winner goes on"
        finally:
            await other.aclose()
            await first.aclose()


async def test_a_killed_pop_is_left_for_another_in_the_same_conversation(place: Stack) -> None:
    with another_pop(place, "doomed", "edge.region=moon") as doomed:
        async with asyncio.timeout(20):
            while "doomed" not in {row["name"] for row in (await told(place, "pops", "list"))["pops"]}:
                await asyncio.sleep(0.1)
        ticket = await fetch_ticket(place.origin_url, pop=doomed.url)
        viewer = Viewer(ticket, microphone=False)
        try:
            await viewer.start()
            await settle(viewer, quiet_s=0.3)
            os.kill(doomed.process.pid, signal.SIGKILL)
            began = time.monotonic()
            await viewer.change_pop()
            assert await viewer.wait_until(lambda viewer: viewer.screen.units > 5, 5)
            print(f"\nanother POP {1e3 * (time.monotonic() - began):.0f} ms after the first was killed")
            assert time.monotonic() - began < 2.0
            assert viewer.ticket.pop_name == "local"
            assert viewer.ticket.session_id == ticket.session_id
            turn = await ask(viewer, text="Tell me about Mars.", timeout_s=20.0, listen_s=0.5)
            assert "Mars" in turn.reply_text
        finally:
            await viewer.aclose()


@pytest.mark.parametrize("transport", ["webrtc", "webtransport"])
async def test_what_an_operator_ends_is_over_within_a_second(place: Stack, transport: Any) -> None:
    async with Viewer.connect(origin=place.origin_url, transport=transport, microphone=False) as viewer:
        await viewer.wait_until(lambda viewer: viewer.ready, 10)
        kicking = asyncio.create_task(told(place, "sessions", "kick", viewer.ticket.session_id))
        over = await until_over(viewer, 20.0)
        at = time.monotonic()
        await kicking
        assert at <= time.monotonic(), "the command had not even ended"
        assert "kicked" in str(over)
        assert over.code == "goaway"
        with pytest.raises(ViewerError, match="unknown-session"):
            await viewer.change_pop()
        assert viewer.ticket.session_id not in {
            row["id"] for row in (await told(place, "sessions", "list"))["sessions"]
        }


async def test_a_revoked_key_ends_what_it_has_opened(place: Stack) -> None:
    made = await told(place, "keys", "create", "a partner", "--sessions-max", "1", "--mode", "conversation")
    assert made["secret"].startswith("vvk_")
    code, said = await asyncio.to_thread(visavis, place, "keys", "list")
    assert code == 0 and "a partner" in said and made["secret"] not in said
    async with httpx.AsyncClient(base_url=place.origin_url) as http:
        admin = {"Authorization": f"Bearer {(place.directory / 'admin-key').read_text()}"}
        async with Viewer.connect(
            origin=place.origin_url, api_key=made["secret"], pop=place.pop_url, microphone=False
        ) as viewer:
            await viewer.wait_until(lambda viewer: viewer.ready, 10)
            with pytest.raises(ViewerError, match="too-many-sessions-of-key"):
                await fetch_ticket(place.origin_url, api_key=made["secret"])
            began = time.monotonic()
            answer = (await http.delete(f"/v1/admin/keys/{made['id']}", headers=admin)).json()
            over = await until_over(viewer)
            took_s = time.monotonic() - began
            print(f"\nover {1e3 * took_s:.0f} ms after its key was revoked")
            assert answer == {"id": made["id"], "sessions_ended": 1}
            assert over.code == "goaway" and "key-revoked" in str(over)
            assert took_s < 1.0
        with pytest.raises(ViewerError, match="api-key-revoked"):
            await fetch_ticket(place.origin_url, api_key=made["secret"])
    assert place.log.read_text().find(made["secret"]) < 0


async def test_a_stolen_ticket_is_useless_and_still_good_for_its_owner(place: Stack) -> None:
    ticket = await fetch_ticket(place.origin_url, pop=place.pop_url)
    thief = await fetch_ticket(place.origin_url, pop=place.pop_url)
    url = f"{place.pop_url}/v1/sessions/{ticket.session_id}/webrtc"
    assert ticket.key is not None and thief.key is not None
    proofs = {
        "proof-missing": None,
        "proof-wrong-key": thief.key.prove("POST", url, ticket.token),
        "proof-wrong-request": ticket.key.prove("POST", f"{url}x", ticket.token),
        "proof-wrong-token": ticket.key.prove("POST", url, thief.token),
        "bad-proof": "garbage",
    }
    async with httpx.AsyncClient() as http:
        for code, proof in proofs.items():
            headers = {**OFFER, "Authorization": f"DPoP {ticket.token}", **({"DPoP": proof} if proof else {})}
            response = await http.post(url, content="v=0", headers=headers)
            assert (response.status_code, response.json()["code"]) == (401, code)
    async with asyncio.timeout(10):
        viewer = Viewer(ticket, microphone=False)
        await viewer.start()
        await viewer.aclose()


async def test_new_signing_keys_need_no_restart_of_anything(place: Stack) -> None:
    before = await fetch_ticket(place.origin_url, pop=place.pop_url)
    for _ in range(2):
        await told(place, "keys", "rotate-signing")
        async with Viewer.connect(origin=place.origin_url, pop=place.pop_url, microphone=False) as viewer:
            assert await viewer.wait_until(lambda viewer: viewer.ready, 10)
    late = Viewer(before, microphone=False)
    with pytest.raises(ViewerError, match="unknown-key"):
        await late.start()  # two rotations ago: its key is published no more
    await late.aclose()


async def test_what_the_command_cannot_do(place: Stack) -> None:
    for arguments, said in (
        (("sessions", "kick", "nobody"), "unknown-session"),
        (("keys", "revoke", "nobody"), "unknown-key"),
        (("keys", "create", "x", "--mode", "karaoke"), "bad-request"),
    ):
        code, text = await asyncio.to_thread(visavis, place, *arguments)
        assert code == 1 and said in text and text.startswith("visavis: ")
    code, text = await asyncio.to_thread(visavis, place, "keys", "rotate", "x", "--grace", "soon")
    assert code == 2 and "90s" in text
