"""A viewer comes, is away for a moment, comes back or not; what it would miss waits, and no more than that."""

from __future__ import annotations

import json

from prometheus_client import CollectorRegistry

from core.limits import MISSED_MESSAGES_MAX, RESUME_GRACE_S, RESUME_REFRESH_S, SIGN_OF_LIFE_S
from edge.metrics import PopMetrics
from edge.presence import Presence
from edge.session_links import SessionLink, SessionLinks
from tests.edge.peers import Listener
from tests.edge.stage import RecordingLink

NOW = 100.0


class House:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.links = SessionLinks(
            events=Listener(),
            close=lambda _link, _reason: None,
            fail=lambda _reason: None,
            on_dropped=lambda _reason: None,
        )
        self.presence = Presence(
            links=self.links, metrics=PopMetrics(self.registry), issue_resume=lambda: "vvr_x", created_at=NOW - 1
        )

    def connect(self, now: float) -> tuple[SessionLink, RecordingLink]:
        end, link = self.links.open(), RecordingLink()
        end.attach(link)
        end.on_connected(now)
        self.presence.came(now)
        return end, link

    def lose(self, end: SessionLink, now: float) -> None:
        end.on_closed("connection-lost", now)
        self.presence.went(now)

    def count(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)


def test_connected_sessions_and_resumptions_are_counted() -> None:
    house = House()
    end, _ = house.connect(NOW)
    assert (house.count("edge_sessions_active"), house.count("edge_session_resumes_total")) == (1, 0)
    house.connect(NOW + 1)  # moved, while the one before was still there
    assert (house.count("edge_sessions_active"), house.count("edge_session_resumes_total")) == (1, 1)
    house.lose(end, NOW + 2)
    house.presence.went(NOW + 2)
    assert house.count("edge_sessions_active") == 0
    house.connect(NOW + 3)
    assert (house.count("edge_sessions_active"), house.count("edge_session_resumes_total")) == (1, 2)
    assert house.count("edge_session_setup_seconds_count") == 1


def test_grace_ends() -> None:
    house = House()
    assert not house.presence.gone(NOW + 1_000)
    end, _ = house.connect(NOW)
    assert not house.presence.gone(NOW + 1_000)
    house.lose(end, NOW + 5)
    assert not house.presence.gone(NOW + 5 + RESUME_GRACE_S)
    assert house.presence.gone(NOW + 5.1 + RESUME_GRACE_S)


def test_what_would_be_missed_waits_in_order_and_within_bounds() -> None:
    house = House()
    house.presence.keep('{"before": 1}')
    end, first = house.connect(NOW)
    assert first.control == [{"before": 1}]
    house.lose(end, NOW)
    for index in range(MISSED_MESSAGES_MAX + 10):
        house.presence.keep(json.dumps({"index": index}))
        house.presence.send('{"not": "worth it"}')
    _, second = house.connect(NOW + 1)
    assert second.control == [{"index": index} for index in range(10, MISSED_MESSAGES_MAX + 10)]


def test_tokens_are_refreshed_once_the_viewer_was_given_one() -> None:
    house = House()
    end, _ = house.connect(NOW)
    assert not house.presence.resume_due(NOW + 10 * RESUME_REFRESH_S)
    assert house.presence.resume_token(NOW) == "vvr_x"
    assert not house.presence.resume_due(NOW + RESUME_REFRESH_S)
    assert house.presence.resume_due(NOW + RESUME_REFRESH_S + 0.1)
    house.lose(end, NOW)
    assert not house.presence.resume_due(NOW + RESUME_REFRESH_S + 0.1)


def test_signs_of_life_while_it_is_there() -> None:
    house = House()
    assert not house.presence.sign_of_life_due(NOW)
    end, _ = house.connect(NOW)
    assert house.presence.sign_of_life_due(NOW)
    house.presence.life_shown(NOW)
    assert not house.presence.sign_of_life_due(NOW + SIGN_OF_LIFE_S)
    assert house.presence.sign_of_life_due(NOW + SIGN_OF_LIFE_S + 0.1)
    house.lose(end, NOW)
    assert not house.presence.sign_of_life_due(NOW + 10 * SIGN_OF_LIFE_S)
