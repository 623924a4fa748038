"""Whether a voice would be heard."""

from __future__ import annotations

from origin.dialogue.reach import Reach


class Line:
    def __init__(self) -> None:
        self.connected = True
        self.now = 0.0
        self.reach = Reach(lambda: self.connected, lambda: self.now)


def test_after_an_outage_a_voice_waits_for_its_pop() -> None:
    line = Line()
    assert line.reach.reached()
    line.connected = False
    assert not line.reach.reached()
    line.reach.heard()  # it was said before the outage, and read only now
    assert not line.reach.reached()
    line.connected = True
    assert not line.reach.reached(), "the fabric is back here, the POP may not be"
    line.reach.heard()
    assert line.reach.reached()


def test_a_pop_that_says_nothing_is_spoken_to_after_a_while() -> None:
    line = Line()
    for begin in (0.0, 100.0):
        line.now, line.connected = begin, False
        assert not line.reach.reached()
        line.now, line.connected = begin + 50.0, True
        assert not line.reach.reached()
        line.now += 2.9
        assert not line.reach.reached()
        line.now += 0.2
        assert line.reach.reached()
