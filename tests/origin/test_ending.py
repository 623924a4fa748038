from __future__ import annotations

import asyncio
from pathlib import Path

import soxr

from loadtests.audio import read_audio
from loadtests.questions import Question, render
from origin.dialogue.ending import EndingJudge

FINISHED = ("the president gave a long speech", "thank you very much", "can you play some music")
UNFINISHED = ("i want to buy a", "my computer is very slow because", "good evening i would like to know")


async def test_what_is_finished_sounds_more_so_than_what_is_not(tmp_path: Path) -> None:
    questions = [Question(name=str(index), parts=(text,)) for index, text in enumerate((*FINISHED, *UNFINISHED))]
    files = render(questions, tmp_path)
    judge = EndingJudge()
    probabilities: list[float] = []
    for question in questions:
        sound = soxr.resample(read_audio(files[question.name], length_s_max=9.0), 48_000, 16_000)[: -16 * 170]
        probabilities.append(await judge.probability((sound * 32_767).astype("<i2").tobytes()))
    judge.close()
    assert min(probabilities[:3]) > 0.5 > max(probabilities[3:]), probabilities


async def test_any_sound_can_be_judged_and_several_at_once() -> None:
    judge = EndingJudge()
    sounds = (b"", bytes(2), bytes(2 * 16_000 * 20))
    probabilities = await asyncio.gather(*(judge.probability(pcm) for pcm in sounds))
    assert all(0.0 <= probability <= 1.0 for probability in probabilities)
    judge.close()
