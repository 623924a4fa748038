from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from core.limits import TICK_SAMPLES
from core.speech.messages import PhonemeSpan
from core.speech.student_layout import MOUTH, OUTPUTS, PLAN
from origin.distill.marks import closure_marks
from origin.distill.teacher import LOSS_WEIGHTS, NEUTRAL, Style, closures, load_styles, teach

SPOKEN = json.loads((Path(__file__).parents[2] / "data" / "espeak_spans.json").read_text(encoding="utf-8"))
UTTERANCES = [tuple(PhonemeSpan(*span) for span in spoken["spans"]) for spoken in SPOKEN]
LIPS = OUTPUTS.index("lips")


def heard(spans: tuple[PhonemeSpan, ...], level: int = 128) -> np.ndarray:
    return np.full((spans[-1].end // TICK_SAMPLES + 10, 40), level, np.uint8)


@pytest.mark.parametrize("spans", UTTERANCES)
@pytest.mark.parametrize("style", load_styles(), ids=lambda style: style.name)
def test_every_closure_shuts_the_lips_of_every_character(spans: tuple[PhonemeSpan, ...], style: Style) -> None:
    lesson = teach(spans, heard(spans), style=style)
    marks = closure_marks([(lesson.targets, lesson.closures)])
    assert marks.count > 0
    assert marks.recall == 1.0


@given(st.integers(0, 20_000), st.integers(480, 9_600))
def test_a_closure_of_any_length_falls_on_a_frame(start: int, length: int) -> None:
    spans = (PhonemeSpan("ɑː", 0, start + 9_600), PhonemeSpan("b", start + 9_600, start + 9_600 + length))
    lesson = teach(spans, heard(spans))
    assert lesson.targets[:, LIPS].max() > 0.999


def test_closures_are_where_the_sounds_are() -> None:
    spans = (PhonemeSpan("ɑː", 0, 9_600), PhonemeSpan("m", 9_600, 14_400), PhonemeSpan("iː", 14_400, 19_200))
    (closure,) = closures(spans)
    assert closure.symbol == "m"
    assert 9.5 <= closure.start < closure.end <= 15.0


def test_loud_syllables_open_wider_and_move_head_and_brows() -> None:
    spans = (PhonemeSpan("ɑː", 0, 19_200, 2), PhonemeSpan("s", 19_200, 28_800), PhonemeSpan("ɑː", 28_800, 48_000, 2))
    mel = heard(spans, 110)
    mel[:20] = 160
    targets = teach(spans, mel).targets
    jaw, brow, head = (OUTPUTS.index(name) for name in ("jaw", "brow_inner", "head_pitch"))
    assert targets[10, jaw] > 1.15 * targets[40, jaw]
    assert targets[:15, brow].max() > 1.5 * targets[28:50, brow].max()
    assert targets[:15, head].max() > targets[28:50, head].max()


def test_a_head_follows_the_melody_and_brows_rise_with_high_beats() -> None:
    spans = (PhonemeSpan("ɑː", 0, 48_000, 2),)
    rows = len(heard(spans))
    low, high = (
        teach(spans, heard(spans, 140), pitch=np.full(rows, semitones, np.float32)).targets for semitones in (-4.0, 4.0)
    )
    brow, head, jaw = (OUTPUTS.index(name) for name in ("brow_inner", "head_pitch", "jaw"))
    assert high[20:45, head].mean() < low[20:45, head].mean(), "a head rises: its pitch falls"
    assert high[:, brow].max() > 1.2 * low[:, brow].max()
    assert high[25, jaw] > low[25, jaw], "what is said with weight is articulated"
    flat = teach(spans, heard(spans, 140)).targets
    assert np.array_equal(flat, teach(spans, heard(spans, 140), pitch=np.zeros(rows, np.float32)).targets)


def test_loudness_shows_more_in_some_characters_and_never_in_the_seals() -> None:
    spans = (PhonemeSpan("ɑː", 0, 19_200), PhonemeSpan("b", 19_200, 24_000), PhonemeSpan("ɑː", 24_000, 48_000))
    mel = heard(spans, 110)
    mel[:20] = 160
    jaw = OUTPUTS.index("jaw")

    def contrast(loudness: float) -> float:
        targets = teach(spans, mel, style=Style("one", loudness=loudness)).targets
        return float(targets[10, jaw] / targets[40, jaw])

    assert contrast(0.0) < contrast(1.0) < contrast(1.5)
    loud, quiet = (teach(spans, mel, style=Style("one", loudness=each)).targets[:, LIPS] for each in (1.5, 0.0))
    assert np.array_equal(loud, quiet)


def test_a_pause_after_speech_invites_a_blink() -> None:
    spans = (PhonemeSpan("ɑː", 0, 48_000), PhonemeSpan("", 48_000, 72_000), PhonemeSpan("ɑː", 72_000, 96_000))
    blink = teach(spans, heard(spans)).targets[:, OUTPUTS.index("blink")]
    assert blink[50:65].max() > 0.9
    assert blink[10:40].max() < 0.05


def test_moods_show_in_the_mouth_but_never_open_a_closure() -> None:
    spans = UTTERANCES[0]
    calm, happy = (teach(spans, heard(spans), mood=mood) for mood in ((0.0, 0.0), (1.0, 1.0)))
    smile = OUTPUTS.index("smile")
    assert happy.targets[:, smile].mean() > calm.targets[:, smile].mean() + 0.02
    assert np.array_equal(happy.targets[:, LIPS], calm.targets[:, LIPS])


def test_outputs_stay_in_range_and_have_a_weight_each() -> None:
    assert set(LOSS_WEIGHTS) == set(OUTPUTS)
    for style in load_styles():
        lesson = teach(UTTERANCES[0], heard(UTTERANCES[0], 200), style=style, mood=(1.0, 1.0))
        assert np.isfinite(lesson.targets).all()
        assert lesson.targets[:, : len(MOUTH)].min() >= 0.0 and lesson.targets[:, : len(MOUTH)].max() <= 1.0
        assert lesson.plan.shape[1] == len(PLAN)


def test_styles_with_mistakes_are_refused_by_name(tmp_path: Path) -> None:
    assert load_styles()[0] is NEUTRAL and len(load_styles()) >= 4
    path = tmp_path / "styles.toml"
    path.write_text("[a]\nvolume = 3\n")
    with pytest.raises(ConfigError, match="volume"):
        load_styles(path)
    path.write_text("[a.gains]\nnose = 3\n")
    with pytest.raises(ConfigError, match="nose"):
        load_styles(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_styles(tmp_path / "none.toml")
