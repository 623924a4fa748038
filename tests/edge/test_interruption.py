"""Packets say DUCK and CUT as long as they must, and no longer."""

from __future__ import annotations

from core.limits import BARGE_IN_HEARD_S_MAX, CUT_FLAG_S
from core.wire.access_unit import AccessUnitFlags
from edge.interruption import Interruption


def test_flags() -> None:
    interruption = Interruption()
    assert interruption.flags(1.0) == AccessUnitFlags(0)
    interruption.ducked = True
    assert interruption.flags(1.0) == AccessUnitFlags.DUCK
    interruption.cut(1.0)
    assert interruption.flags(1.0) == AccessUnitFlags.DUCK | AccessUnitFlags.CUT
    assert not interruption.settled(1.0)
    interruption.ducked = False
    later = 1.0 + CUT_FLAG_S + 0.01
    assert interruption.flags(later) == AccessUnitFlags(0)
    assert interruption.settled(later)


def test_a_new_voice_is_not_cut() -> None:
    interruption = Interruption()
    interruption.cut(1.0)
    interruption.voice_begins()
    assert interruption.flags(1.0) == AccessUnitFlags(0)


def test_the_rest_of_a_cut_answer_is_refused_until_the_origin_knows_or_for_a_while() -> None:
    interruption = Interruption()
    assert not interruption.refuses(1.0)
    interruption.answer_cut(1.0)
    assert interruption.refuses(1.0 + BARGE_IN_HEARD_S_MAX / 2)
    assert not interruption.refuses(1.0 + BARGE_IN_HEARD_S_MAX)
    interruption.origin_heard()
    assert not interruption.refuses(1.0)
