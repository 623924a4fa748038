from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from core.errors import ConfigError
from loadtests.audio import read_audio
from loadtests.bench.reply import make_questions
from loadtests.questions import Question, render
from loadtests.signals import end_of_speech, start_of_speech
from tests.data.generate import FOLDER, QUESTIONS

pytestmark = pytest.mark.skipif(importlib.util.find_spec("espeakng_loader") is None, reason="no espeak-ng here")


def test_the_same_question_sounds_the_same_and_every_voice_of_the_bench_exists(tmp_path: Path) -> None:
    questions = make_questions(6, 1)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        render(questions, tmp_path / folder)
    for question in questions:
        first, second = (
            read_audio(tmp_path / folder / f"{question.name}.wav", length_s_max=20) for folder in ("first", "second")
        )
        # espeak-ng's flutter draws its own numbers: a sample more or less, the same sound.
        assert abs(first.size - second.size) < 480
        assert end_of_speech(first, 48_000) == pytest.approx(end_of_speech(second, 48_000), abs=0.031)


def test_pauses_and_silences_lie_where_they_were_asked_for(tmp_path: Path) -> None:
    plain = Question(name="plain", parts=("Tell me", "about Mars"))
    paused = Question(name="paused", parts=("Tell me", "about Mars"), pause_s=0.5)
    files = render([plain, paused], tmp_path)
    short, long = (read_audio(files[name], length_s_max=10) for name in ("plain", "paused"))
    assert (long.size - short.size) / 48_000 == pytest.approx(0.5, abs=0.001)
    begin, end = start_of_speech(long, 48_000), end_of_speech(long, 48_000)
    assert begin == pytest.approx(0.3, abs=0.05)
    assert end is not None
    assert long.size / 48_000 - end == pytest.approx(0.4, abs=0.15)


def test_unknown_voice_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no voice 'xx-klingon'"):
        render([Question(name="q", parts=("Hello",), voice="xx-klingon")], tmp_path)


def test_committed_recordings_are_small_and_hold_speech() -> None:
    for question in QUESTIONS:
        path = FOLDER / f"{question.name}.wav"
        assert path.stat().st_size < 120_000
        assert end_of_speech(read_audio(path, length_s_max=10), 48_000) is not None
