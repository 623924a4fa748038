"""Nothing of a wrong guess is ever seen or heard: random conversations with a real pipeline, model server and voice.

Every answer of the model has a word for the question it answers, so that each text on the bus says whose it is. The
assertion's message names the seed that failed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
from collections import Counter

import pytest
from pipecat.frames.frames import (
    Frame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from core.session.speculation import Guess, Outcome
from core.speech.messages import (
    BargeIn,
    Fault,
    Mood,
    Ready,
    ReplyText,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    Transcript,
    TurnState,
    UserText,
    encode,
    up_subject,
)
from origin.config import LlmConfig, TurnConfig
from origin.dialogue.answer import Answer
from origin.dialogue.llm import ScriptedLLMService
from origin.dialogue.matcher import Matcher
from origin.dialogue.services import STT, Shared
from tests.origin.openai_api import Api, serving
from tests.origin.viewer import Viewer, synthesise

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAUSE_S = 0.15
SEEDS = range(12)
TURNS = 6
ABOUT = re.compile(r"about (\w+)")


class Written(FrameProcessor):
    """In the place of a recogniser: the test writes the transcripts."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


@pytest.fixture(autouse=True)
def written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STT, "written", lambda shared, character: Written())


def services(shared: Shared, api: Api, **turn: float | bool) -> Shared:
    llm = LlmConfig(service="openai", base_url=api.url, model="m", api_key="k", first_token_s=0.3, stall_s=0.3)
    config = dataclasses.replace(
        shared.config,
        llm=llm,
        stt=dataclasses.replace(shared.config.stt, service="written"),
        turn=dataclasses.replace(TurnConfig(pause_s=PAUSE_S, smart=False), **turn),  # type: ignore[arg-type]
    )
    return dataclasses.replace(shared, config=config, ending=None, openings={})


def name(text: str) -> str:
    """A short word that stands for exactly these words."""
    number = sum(ord(letter) * 31**place for place, letter in enumerate(text.lower()))
    return "".join("bdfgklmnprstvz"[number // 70**place % 14] + "aeiou"[number // 70**place % 5] for place in range(3))


def answer(text: str) -> str:
    return f"This is about {name(text)}, I say. And about {name(text)} again."


class User:
    """Talks to one session through the frames that detector and recogniser would push."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.said: list[str] = []

    async def push(self, frame: Frame) -> None:
        await self.viewer.session._worker.queue_frame(frame)

    async def say(self, text: str, late_s: float = 0.005) -> None:
        await self.push(VADUserStartedSpeakingFrame())
        await asyncio.sleep(0.01)
        await self.push(VADUserStoppedSpeakingFrame())
        await asyncio.sleep(late_s)
        await self.push(TranscriptionFrame(text, "viewer", "", finalized=True))


async def converse(shared: Shared, seed: int, outcomes: Counter[str]) -> None:
    rng = random.Random(seed)
    api = Api(answer=answer)
    async with serving(api) as api:
        viewer = await Viewer.connect(services(shared, api), f"seed-{seed}")
        user = User(viewer)
        for turn in range(TURNS):
            api.chat = rng.choice(["normal"] * 4 + ["slow", "error", "busy", "breaks", "stalls", "empty"])
            api.word_s = rng.choice([0.0, 0.0, 0.005, 0.02])
            for part in range(rng.choice([1, 1, 2, 3])):
                await user.say(f"please explain thing {turn} and part {part}", rng.choice([0.0, 0.005, 0.05]))
                await asyncio.sleep(rng.choice([0.0, 0.02, 0.08, PAUSE_S - 0.01, PAUSE_S + 0.02]))
                if rng.random() < 0.2:
                    api.chat = rng.choice(["normal", "error"])
            match rng.randrange(6):
                case 0:
                    await viewer.send(BargeIn(utterance_id=len(viewer.all(SpeechStart)), heard_until=0))
                case 1:
                    await viewer.send(UserText(text=f"typed thing {turn}"))
                case _:
                    await asyncio.sleep(rng.choice([0.0, 0.1, 0.4, 0.9]))
        await asyncio.sleep(0.8)
        try:
            check(viewer)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        finally:
            await viewer.aclose()
    outcomes["requests"] += len(api.log)


def check(viewer: Viewer) -> None:
    """Every text that was published answers the last question of its moment, and all sound belongs to such a text."""
    asked: set[str] = set()
    questions = faults = 0
    utterances: set[int] = set()
    for _, message in viewer.received:
        match message:
            case Transcript(final=True):
                asked = {name(message.text)}
            case TurnState(state="thinking"):
                questions += 1
            case ReplyText():
                utterances.add(message.utterance_id)
                numbers = set(ABOUT.findall(message.text))
                typed = {name(f"typed thing {turn}") for turn in range(TURNS)}
                assert numbers <= asked | typed, f"{message.text!r} answers none of {asked}"
            case SpeechPacket() | SpeechEnd():
                assert message.utterance_id in utterances, "sound without its text"
            case Fault():
                faults += 1
                assert faults <= questions, f"{message}, and nobody waits for this answer"
            case Mood():
                assert questions, f"{message}, and nobody has asked"
            case _:
                pass


async def test_nothing_of_a_wrong_guess_is_ever_published(shared: Shared) -> None:
    counts: Counter[str] = Counter()
    results = await asyncio.gather(*(converse(shared, seed, counts) for seed in SEEDS), return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    assert not failed, failed[0]
    assert counts["requests"] > len(SEEDS) * 3


async def one_turn(shared: Shared, api: Api, *parts: str, gap_s: float = 0.05) -> tuple[Viewer, list[Outcome]]:
    outcomes: list[Outcome] = []
    viewer = await Viewer.connect(services(shared, api), on_guess=outcomes.append)
    user = User(viewer)
    for part in parts:
        await user.say(part)
        await asyncio.sleep(gap_s)
    return viewer, outcomes


async def test_a_question_is_thought_about_in_the_pause_and_answered_once(shared: Shared) -> None:
    async with serving(Api(answer=answer)) as api:
        viewer, outcomes = await one_turn(shared, api, "please explain this thing", gap_s=0.1)
        assert api.log == [("chat", "please explain this thing")]  # asked before the turn is over
        assert [type(message) for _, message in viewer.received] == [Ready, Ready, TurnState]
        assert viewer.session.history() == []
        reply = await viewer.wait(ReplyText)
        assert name("please explain this thing") in reply.text
        assert outcomes == ["confirmed"] and len(api.log) == 1
        await viewer.wait(SpeechEnd, timeout_s=15)
        assert [message["role"] for message in viewer.session.history()] == ["user", "assistant"]
        assert [turn.state for turn in viewer.all(TurnState)] == ["listening", "thinking", "speaking", "idle"]
        await viewer.aclose()


async def test_who_goes_on_is_answered_for_all_that_was_said(shared: Shared) -> None:
    async with serving(Api(answer=answer)) as api:
        viewer, outcomes = await one_turn(shared, api, "please explain this", "and that as well")
        await viewer.wait(SpeechPacket)
        whole = "please explain this and that as well"
        assert [text for _, text in api.log] == ["please explain this", whole]
        assert outcomes == ["went-on", "confirmed"]
        assert all(name(whole) in reply.text for reply in viewer.all(ReplyText))
        assert viewer.all(SpeechStart)[0].utterance_id == 1
        await viewer.aclose()


async def test_a_guess_that_fails_is_silent_and_asked_again(shared: Shared) -> None:
    async with serving(Api(answer=answer, chat="error")) as api:
        viewer, outcomes = await one_turn(shared, api, "please explain this", gap_s=0.08)
        assert outcomes == ["failed"] and viewer.all(Fault) == []
        api.chat = "normal"
        await viewer.wait(SpeechPacket)
        assert viewer.all(Fault) == [] and len(api.log) == 2
        await viewer.aclose()


async def test_a_service_that_stays_broken_is_apologised_for_once(shared: Shared) -> None:
    async with serving(Api(answer=answer, chat="error")) as api:
        viewer, outcomes = await one_turn(shared, api, "please explain this", gap_s=0.08)
        reply = await viewer.wait(ReplyText)
        assert shared.characters["mira"].apologies["llm-failed"].startswith(reply.text)
        assert len(viewer.all(Fault)) == 1 and outcomes == ["failed"]
        await viewer.aclose()


async def test_a_barge_in_or_typed_text_ends_a_guess(shared: Shared) -> None:
    async with serving(Api(answer=answer)) as api:
        viewer, outcomes = await one_turn(shared, api, "please explain this")
        await viewer.send(UserText(text="typed thing 1"))
        reply = await viewer.wait(ReplyText)
        assert name("typed thing 1") in reply.text and outcomes[0] == "interrupted"
        await viewer.aclose()


async def test_a_question_that_is_interrupted_in_the_same_breath_is_not_answered(shared: Shared) -> None:
    """Interruptions overtake frames that were pushed just before them."""
    async with serving(Api(answer=answer)) as api:
        viewer = await Viewer.connect(services(shared, api))
        for number in range(6):
            viewer.session._bus.publish_nowait(up_subject("s"), encode(UserText(text=f"typed thing {number}")))
        end = await viewer.wait(SpeechEnd, timeout_s=15)
        await asyncio.sleep(0.3)
        assert end.utterance_id == 1 and len(viewer.all(SpeechStart)) == len(viewer.all(SpeechEnd)) == 1
        assert len(viewer.all(ReplyText)) == 3 and len(api.log) == 1
        await viewer.aclose()


async def test_only_the_first_clause_is_spoken_ahead(shared: Shared) -> None:
    spoken: list[str] = []
    assert shared.voice is not None
    speak = shared.voice.speak

    async def listening(text: str, *args: object, **options: object) -> object:
        spoken.append(text)
        return await speak(text, *args, **options)  # type: ignore[arg-type]

    async with serving(Api(answer=answer)) as api:
        shared.voice.speak = listening  # type: ignore[method-assign,assignment]
        try:
            viewer, _ = await one_turn(shared, api, "please explain this thing", gap_s=0.1)
            before = list(spoken)
            await viewer.wait(SpeechEnd, timeout_s=15)
            assert len(before) == 1 and len(spoken) == 3
            await viewer.aclose()
        finally:
            shared.voice.speak = speak  # type: ignore[method-assign]


async def test_without_speculation_nothing_is_asked_before_the_end(shared: Shared) -> None:
    async with serving(Api(answer=answer)) as api:
        viewer = await Viewer.connect(services(shared, api, speculate=False))
        await User(viewer).say("please explain this")
        await asyncio.sleep(0.1)
        assert api.log == []
        await viewer.wait(ReplyText)
        await viewer.aclose()


async def test_a_wrong_guess_leaves_no_trace_in_a_scripted_character(shared: Shared) -> None:
    mira = shared.characters["mira"]
    llm = ScriptedLLMService(mira, Matcher(mira), seed=3)
    llm.answer("tell me a joke")
    guess = Guess("tell me a joke")
    llm._begin(Answer(guess))
    second = llm.answer("tell me a joke")
    guess.settle("changed")
    llm._begin(Answer())
    assert llm.answer("tell me a joke") == second  # nobody has heard it
    llm._begin(Answer())
    assert llm.answer("tell me a joke") != second


async def test_real_speech_with_a_pause_in_it(shared: Shared) -> None:
    """The real recogniser and detector: nothing of the first half is answered."""
    async with serving(Api(answer=answer)) as api:
        llm = LlmConfig(service="openai", base_url=api.url, model="m", api_key="k")
        outcomes: list[Outcome] = []
        config = dataclasses.replace(shared.config, llm=llm)
        viewer = await Viewer.connect(dataclasses.replace(shared, config=config), on_guess=outcomes.append)
        await viewer.speak(await synthesise(shared, "I would like to know about the"), tail_s=0.25)
        await viewer.speak(await synthesise(shared, "Milky Way."), lead_s=0.0, tail_s=0.6)
        await viewer.wait(SpeechPacket)
        final = [transcript.text for transcript in viewer.all(Transcript) if transcript.final]
        assert len(final) == 1 and all(name(final[0]) in reply.text for reply in viewer.all(ReplyText))
        assert outcomes.count("confirmed") == 1
        await viewer.aclose()
