"""The rest pose is what everybody takes it for."""

from __future__ import annotations

import numpy as np
import pytest

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX, BLENDSHAPES, JOINT_INDEX, JOINTS
from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT


def test_the_rig_has_as_many_names_as_the_wire_has_places() -> None:
    assert len(BLENDSHAPES) == len(set(BLENDSHAPES)) == len(BLENDSHAPE_INDEX) == BLENDSHAPE_COUNT
    assert len(JOINTS) == len(set(JOINTS)) == len(JOINT_INDEX) == JOINT_COUNT


def test_the_rest_pose_is_still() -> None:
    assert not REST_FRAME.weights.any()
    assert np.array_equal(REST_FRAME.joints, np.tile([0.0, 0.0, 0.0, 1.0], (JOINT_COUNT, 1)))
    assert REST_FRAME.sync_score == 0.0


def test_nobody_can_move_the_rest_pose() -> None:
    for array in (REST_FRAME.weights, REST_FRAME.joints):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_frames_are_not_compared_by_accident() -> None:
    # Arrays compare element-wise; equality of frames would have to say how close is equal.
    again = AnimationFrame(weights=REST_FRAME.weights, joints=REST_FRAME.joints)
    assert again != REST_FRAME
