"""The way in: one entry per token, counted, with events of its own."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from core.errors import AdmissionError
from core.session.claims import SCOPE_WEBRTC, Claims
from edge.admission import Admission, KeySet
from edge.entrance import Door, Entrance
from edge.metrics import PopMetrics
from edge.session_links import SessionLinks
from loadtests.proof_key import ProofKey
from tests.edge.peers import Listener
from tests.edge.stage import RecordingLink
from tests.edge.test_admission import NOW, Origin, proof_of, request_with, thumbprint_of


class House:
    """An entrance and one session behind it."""

    def __init__(self) -> None:
        self.origin = Origin()
        self.registry = CollectorRegistry()
        self.heard = Listener()
        self.thumbprint = ""
        self.links = SessionLinks(
            events=self.heard,
            close=lambda _link, _reason: None,
            fail=lambda _reason: None,
            on_dropped=lambda _reason: None,
        )
        keys = KeySet(self.origin.fetch, clock=lambda: self.origin.now)
        self.entrance = Entrance(
            admission=Admission(pop="local", issuer="https://origin.example", keys=keys),
            sessions=self,
            metrics=PopMetrics(self.registry),
            clock=lambda: 5.0,
        )

    async def open(self, claims: Claims) -> Door:
        if self.links.current is not None:
            raise AdmissionError("session-exists", "This session already has a viewer.")
        return self.links.open()

    def thumbprint_of(self, session_id: str) -> str:
        return self.thumbprint

    def resume(self, token: str, session_id: str) -> Door:
        if (token, session_id) != ("vvr_good", "s1"):
            raise AdmissionError("token-spent", "The token has been used.")
        return self.links.open()

    def setups(self, result: str, reason: str = "") -> float | None:
        labels = {"result": result, "reason": reason}
        return self.registry.get_sample_value("edge_session_setup_total", labels)


async def test_a_ticket_opens_one_link() -> None:
    house = House()
    ticket = house.origin.ticket()
    entry = await house.entrance.admit(ticket, "s1", scope=SCOPE_WEBRTC, now_wall=NOW)
    link = RecordingLink()
    entry.attach(link)
    entry.events.on_connected(1.0)
    assert house.links.link is link
    assert house.setups("accepted") == 1
    with pytest.raises(AdmissionError) as refused:
        await house.entrance.admit(ticket, "s1", scope=SCOPE_WEBRTC, now_wall=NOW)
    assert refused.value.code == "token-replayed"
    assert house.setups("refused", "token-replayed") == 1


async def test_an_entry_that_came_to_nothing_frees_its_session() -> None:
    house = House()
    entry = await house.entrance.admit(house.origin.ticket(), "s1", scope=SCOPE_WEBRTC, now_wall=NOW)
    entry.abandon("bad-sdp")
    assert house.heard.reasons == ["bad-sdp"]
    assert house.setups("refused", "bad-sdp") == 1


async def test_a_ticket_does_not_open_what_it_does_not_name() -> None:
    house = House()
    with pytest.raises(AdmissionError) as refused:
        await house.entrance.admit(house.origin.ticket(), "s1", scope="another", now_wall=NOW)
    assert refused.value.code == "wrong-scope"
    assert house.setups("refused", "wrong-scope") == 1


async def test_a_resume_token_opens_another_link_whatever_the_scope() -> None:
    house = House()
    first = await house.entrance.admit(house.origin.ticket(), "s1", scope=SCOPE_WEBRTC, now_wall=NOW)
    first.attach(RecordingLink())
    first.events.on_connected(1.0)
    second = await house.entrance.admit("vvr_good", "s1", scope="another", now_wall=NOW)
    link = RecordingLink()
    second.attach(link)
    second.events.on_connected(2.0)
    assert house.links.link is link
    with pytest.raises(AdmissionError, match="used"):
        await house.entrance.admit("vvr_bad", "s1", scope=SCOPE_WEBRTC, now_wall=NOW)
    assert house.setups("refused", "token-spent") == 1
    assert house.setups("accepted") == 2


async def test_a_resume_token_of_a_viewer_with_a_key_is_useless_without_it() -> None:
    house, key = House(), ProofKey(lambda: float(NOW))
    house.thumbprint = thumbprint_of(key)
    for proof, code in (("", "proof-missing"), (proof_of(key, "another"), "proof-wrong-token")):
        with pytest.raises(AdmissionError) as refused:
            await house.entrance.admit("vvr_good", "s1", scope=SCOPE_WEBRTC, now_wall=NOW, request=request_with(proof))
        assert refused.value.code == code
        assert house.setups("refused", code) == 1
    good = request_with(proof_of(key, "vvr_good"))
    entry = await house.entrance.admit("vvr_good", "s1", scope=SCOPE_WEBRTC, now_wall=NOW, request=good)
    assert entry.thumbprint == house.thumbprint
