"""The judgement of pauses: finite for any sound, and a clear word when its weights are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from edge import ear_ending
from edge.ear_ending import FEATURE_NAMES, FEATURES, EndingFeatures, EndingModel, load_ending_model

WEIGHTS = Path(ear_ending.__file__).parent / "models" / "ear_ending.json"


@given(
    st.lists(st.floats(-127.0, 0.0), max_size=200),
    st.integers(1, 55),
    st.floats(-127.0, 0.0),
    st.floats(-127.0, 0.0),
    st.floats(-1.0, 1e4),
)
def test_any_memory_gives_a_probability(
    levels: list[float], quiet: int, peak_db: float, floor_db: float, spoken_s: float
) -> None:
    memory = EndingFeatures()
    for index, level in enumerate(levels):
        memory.push(np.full(160, 10.0 ** (level / 20.0) * (-1) ** index, np.float32), level)
    memory.push_probability(0.5)
    features = memory.describe(quiet_windows=quiet, peak_db=peak_db, floor_db=floor_db, spoken_s=spoken_s)
    assert features.shape == (FEATURES,)
    assert np.isfinite(features).all()
    assert 0.0 <= load_ending_model().probability(features) <= 1.0


def test_the_mean_of_members_is_a_logistic() -> None:
    zeros = np.zeros(FEATURES, np.float32)
    model = EndingModel(
        mean=zeros,
        scale=zeros + 1.0,
        hidden=np.zeros((FEATURES + 1, 2), np.float32),
        output=np.array([1.0, 1.0, np.log(3.0)], np.float32),
    )
    assert model.probability(zeros) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "damage",
    [
        {"features": list(FEATURE_NAMES)[1:]},
        {"mean": [0.0]},
        {"hidden": 3.0},
        {"output": [float("nan")] * 19},
        {"scale": "wide"},
    ],
)
def test_damaged_weights_are_refused_by_name(tmp_path: Path, damage: dict[str, object]) -> None:
    path = tmp_path / "ear_ending.json"
    path.write_text(json.dumps({**json.loads(WEIGHTS.read_text(encoding="utf-8")), **damage}), encoding="utf-8")
    with pytest.raises(ConfigError, match="ear_ending"):
        load_ending_model(path)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json"):
        load_ending_model(tmp_path / "none.json")
