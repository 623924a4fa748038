"""A voice that gives no times, behind a real HTTP server: phonemes and words come, and sound never waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio

from core.host.entropy import SeededEntropy
from core.limits import MEDIA_CLOCK_HZ
from core.speech.messages import Fault, PhonemeSpan, Playout, SpeechEnd, SpeechPacket, TurnState, UserText
from origin.config import OriginConfig, SttConfig, TtsConfig, TurnConfig
from origin.dialogue.aligner import Aligner
from origin.dialogue.character import load_characters
from origin.dialogue.services import Shared
from origin.dialogue.tts import VoiceWorker
from tests.origin.piper_like import PiperLike
from tests.origin.viewer import OPEN, Viewer, sound

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def piper() -> AsyncIterator[PiperLike]:
    voice = VoiceWorker()
    await voice.start()
    server = PiperLike(voice)
    await server.start()
    yield server
    await server.aclose()
    await voice.aclose()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared(piper: PiperLike) -> AsyncIterator[Shared]:
    tts = TtsConfig(service="http", server_url=piper.url, timeout_s=0.8)
    stt = SttConfig(service="openai", base_url="http://127.0.0.1:9/v1")  # nobody speaks to it here
    config = OriginConfig(tts=tts, stt=stt, turn=TurnConfig(smart=False))
    workers = Shared(config, load_characters(), SeededEntropy(7))
    await workers.start()
    yield workers
    for viewer in list(OPEN):
        await viewer.aclose()
    await workers.aclose()


@contextmanager
def behaving(piper: PiperLike, **behaviour: object) -> Iterator[None]:
    before = {name: getattr(piper, name) for name in behaviour}
    piper.said.clear()
    piper.asked.clear()
    try:
        for name, value in behaviour.items():
            setattr(piper, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(piper, name, value)


@asynccontextmanager
async def viewing(shared: Shared) -> AsyncIterator[Viewer]:
    viewer = await Viewer.connect(shared)
    try:
        yield viewer
    finally:
        await viewer.aclose()


async def answered(viewer: Viewer, timeout_s: float = 20.0) -> int:
    """Ask something, wait for the end of what is said. Returns: the utterance."""
    before = len(viewer.all(SpeechEnd))
    await viewer.send(UserText(text="who are you"))
    return (await viewer.wait(SpeechEnd, timeout_s, count=before + 1)).utterance_id


async def begun(viewer: Viewer) -> None:
    """Ask something, wait until the answer has sound and phonemes."""
    before = max((packet.utterance_id for packet in viewer.all(SpeechPacket)), default=0)
    await viewer.send(UserText(text="who are you"))
    await viewer.wait(SpeechPacket, when=lambda packet: packet.utterance_id > before and bool(packet.phonemes))


def phonemes(viewer: Viewer, utterance_id: int) -> list[PhonemeSpan]:
    return [span for packet in sound(viewer, utterance_id) for span in packet.phonemes if span.symbol]


def errors_ms(viewer: Viewer, piper: PiperLike, utterance_id: int) -> npt.NDArray[np.float64]:
    """How far each phoneme begins from where the voice really says it."""
    spoken = viewer.session._state.utterances.get(utterance_id)
    assert spoken is not None
    true: list[tuple[str, int]] = []
    for (_, start, _, _), clause in zip(spoken.clauses, piper.said[-len(spoken.clauses) :], strict=True):
        true += [(symbol, begin + start) for symbol, begin, _, _ in clause.phonemes if symbol]
    found = phonemes(viewer, utterance_id)
    assert [span.symbol for span in found] == [symbol for symbol, _ in true], "every sound once, in order"
    return np.array([(span.start - at) / 48 for span, (_, at) in zip(found, true, strict=True)])


async def test_phonemes_of_a_voice_that_gives_none_are_where_it_says_them(shared: Shared, piper: PiperLike) -> None:
    async with viewing(shared) as viewer:
        with behaving(piper):
            errors = errors_ms(viewer, piper, await answered(viewer))  # how fast this voice speaks is not known yet
        assert np.median(np.abs(errors)) < 20 and np.percentile(np.abs(errors), 90) < 60


async def test_sound_that_comes_slowly_is_heard_at_once_and_corrected_on_the_way(
    shared: Shared, piper: PiperLike
) -> None:
    async with viewing(shared) as viewer:
        with behaving(piper, pieces=12, pause_s=0.15):
            asked = time.monotonic()
            await viewer.send(UserText(text="who are you"))
            first = await viewer.wait(SpeechPacket)
            assert viewer.at(SpeechPacket) - asked < 0.6, "the voice itself takes 1.8 s"
            await viewer.wait(SpeechEnd, 20)
            errors = errors_ms(viewer, piper, first.utterance_id)
        assert np.median(np.abs(errors)) < 35


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (44_100, 2)])
async def test_any_rate_and_stereo(shared: Shared, piper: PiperLike, rate_hz: int, channels: int) -> None:
    async with viewing(shared) as viewer:
        with behaving(piper, rate_hz=rate_hz, channels=channels):
            utterance = await answered(viewer)
            errors = errors_ms(viewer, piper, utterance)
        seconds = sum(len(clause.pcm) for clause in piper.said) / 2 / MEDIA_CLOCK_HZ
        if piper.said:
            assert abs(len(sound(viewer, utterance)) * 0.02 - seconds) < 0.1
        assert np.median(np.abs(errors)) < 25


async def test_what_was_heard_goes_by_the_times_of_its_words(shared: Shared, piper: PiperLike) -> None:
    async with viewing(shared) as viewer:
        with behaving(piper):
            utterance = await answered(viewer)
            await asyncio.sleep(0.5)
            text, start, _, words = viewer.session._state.utterances.get(utterance).clauses[0]  # type: ignore[union-attr]
            true = [(word, begin + start, end + start) for word, begin, end in piper.said[0].words]
        assert [word.text for word in words] == text.split() == [word for word, _, _ in true]
        assert np.median([abs(word.start - begin) / 48 for word, (_, begin, _) in zip(words, true, strict=True)]) < 40
        await viewer.send(Playout(utterance_id=utterance, heard_until=true[2][2]))
        await asyncio.sleep(0.05)
        heard = viewer.session._state.utterances.get(utterance)
        assert heard is not None and heard.heard_text().split() == text.split()[:3]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("429", "too much to do (HTTP 429)"),
        ("400", "refused a clause (HTTP 400)"),
        ("hang", "did not answer"),
        ("stall", "broke off"),
        ("break", "broke off"),
        ("empty", "no sound"),
        ("garbage", "does not begin as a WAV"),
        ("24-bit", "16-bit PCM is needed"),
    ],
)
async def test_a_voice_that_fails_says_so_and_the_session_lives(
    shared: Shared, piper: PiperLike, fault: str, said: str
) -> None:
    async with viewing(shared) as viewer:
        with behaving(piper, fault=fault, pieces=2):
            await viewer.send(UserText(text="who are you"))
            found = await viewer.wait(Fault)
            assert found.code == "tts-failed" and said in found.message
            await viewer.wait(TurnState, 12, when=lambda turn: turn.state == "idle")
        with behaving(piper):
            await begun(viewer)


async def test_a_voice_that_is_busy_for_a_moment_is_asked_again(shared: Shared, piper: PiperLike) -> None:
    async with viewing(shared) as viewer:
        with behaving(piper, fault="429", times=1):
            await begun(viewer)
        assert not viewer.all(Fault)


async def test_a_voice_that_never_stops_is_cut_off(
    shared: Shared, piper: PiperLike, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("origin.dialogue.http_voice.CLAUSE_S_MAX", 5.0)
    async with viewing(shared) as viewer:
        with behaving(piper, repeat=20):
            await viewer.send(UserText(text="who are you"))
            assert "more than 5 s" in (await viewer.wait(Fault)).message


async def test_a_service_of_ones_own_is_timed_like_any_other_and_an_older_piper_is_found(piper: PiperLike) -> None:
    old = PiperLike(piper.voice, old=True)
    await old.start()
    config = OriginConfig(
        tts=TtsConfig(service="tests.origin.piper_like:create", server_url=old.url + "/", server_voice="x"),
        stt=SttConfig(service="openai"),
        turn=TurnConfig(smart=False),
    )
    shared = Shared(config, load_characters(), SeededEntropy(7))
    await shared.start()
    try:
        async with viewing(shared) as viewer:
            await begun(viewer)
            old.fault = "400"
            await viewer.send(UserText(text="who are you"))
            assert (await viewer.wait(Fault)).code == "tts-failed"
        assert old.asked[0]["voice"] == "x"
    finally:
        await shared.aclose()
        await old.aclose()


async def test_without_an_aligner_phonemes_are_stretched_over_the_sound(shared: Shared, piper: PiperLike) -> None:
    assert Aligner.knows("en-gb") and not Aligner.knows("de")
    aligner, shared.aligner = shared.aligner, None
    try:
        async with viewing(shared) as viewer:
            with behaving(piper):
                errors = errors_ms(viewer, piper, await answered(viewer))
    finally:
        shared.aligner = aligner
    assert np.median(np.abs(errors)) < 60, "another espeak voice pauses where this one does: stretching is at its best"


async def test_an_aligner_that_dies_costs_only_exactness(shared: Shared, piper: PiperLike) -> None:
    assert shared.aligner is not None
    async with viewing(shared) as viewer:
        with behaving(piper):
            shared.aligner.process.kill()
            await begun(viewer)
            await shared.aligner.process.wait_up(10)
            errors = errors_ms(viewer, piper, await answered(viewer))
    assert np.median(np.abs(errors)) < 25
