"""Racing links: the last to connect counts, what others say is not heard, and none is left open."""

from __future__ import annotations

from collections import Counter

import pytest

from core.limits import CONTROL_MESSAGES_PER_S_MAX, MICROPHONE_PACKETS_PER_S_MAX, SESSION_LINKS_MAX
from edge.session_links import SessionLink, SessionLinks
from edge.transports.link import MicrophoneUnit, ViewerLink
from tests.edge.peers import Listener
from tests.edge.stage import RecordingLink

UNIT = MicrophoneUnit(payload=b"\xf8\xff\xfe", timestamp=0, sequence_number=0)


class Race:
    def __init__(self) -> None:
        self.heard = Listener()
        self.closed: list[tuple[ViewerLink, str]] = []
        self.failed: list[str] = []
        self.dropped: Counter[str] = Counter()
        self.unused = 0
        self.links = SessionLinks(
            events=self.heard,
            close=lambda link, reason: self.closed.append((link, reason)),
            fail=self.failed.append,
            on_dropped=lambda reason: self.dropped.update([reason]),
        )

    def open(self) -> SessionLink:
        return self.links.open(self.count_unused)

    def count_unused(self) -> None:
        self.unused += 1

    def link(self) -> tuple[SessionLink, RecordingLink]:
        end, link = self.open(), RecordingLink()
        end.attach(link)
        return end, link


def test_the_last_to_connect_counts_and_the_one_before_is_closed() -> None:
    race = Race()
    (first, first_link), (second, second_link) = race.link(), race.link()
    assert race.links.link is None
    first.on_connected(1.0)
    first.on_control("a", 1.0)
    second.on_control("not yet", 1.0)
    second.on_microphone(UNIT, 1.0)
    second.on_connected(2.0)
    assert race.closed == [(first_link, "replaced")]
    first.on_control("too late", 2.0)
    first.on_microphone(UNIT, 2.0)
    first.on_connected(2.0)
    second.on_control("b", 2.0)
    second.on_microphone(UNIT, 2.0)
    first.on_closed("replaced", 2.1)
    assert race.heard.control == ["a", "b"]
    assert race.heard.units == [UNIT]
    assert race.heard.reasons == []
    assert race.links.link is second_link
    assert race.unused == 0


def test_a_candidate_that_fails_changes_nothing_but_is_told() -> None:
    race = Race()
    first, link = race.link()
    first.on_connected(1.0)
    other, _ = race.link()
    other.on_closed("connect-timeout", 2.0)
    other.on_closed("connect-timeout", 2.0)
    assert race.unused == 1
    assert race.links.link is link
    assert race.heard.reasons == []


@pytest.mark.parametrize("waiting", [0, 1])
def test_the_session_hears_when_the_link_that_counts_is_lost(waiting: int) -> None:
    race = Race()
    first, _ = race.link()
    first.on_connected(1.0)
    others = [race.link()[0] for _ in range(waiting)]
    first.on_closed("connection-lost", 3.0)
    first.on_closed("again", 3.0)
    for other in others:
        other.on_closed("connect-timeout", 4.0)
    assert race.heard.reasons == ["connection-lost"]
    assert race.links.link is None


def test_after_a_loss_another_link_counts() -> None:
    race = Race()
    first, _ = race.link()
    first.on_connected(1.0)
    first.on_closed("connection-lost", 3.0)
    second, link = race.link()
    second.on_connected(4.0)
    assert race.links.link is link


def test_signalling_that_failed_is_a_link_that_is_gone() -> None:
    race = Race()
    race.open().abandon("bad-sdp", 1.0)
    assert race.heard.reasons == ["bad-sdp"]
    assert race.unused == 1


def test_a_link_that_connects_before_it_is_attached_counts_when_it_is() -> None:
    race = Race()
    end, link = race.open(), RecordingLink()
    end.on_connected(1.0)
    assert not race.heard.connected.is_set()
    end.attach(link)
    assert race.heard.connected.is_set()
    assert race.links.link is link


def test_links_of_a_session_that_is_over_are_closed_also_those_still_being_made() -> None:
    race = Race()
    first, link = race.link()
    first.on_connected(1.0)
    coming = race.open()
    race.links.close_all("viewer-left")
    assert race.closed == [(link, "viewer-left")]
    late = RecordingLink()
    coming.attach(late)
    assert race.closed[1:] == [(late, "viewer-left")]
    coming.on_connected(2.0)
    coming.on_closed("viewer-left", 2.0)
    assert race.heard.reasons == []


def test_a_viewer_may_try_many_links_but_only_a_few_at_once() -> None:
    race = Race()
    first, link = race.link()
    first.on_connected(1.0)
    tried = [race.link()[1] for _ in range(10)]
    assert [closed for closed, _ in race.closed] == tried[: 11 - SESSION_LINKS_MAX]
    assert race.unused == 11 - SESSION_LINKS_MAX
    assert race.links.link is link


def test_a_burst_after_a_stall_is_heard() -> None:
    race = Race()
    first, _ = race.link()
    first.on_connected(1.0)
    for _ in range(2 * MICROPHONE_PACKETS_PER_S_MAX):
        first.on_microphone(UNIT, 1.0)
    assert race.dropped == Counter()


@pytest.mark.parametrize("kind", ["microphone", "control", "feedback"])
def test_too_much_is_dropped_and_ten_times_too_much_ends_the_session(kind: str) -> None:
    race = Race()
    first, _ = race.link()
    first.on_connected(1.0)
    rate = MICROPHONE_PACKETS_PER_S_MAX if kind == "microphone" else CONTROL_MESSAGES_PER_S_MAX

    def send(count: int, now: float) -> None:
        for _ in range(count):
            if kind == "microphone":
                first.on_microphone(UNIT, now)
            else:
                first.on_control("x" if kind == "control" else b"x", now)

    for second in range(60):
        send(3 * rate, 1.0 + second)
    heard = len(race.heard.units) + len(race.heard.control)
    assert rate * 60 <= heard <= rate * 62
    assert race.dropped["flood"] == 180 * rate - heard
    assert race.failed == []
    send(21 * rate, 61.0)
    assert race.failed[0] == "flood"
