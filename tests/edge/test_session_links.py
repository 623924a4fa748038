"""Racing links: the last to connect counts, what others say is not heard, and none is left open."""

from __future__ import annotations

from edge.session_links import SessionLink, SessionLinks
from edge.transports.link import MicrophoneUnit, ViewerLink
from tests.edge.peers import Listener
from tests.edge.stage import RecordingLink

UNIT = MicrophoneUnit(payload=b"\xf8\xff\xfe", timestamp=0, sequence_number=0)


class Race:
    def __init__(self) -> None:
        self.heard = Listener()
        self.closed: list[tuple[ViewerLink, str]] = []
        self.links = SessionLinks(events=self.heard, close=lambda link, reason: self.closed.append((link, reason)))

    def link(self) -> tuple[SessionLink, RecordingLink]:
        end, link = self.links.open(), RecordingLink()
        end.attach(link)
        return end, link


def test_the_last_to_connect_counts_and_the_one_before_is_closed() -> None:
    race = Race()
    (first, first_link), (second, second_link) = race.link(), race.link()
    first.on_connected(1.0)
    first.on_control("a", 1.0)
    second.on_control("not yet", 1.0)
    second.on_microphone(UNIT, 1.0)
    second.on_connected(2.0)
    assert race.closed == [(first_link, "moved")]
    first.on_control("too late", 2.0)
    first.on_microphone(UNIT, 2.0)
    second.on_control("b", 2.0)
    second.on_microphone(UNIT, 2.0)
    first.on_closed("moved", 2.1)
    assert race.heard.control == ["a", "b"]
    assert race.heard.units == [UNIT]
    assert race.heard.reasons == []
    assert race.links.link is second_link


def test_a_candidate_that_fails_changes_nothing() -> None:
    race = Race()
    first, link = race.link()
    first.on_connected(1.0)
    other, _ = race.link()
    other.on_closed("connect-timeout", 2.0)
    assert race.links.link is link
    assert race.heard.reasons == []
    first.on_closed("connection-lost", 3.0)
    first.on_closed("again", 3.0)
    assert race.heard.reasons == ["connection-lost"]


def test_signalling_that_failed_is_a_link_that_is_gone() -> None:
    race = Race()
    race.links.open().abandon("bad-sdp", 1.0)
    assert race.heard.reasons == ["bad-sdp"]


def test_links_of_a_session_that_is_over_are_closed_also_those_still_being_made() -> None:
    race = Race()
    first, link = race.link()
    first.on_connected(1.0)
    coming = race.links.open()
    race.links.close_all("viewer-left")
    assert race.closed == [(link, "viewer-left")]
    late = RecordingLink()
    coming.attach(late)
    assert race.closed[1:] == [(late, "viewer-left")]
    coming.on_connected(2.0)
    coming.on_closed("viewer-left", 2.0)
    assert race.heard.reasons == []
