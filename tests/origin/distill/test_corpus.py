from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigError
from core.limits import TICK_SAMPLES
from core.speech.student_layout import LOOKAHEAD_FRAMES, OUTPUTS
from origin.distill.corpus import HELD_OUT_VOICES, TRAINING_VOICES, Clip, about, build, by_people, load, save
from origin.distill.lessons import prepare
from origin.distill.people import Crowd
from origin.distill.teacher import load_styles, teach
from tests.origin.distill.test_flite import SAID, pretend


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return build(0.2, seed=4, situations=1, others=1)


def test_no_voice_is_both_taught_and_examined() -> None:
    assert not set(TRAINING_VOICES) & set(HELD_OUT_VOICES)
    assert len(set(TRAINING_VOICES)) == len(TRAINING_VOICES) > 50
    variants = {voice.partition("+")[2] for voice in HELD_OUT_VOICES if voice.startswith("en-us")}
    assert not variants & {voice.partition("+")[2] for voice in TRAINING_VOICES}


def test_clips_are_speech_with_its_phonemes(clips: list[Clip]) -> None:
    assert sum(len(clip.clean) for clip in clips) * 0.02 > 0.2 * 60
    for clip in clips:
        assert clip.heard.shape == (2, *clip.clean.shape)
        voiced = [span for span in clip.spans if span.symbol]
        first, last = voiced[0].start // TICK_SAMPLES, voiced[-1].end // TICK_SAMPLES
        assert clip.clean[first:last].mean() > clip.clean[: max(first - 3, 1)].mean() + 20
        assert last <= len(clip.clean)


def test_people_say_their_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, f"write(0.9); print({SAID!r})\n")
    spoken = build(0.15, seed=4, situations=1, people=0.5)
    told = about(spoken)
    people = [clip for clip in spoken if by_people(clip)]
    assert 0 < len(people) < len(spoken) == told["clips"]
    assert 0.0 < told["part_by_people"] < 1.0
    assert people[0].spans[1].symbol == "m"
    assert all(clip.pitch.shape == (len(clip.clean),) for clip in spoken)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="flite is missing"):
        build(0.1, seed=4, people=0.5)


def test_the_same_seed_says_the_same(clips: list[Clip]) -> None:
    again = build(0.05, seed=4, situations=1, others=1)
    assert [clip.name for clip in again] == [clip.name for clip in clips][: len(again)]


def test_a_corpus_is_read_as_it_was_written(clips: list[Clip], tmp_path: Path) -> None:
    save(tmp_path / "corpus.npz", clips)
    for one, other in zip(load(tmp_path / "corpus.npz"), clips, strict=True):
        assert (one.name, one.spans) == (other.name, other.spans)
        assert np.array_equal(one.clean, other.clean) and np.array_equal(one.heard, other.heard)
        assert np.allclose(one.pitch, other.pitch, atol=0.01)
    (tmp_path / "corpus.npz").write_bytes(b"PK no zip")
    with pytest.raises(ConfigError, match="is no corpus"):
        load(tmp_path / "corpus.npz")
    with pytest.raises(ConfigError, match="visavis distill corpus"):
        load(tmp_path / "none.npz")


def test_lessons_answer_for_the_frame_before_the_lookahead(clips: list[Clip]) -> None:
    styles = load_styles()
    lessons = prepare(clips, styles, moods=False)
    assert lessons.targets.shape == (len(styles), sum(len(clip.clean) for clip in clips), len(OUTPUTS))
    clip = clips[1]
    begin = int(lessons.starts[1])
    wanted = teach(clip.spans, clip.clean, style=styles[2], pitch=clip.pitch).targets
    given = lessons.targets[2, begin + LOOKAHEAD_FRAMES : begin + len(clip.clean)]
    assert np.allclose(given, wanted[:-LOOKAHEAD_FRAMES], atol=2e-3)


def test_another_speaker_says_the_same_at_the_same_time(clips: list[Clip]) -> None:
    crowd = Crowd()
    clip = clips[0]
    said = crowd.speak(clip.clean, clip.spans, np.random.default_rng(0))
    again = crowd.speak(clip.clean, clip.spans, np.random.default_rng(0))
    other = crowd.speak(clip.clean, clip.spans, np.random.default_rng(1))
    assert said.shape == clip.clean.shape and said.dtype == np.uint8
    assert np.array_equal(said, again) and not np.array_equal(said, other)
    assert np.corrcoef(said.mean(axis=1), clip.clean.mean(axis=1))[0, 1] > 0.85
    assert 3.0 < np.abs(said.astype(float) - clip.clean).mean() < 40.0
    silence = np.zeros((20, 40), np.uint8)
    assert np.array_equal(crowd.speak(silence, (), np.random.default_rng(0)), silence)
