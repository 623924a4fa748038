"""Who lives, who is dead, and that nobody is both."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RemoteProtocolError
from core.limits import HEARTBEAT_S, LEASE_GRACE_S, LEASE_SKEW_S, LEASE_TTL_S
from core.session.heart import Heart, HeartRecord, Reaper, declare_dead, decode_heart, encode_heart, heart_key
from core.session.lease import Lease, LeaseRecord, acquire, decode_lease, lease_key
from tests.core.session.records import LOST, Records, losing, run

UNTIL_S = LEASE_TTL_S - LEASE_SKEW_S
DEAD_S = LEASE_TTL_S + LEASE_GRACE_S


def living(records: Records, now: float = 0.0, life: str = "1") -> Heart:
    heart = Heart("w", life)
    assert run(records, heart.begin(now))
    return heart


def look(reaper: Reaper, records: Records, now: float) -> None:
    value, revision = records.entries[heart_key("w")]
    reaper.observe("w", value, revision, now)


def test_the_grace_is_longer_than_the_skew() -> None:
    assert LEASE_GRACE_S > LEASE_SKEW_S
    assert 2 * HEARTBEAT_S < UNTIL_S, "one lost heartbeat ends nobody"


def test_it_lives_from_beat_to_beat() -> None:
    records = Records()
    heart = Heart("w", "1")
    assert not heart.alive(0.0)
    assert run(records, heart.begin(0.0))
    assert heart.get_timer() == HEARTBEAT_S
    assert heart.expires() == UNTIL_S
    assert run(records, heart.beat(2.0))
    assert heart.alive(2.0 + UNTIL_S - 0.01)
    assert not heart.alive(2.0 + UNTIL_S)
    assert not heart.alive(0.0), "what is over is over, whatever the clock says then"
    assert heart.get_timer() is None
    assert not run(records, heart.beat(3.0))


def test_a_beat_whose_answer_is_lost_grants_no_time() -> None:
    records = Records()
    heart = living(records)
    assert not run(records, heart.beat(2.0), losing({0}))
    assert heart.expires() == UNTIL_S
    assert not run(records, heart.beat(4.0)), "it finds its own beat there, of a time it cannot know"
    assert heart.expires() == UNTIL_S and heart.get_timer() == 4.0
    assert run(records, heart.beat(4.0))
    assert heart.expires() == 4.0 + UNTIL_S


def test_a_beginning_whose_answer_is_lost_is_counted_from_the_second_try() -> None:
    records = Records()
    heart, reaper = Heart("w", "1"), Reaper()
    assert not run(records, heart.begin(0.0), losing({1}))
    look(reaper, records, 0.0)
    assert run(records, heart.begin(6.5))
    look(reaper, records, 6.5)
    assert reaper.suspects(DEAD_S) == []


def test_who_was_buried_never_lives_again() -> None:
    records = Records()
    heart, reaper = living(records), Reaper()
    look(reaper, records, 0.0)
    assert run(records, reaper.bury("w", DEAD_S))
    assert not run(records, heart.beat(1.0))
    assert heart.stopped
    again = Heart("w", "1")
    assert not run(records, again.begin(20.0)) and again.stopped
    assert run(records, Heart("w", "2").begin(20.0))


def test_the_reaper_waits_for_as_long_as_it_has_seen_silence() -> None:
    records, reaper = Records(), Reaper()
    heart = living(records)
    look(reaper, records, 100.0)
    assert reaper.suspects(100.0 + DEAD_S - 0.01) == []
    look(reaper, records, 105.0)  # the same revision again is no sign of life
    assert reaper.suspects(100.0 + DEAD_S) == ["w"]
    run(records, heart.beat(1.0))
    assert not run(records, reaper.bury("w", 100.0 + DEAD_S)), "it has beaten meanwhile"
    assert reaper.suspects(100.0 + DEAD_S) == []
    reaper.forget()
    assert reaper.suspects(1e9) == []


def test_of_a_late_beat_and_a_burial_one_wins() -> None:
    records, reaper = Records(), Reaper()
    heart = living(records)
    look(reaper, records, 0.0)
    burying = reaper.bury("w", DEAD_S)
    read = records.apply(next(burying))
    assert run(records, heart.beat(5.0))
    try:
        burying.send(records.apply(burying.send(read)))
    except StopIteration as end:
        assert end.value is False
    assert decode_heart(records.entries[heart_key("w")][0]).dead is False


def test_leases_end_with_the_life_that_holds_them() -> None:
    records, reaper = Records(), Reaper()
    living(records)
    lease = run(records, acquire("s", holder="w", life="1", request="r"))
    assert isinstance(lease, Lease)
    record = decode_lease(records.entries[lease_key("s")][0])
    assert not run(records, reaper.reap("s", record, 100.0)), "it lives"
    look(reaper, records, 0.0)
    assert not reaper.may_be_over(record)
    assert run(records, reaper.bury("w", DEAD_S))
    assert reaper.may_be_over(record)
    assert not run(records, reaper.reap("s", record, 100.0), lambda *_: LOST)
    assert run(records, reaper.reap("s", record, 100.0))
    ended = decode_lease(records.entries[lease_key("s")][0])
    assert (ended.ended, ended.epoch) == ("expired", lease.epoch)
    assert not run(records, reaper.reap("s", ended, 100.0)), "twice is once"


def test_a_lease_of_a_life_that_the_reaper_has_not_heard_of_is_left_alone() -> None:
    records, reaper = Records(), Reaper()
    living(records)
    look(reaper, records, 0.0)
    living(records, 1.0, life="2")
    run(records, acquire("s", holder="w", life="2", request="r"))
    record = decode_lease(records.entries[lease_key("s")][0])
    assert reaper.may_be_over(record), "what it has heard is old"
    assert not run(records, reaper.reap("s", record, 100.0)), "what it reads is not"


def test_a_holder_that_says_goodbye_need_not_be_waited_for() -> None:
    records, reaper = Records(), Reaper()
    heart = living(records)
    look(reaper, records, 0.0)
    run(records, acquire("s", holder="w", life="1", request="r"))
    record = decode_lease(records.entries[lease_key("s")][0])
    assert run(records, heart.end())
    look(reaper, records, 1.0)
    assert reaper.may_be_over(record)
    assert run(records, reaper.reap("s", record, 100.0))


def test_who_has_no_record_may_live_and_not_know_it() -> None:
    records, reaper = Records(), Reaper()
    run(records, acquire("s", holder="w", life="1", request="r"))
    record = decode_lease(records.entries[lease_key("s")][0])
    assert not run(records, reaper.reap("s", record, 0.0))
    assert not run(records, reaper.reap("s", record, DEAD_S - 0.1))
    living(records)
    assert not run(records, reaper.reap("s", record, DEAD_S))
    del records.entries[heart_key("w")]
    assert not run(records, reaper.reap("s", record, DEAD_S + 1)), "it was there meanwhile"
    assert not run(records, reaper.bury("w", DEAD_S + 1))
    assert run(records, reaper.reap("s", record, 2 * DEAD_S + 1))


def test_a_wiped_store_ends_a_life() -> None:
    records = Records()
    heart = living(records)
    records.entries.clear()
    assert not run(records, heart.beat(2.0))
    assert heart.stopped


def test_a_life_that_was_heard_of_and_then_given_up_never_begins() -> None:
    records, reaper = Records(), Reaper()
    heart = Heart("w", "1")
    assert not run(records, heart.begin(0.0), losing({1}))
    records.entries.clear()
    # Whoever has heard of the life before leases to it, and ends that again because no record of it is there.
    lease = run(records, acquire("s", holder="w", life="1", request="r"))
    assert isinstance(lease, Lease)
    record = decode_lease(records.entries[lease_key("s")][0])
    assert not run(records, reaper.reap("s", record, 0.0))
    assert run(records, reaper.reap("s", record, DEAD_S))
    assert not run(records, heart.begin(DEAD_S)) and heart.stopped
    assert run(records, Heart("w", "2").begin(DEAD_S))


def test_a_life_that_another_one_has_replaced_before_it_began_never_begins() -> None:
    records = Records()
    heart = Heart("w", "1")
    assert not run(records, heart.begin(0.0), losing({1}))
    assert run(records, Heart("w", "2").begin(1.0))
    assert not run(records, heart.begin(2.0), lambda *_: LOST) and not heart.stopped
    assert not run(records, heart.begin(3.0)) and heart.stopped


def test_each_absence_of_a_holder_is_counted_anew() -> None:
    records, reaper = Records(), Reaper()
    for began in (0.0, DEAD_S + 1.0):
        living(records, began, life=str(began))
        look(reaper, records, began)
        records.entries.clear()
        run(records, acquire("s", holder="w", life=str(began), request="r"))
        record = decode_lease(records.entries[lease_key("s")][0])
        assert not run(records, reaper.reap("s", record, began + 1.0)), "it may live and not know yet"


def test_old_news_is_ignored() -> None:
    records, reaper = Records(), Reaper()
    heart = living(records)
    old = records.entries[heart_key("w")]
    run(records, heart.beat(1.0))
    look(reaper, records, 1.0)
    reaper.observe("w", None, old[1], 2.0)
    assert reaper.suspects(1.0 + DEAD_S) == ["w"]


@given(st.binary(max_size=64))
def test_any_bytes_are_a_heartbeat_or_a_counted_drop(value: bytes) -> None:
    reaper = Reaper()
    try:
        decode_heart(value)
    except RemoteProtocolError as error:
        assert error.code == "bad-record"
        reaper.observe("w", value, 1, 0.0)
        assert (reaper.bad_records, reaper.suspects(1e9)) == (1, [])


@pytest.mark.parametrize(
    "record",
    [
        {"life": "", "beats": 1},
        {"life": "a", "beats": -1},
        {"life": "a", "beats": 1, "load": 2.0},
        {"life": "x" * 5_000},
    ],
)
def test_heartbeats_that_nobody_can_have_sent(record: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_heart(msgspec.msgpack.encode({"beats": 1, **record}))


def test_a_broken_heartbeat_is_no_reason_to_end_anything() -> None:
    records, reaper = Records(), Reaper()
    living(records)
    run(records, acquire("s", holder="w", life="1", request="r"))
    record = decode_lease(records.entries[lease_key("s")][0])
    records.entries[heart_key("w")] = (b"junk", 99)
    assert not run(records, reaper.reap("s", record, 100.0))
    assert not run(records, reaper.reap("s", LeaseRecord(epoch=1, reserved=1, ended="released"), 100.0))
    assert run(records, Heart("w", "3").begin(5.0)), "its holder writes a good one again"
    assert encode_heart(HeartRecord(life="3", beats=1)) == records.entries[heart_key("w")][0]


def test_who_has_seen_a_process_end_need_not_wait() -> None:
    records = Records()
    assert run(records, declare_dead("w", "1")), "nobody lives who was never there"
    heart = living(records)
    assert run(records, declare_dead("w", "1"))
    assert decode_heart(records.entries[heart_key("w")][0]).dead
    assert not run(records, heart.beat(2.0))
    assert heart.stopped
    again = living(records, life="2")
    assert run(records, declare_dead("w", "1")), "an earlier life is over already"
    assert run(records, again.beat(2.0))
