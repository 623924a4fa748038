"""The benchmark `ear`, small: what it measures is plausible, and the ear keeps its bars on what it never learnt."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import ConfigError
from edge.ear import Ear
from edge.inference import VoiceActivity
from loadtests.bench._ear_corpus import capture, held_out_questions, natural_utterances, training_questions, utterances
from loadtests.bench.ear import listen
from loadtests.bench.harness import percentile

pytest.importorskip("espeakng_loader")


def test_training_and_judging_share_no_sentence_and_no_voice() -> None:
    training, held_out = training_questions(400, 7), held_out_questions(60, 1)
    assert {question.voice for question in training}.isdisjoint(question.voice for question in held_out)
    assert {question.text for question in training}.isdisjoint(question.text for question in held_out)
    assert [q.text for q in training] == [q.text for q in training_questions(400, 7)]


def test_ends_are_seen_within_110_ms_and_pauses_mostly_passed_over() -> None:
    vad = VoiceActivity()
    questions = held_out_questions(60, 1)[:60]
    heard = [listen(Ear(vad), spoken) for spoken in utterances(questions, seed=1, rooms=False)]
    assert percentile([item.end_ms for item in heard], 95) <= 110.5
    assert sum(h.false_reactions for h in heard) / sum(h.speech_s for h in heard) * 60.0 <= 6.0


def test_silence_is_no_utterance() -> None:
    with pytest.raises(ConfigError, match="no speech"):
        capture("nothing", np.zeros(48_000, np.float32), seed=0)


def test_an_empty_folder_is_no_corpus(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError, match="no WAV"):
        natural_utterances(tmp_path_factory.mktemp("empty"))
