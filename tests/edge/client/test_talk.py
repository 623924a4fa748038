"""Frames of a sentence: one every 20 ms, each with its sound, and lips that shut for p, b and m."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import BLENDSHAPE_COUNT, JOINT_COUNT
from core.speech.messages import PhonemeSpan
from edge.client.puppets.talk import Shot, shots

SPANS = Path(__file__).parents[2] / "data" / "espeak_spans.json"


@pytest.fixture(scope="module")
def talk() -> list[Shot]:
    return shots([PhonemeSpan(*span) for span in json.loads(SPANS.read_text(encoding="utf-8"))[0]["spans"]])


def test_a_frame_every_20_ms_from_before_the_first_sound_to_after_the_last(talk: list[Shot]) -> None:
    times = np.array([shot["time_s"] for shot in talk])
    assert np.allclose(np.diff(times), 0.02)
    assert times[0] < 0 and talk[0]["sound"] == "_" == talk[-1]["sound"]
    assert {len(shot["weights"]) for shot in talk} == {BLENDSHAPE_COUNT}
    assert {len(shot["joints"]) for shot in talk} == {JOINT_COUNT * 4}


def test_lips_meet_in_every_m(talk: list[Shot]) -> None:
    jaw, close = BLENDSHAPE_INDEX["jawOpen"], BLENDSHAPE_INDEX["mouthClose"]
    sealed = [shot["weights"][close] >= shot["weights"][jaw] - 1e-6 for shot in talk]
    runs = [(k, shot["sound"] == "m") for k, shot in enumerate(talk)]
    starts = [k for k, inside in runs if inside and talk[k - 1]["sound"] != "m"]
    assert starts
    for start in starts:
        end = next(k for k in range(start, len(talk)) if talk[k]["sound"] != "m")
        assert any(sealed[start:end]), talk[start]["time_s"]
