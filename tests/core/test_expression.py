from __future__ import annotations

import numpy as np
import pytest

from core.avatar.expression import BASE, CHANNELS, DRIVERS, EXPRESSION, YIELDS_TO_SPEECH, channel
from core.avatar.rig import BLENDSHAPES, JOINTS
from core.limits import BLENDSHAPE_COUNT


def test_every_column_has_one_name() -> None:
    names = [*BLENDSHAPES, *(f"{joint}.{axis}" for joint in JOINTS for axis in ("pitch", "yaw", "roll"))]
    assert [channel(name) for name in names] == list(range(CHANNELS))


@pytest.mark.parametrize("name", ["mouthGrin", "head.tilt", "tail.yaw", "head."])
def test_an_unknown_name_is_an_error(name: str) -> None:
    with pytest.raises(KeyError):
        channel(name)


def test_every_driver_but_the_gate_shows() -> None:
    silent = [driver for row, driver in enumerate(DRIVERS) if not EXPRESSION[row].any()]
    assert silent == ["mouth"]


def test_thinking_is_readable_and_mirrored() -> None:
    left, right = (EXPRESSION[DRIVERS.index(name)] for name in ("think_left", "think_right"))
    assert left[channel("browOuterUpLeft")] >= 0.3
    assert left[channel("browOuterUpLeft")] == right[channel("browOuterUpRight")]
    assert left[channel("mouthLeft")] == right[channel("mouthRight")]


def test_only_the_mouth_yields_to_speech() -> None:
    assert np.all((YIELDS_TO_SPEECH >= 0.0) & (YIELDS_TO_SPEECH <= 1.0))
    yielding = {BLENDSHAPES[index] for index in np.flatnonzero(YIELDS_TO_SPEECH)}
    assert all(name.startswith(("mouth", "jaw")) for name in yielding)
    assert BASE[BLENDSHAPE_COUNT:].max() == 0.0
