"""What waits in front of QUIC."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from core.limits import LINK_QUEUE_AGE_S_MAX, LINK_QUEUE_MOTION_UNITS_MAX, LINK_QUEUE_UNITS_MAX
from core.wire.opus_padding import embed, silence
from edge.transports.webtransport.unit_queue import UnitQueue

SPEECH = embed(b"\x78" + bytes(range(40)), b"side")
SILENT = embed(silence(1), b"side")
IDLE = embed(silence(4), b"side" * 20)


def test_newest_wins_and_silence_counts_less() -> None:
    dropped: Counter[str] = Counter()
    queue = UnitQueue(lambda reason: dropped.update((reason,)))
    for number in range(9):
        queue.push(SPEECH, bytes((number,)), 0.0)
    assert [queue.pop(100, 0.0) for _ in range(6)] == [b"\x04", b"\x05", b"\x06", b"\x07", b"\x08", None]
    for number in range(9):
        queue.push(SILENT if number % 2 else IDLE, bytes((number,)), 0.0)
    assert [queue.pop(100, 0.0) for _ in range(4)] == [b"\x06", b"\x07", b"\x08", None]
    assert dropped == {"queue-overflow": 4 + 6}


def test_nothing_is_sent_late() -> None:
    dropped: Counter[str] = Counter()
    queue = UnitQueue(lambda reason: dropped.update((reason,)))
    queue.push(SPEECH, b"old", 0.0)
    queue.push(SPEECH, b"new", 0.1)
    assert queue.pop(100, LINK_QUEUE_AGE_S_MAX + 0.01) == b"new"
    assert dropped == {"queue-expired": 1}


def test_what_does_not_fit_waits() -> None:
    queue = UnitQueue(lambda reason: None)
    queue.push(SPEECH, b"12345", 0.0)
    assert queue.pop(4, 0.0) is None
    assert len(queue) == 1
    assert queue.pop(5, 0.0) == b"12345"
    queue.push(SPEECH, b"12345", 0.0)
    queue.clear()
    assert queue.pop(5, 0.0) is None


@given(st.lists(st.tuples(st.sampled_from([SPEECH, SILENT, IDLE, b"", b"\xff"]), st.floats(0, 0.1)), max_size=60))
def test_it_is_bounded_whatever_comes(units: list[tuple[bytes, float]]) -> None:
    dropped: Counter[str] = Counter()
    queue = UnitQueue(lambda reason: dropped.update((reason,)))
    now, silent = 0.0, 0
    for number, (payload, delay_s) in enumerate(units):
        now += delay_s
        queue.push(payload, number.to_bytes(2, "big"), now)
        silent = sum(unit[1] is not SPEECH for unit in queue._units)
        assert len(queue) <= LINK_QUEUE_UNITS_MAX
        assert silent <= LINK_QUEUE_MOTION_UNITS_MAX
    left = []
    while (datagram := queue.pop(100, now)) is not None:
        left.append(int.from_bytes(datagram, "big"))
    assert left == sorted(left)
    assert len(left) + dropped.total() == len(units)
    if units:
        assert left[-1] == len(units) - 1
