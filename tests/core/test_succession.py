"""A viewer whose session moves: nothing twice, nothing missing, nothing of the successor before it counts."""

from __future__ import annotations

import pytest

from core.avatar.frame import REST_FRAME
from core.limits import SUCCESSION_UNITS_MAX, TICK_SAMPLES
from core.session.state import FaceState
from core.stream.receiver import UnitReceiver
from core.stream.sender import UnitSender
from core.stream.succession import Succession
from core.wire.access_unit import NO_FLAGS, AccessUnitFlags

VOICE = b"\x78" + bytes(20)


class Track:
    """A POP's packets, one per tick."""

    def __init__(self, epoch: int, ticks: int, *, preview: bool = False) -> None:
        self.sender = UnitSender(epoch=epoch)
        self.ticks = ticks
        self.preview = preview

    def next(self) -> tuple[bytes, int]:
        flags = AccessUnitFlags.PREVIEW if self.preview else NO_FLAGS
        packet = self.sender.pack(frame=REST_FRAME, opus=[VOICE], state=FaceState.SPEAKING, flags=flags, now=0.0)
        ticks, self.ticks = self.ticks, self.ticks + TICK_SAMPLES
        return packet, ticks & 0xFFFFFFFF


class Viewing:
    """What a viewer was given to play, in order."""

    def __init__(self, owner: Track, epoch: int = 2) -> None:
        self.owner = owner
        self.receiver = UnitReceiver(protects_sound=False)
        self.played: list[int] = []
        self.own(10)
        self.succession = Succession(self.receiver, epoch, protects_sound=False)

    def own(self, count: int) -> None:
        for _ in range(count):
            units = self.receiver.receive(*self.owner.next(), 0.0)
            if self.played and hasattr(self, "succession"):
                self.succession.played(units, 0.0)
            self.played += [unit.media_time for unit in units]

    def preview(self, track: Track, count: int) -> None:
        for _ in range(count):
            self.played += [unit.media_time for unit in self.succession.receive(*track.next(), 0.0)]

    def commit(self, epoch: int) -> None:
        self.played += [unit.media_time for unit in self.succession.commit(epoch)]


def gapless(played: list[int]) -> bool:
    return sorted(set(played)) == list(range(min(played), max(played) + 1, TICK_SAMPLES))


@pytest.mark.parametrize("ahead", [-2, -1, 0, 1, 2, 5])
@pytest.mark.parametrize("start", [0, (1 << 32) - 12 * TICK_SAMPLES])
def test_every_media_time_is_played_once(ahead: int, start: int) -> None:
    viewing = Viewing(Track(1, start))
    viewing.own(1)
    target = Track(2, viewing.owner.ticks + ahead * TICK_SAMPLES, preview=True)
    for _ in range(8):
        viewing.own(1)
        viewing.preview(target, 1)
    assert len(viewing.played) == 19
    assert viewing.succession.decodable
    viewing.commit(2)
    target.preview = False
    viewing.preview(target, 5)
    assert gapless(viewing.played)
    # The former owner covers what the successor, behind it, sends again; jitter buffers drop that.
    assert len(viewing.played) - len(set(viewing.played)) == max(0, -ahead)


def test_a_unit_that_the_owner_lost_comes_from_the_successor() -> None:
    viewing = Viewing(Track(1, 0))
    target = Track(2, viewing.owner.ticks, preview=True)
    viewing.own(2)
    viewing.owner.next()
    viewing.own(2)
    viewing.preview(target, 5)
    viewing.commit(2)
    assert sorted(viewing.played) == [tick * TICK_SAMPLES for tick in range(15)]


def test_a_unit_without_the_mark_is_as_good_as_being_told() -> None:
    viewing = Viewing(Track(1, 0))
    target = Track(2, viewing.owner.ticks, preview=True)
    viewing.preview(target, 3)
    target.preview = False
    viewing.preview(target, 1)
    assert viewing.succession.committed
    assert gapless(viewing.played)
    viewing.commit(2)
    assert len(viewing.played) == len(set(viewing.played))


def test_nobody_else_and_nothing_undecodable_counts() -> None:
    viewing = Viewing(Track(1, 0))
    before = list(viewing.played)
    viewing.commit(2)
    assert not viewing.succession.committed  # nothing of it was seen
    viewing.preview(Track(3, viewing.owner.ticks, preview=True), 3)
    assert not viewing.succession.decodable
    viewing.commit(3)
    assert (viewing.succession.committed, viewing.played) == (False, before)


def test_what_is_kept_is_bounded() -> None:
    viewing = Viewing(Track(1, 0))
    viewing.preview(Track(2, viewing.owner.ticks, preview=True), 3 * SUCCESSION_UNITS_MAX)
    viewing.commit(2)
    assert len(viewing.played) <= 10 + SUCCESSION_UNITS_MAX
