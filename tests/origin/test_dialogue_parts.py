from __future__ import annotations

import asyncio
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from core.limits import TICK_SAMPLES
from core.speech.messages import WordSpan
from origin.dialogue.character import Character, load_character, load_characters
from origin.dialogue.clauses import ClauseSplitter, split_clauses
from origin.dialogue.grammar import build_grammar, normalise
from origin.dialogue.heard import SpokenUtterance
from origin.dialogue.matcher import Matcher
from origin.dialogue.opus_voice import MicrophoneDecoder, VoiceEncoder
from origin.dialogue.services import Shared
from origin.dialogue.tts import SpeechFailedError
from tests.origin.viewer import synthesise


@pytest.fixture(scope="module")
def mira() -> Character:
    return load_characters()["mira"]


# --- character ---------------------------------------------------------------------------------------------------

_MINIMAL = """
id = "x"
name = "X"
puppet = "x"
fallback = ["What?"]
not_heard = ["Again?"]
[apologies]
stt-failed = "a"
tts-failed = "b"
llm-slow = "c"
llm-failed = "d"
"""


def test_mira_knows_what_she_should(mira: Character) -> None:
    assert len(mira.intents) >= 15
    assert {"greeting", "name", "hours", "joke", "thanks", "goodbye", "moon"} <= {i.name for i in mira.intents}


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ("", ""),
        ("[voise]\nname = 'en'", "voise is unknown, did you mean voice?"),
        ("[voice]\nspeed = 3", "voice.speed is unknown"),
        ("[voice]\npitch = 300", "voice.pitch must be a number from 0 to 99"),
        ("[[intents]]\nname='a'\nexamples=['hi']\nlines=[]", "intents[0].lines must be a list of texts"),
        ("[[intents]]\nname='a'\nexamples=['hi']\nlines=['x']\nmood='odd'", "intents[0].mood is 'odd'"),
        ("[[intents]]\nname='a'\nexamples=['?!']\nlines=['x']", "has a phrase without words"),
        ("[pronunciations]\nzyx = 'Z QQ'", "pronunciations.zyx has 'QQ'"),
        ("nonsense = [", "is not valid TOML"),
    ],
)
def test_a_wrong_character_is_refused_by_name(tmp_path: Path, extra: str, complaint: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(_MINIMAL + extra)
    if not complaint:
        assert load_character(path).id == "x"
        return
    with pytest.raises(ConfigError) as caught:
        load_character(path)
    assert complaint in str(caught.value) and "\n" not in str(caught.value).strip()


# --- matching ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("Hello, Mira!", "greeting"),
        ("Could you please tell me a joke?", "joke"),
        ("How far is the moon from here?", "moon"),
        ("So, what's your name then?", "name"),
        ("what time are you open", "hours"),
        ("tell me something about mars please", "mars"),
        ("how many planets are there in total", "planets"),
        ("thanks a lot for that", "thanks"),
        ("I want to buy a new car", None),
        ("please open the window", None),
        ("what did you eat for breakfast", None),
        ("my computer is very slow", None),
        ("can you play some music", None),
        ("the weather will be cold tomorrow", None),
        ("", None),
        ("?!", None),
    ],
)
def test_matching(mira: Character, text: str, intent: str | None) -> None:
    found = Matcher(mira).match(text)
    assert (found.intent.name if found else None) == intent


def test_completeness(mira: Character) -> None:
    matcher = Matcher(mira)
    assert matcher.completeness("what is your name") == "complete"
    assert matcher.completeness("tell me about the") == "incomplete"
    assert matcher.completeness("my dog likes cheese") == "unknown"
    assert matcher.completeness("") == "unknown"


# --- grammar -----------------------------------------------------------------------------------------------------


def test_grammar_leaves_out_what_cannot_be_pronounced() -> None:
    grammar = build_grammar(["Hi there!", "Hi Zyx", "hi Mira", "?"], {"hi", "there"}, {"mira": "M IH R AH"})
    assert grammar.phrases == ("hi there", "hi mira")
    assert grammar.unknown == ("zyx",)
    assert grammar.pronunciations == {"mira": "M IH R AH"}
    assert "hi there" in grammar.jsgf
    assert build_grammar(["Zyx"], set(), {}).jsgf == ""


def test_normalise() -> None:
    assert normalise("What\u2019s   UP, Doc? 42") == "what's up doc"


# --- clauses -----------------------------------------------------------------------------------------------------


def test_clauses_come_early_and_whole() -> None:
    assert split_clauses("Hello there, friend. I am Dr. Who! **Bold** [link](http://x). 👍") == [
        "Hello there,",
        "friend.",
        "I am Dr. Who!",
        "Bold link.",
    ]
    assert all(len(clause) <= 220 for clause in split_clauses("word " * 400))


@given(st.text(max_size=300), st.integers(1, 20))
def test_clauses_do_not_depend_on_the_pieces(text: str, size: int) -> None:
    whole = ClauseSplitter()
    expected = [*whole.feed(text)]
    if rest := whole.flush():
        expected.append(rest)
    pieces = ClauseSplitter()
    found: list[str] = []
    for index in range(0, len(text), size):
        found += pieces.feed(text[index : index + size])
    if rest := pieces.flush():
        found.append(rest)
    # Where a clause ends may depend on how much is known; no word is lost or doubled.
    assert "".join("".join(found).split()) == "".join("".join(expected).split())


# --- what was heard ----------------------------------------------------------------------------------------------


def test_heard_words() -> None:
    utterance = SpokenUtterance(1, 1)
    utterance.add("One two.", 0, 200, (WordSpan("One", 0, 100), WordSpan("two.", 100, 200)))
    utterance.add("three four", 200, 400, ())
    heard = []
    for position in (0, 49, 50, 149, 150, 260, 399, 400):
        utterance.note(position)
        heard.append(utterance.heard_text())
    assert heard[:5] == ["", "", "One", "One", "One two."]
    assert heard[5] == "One two. three" and heard[-1] == utterance.text == "One two. three four"
    utterance.note(0)
    assert utterance.heard_text() == utterance.text


# --- opus --------------------------------------------------------------------------------------------------------


def test_the_clock_is_that_of_the_decoded_sound() -> None:
    encoder = VoiceEncoder(28_000)
    pcm = np.zeros(TICK_SAMPLES * 10, np.int16)
    time_s = np.arange(2_000) / 48_000
    pcm[4_000:6_000] = (8_000 * np.sin(2 * np.pi * 300 * time_s) * np.hanning(2_000)).astype(np.int16)
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = 48_000, "mono"
    out: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
    for start in range(0, len(pcm), TICK_SAMPLES):
        packet = av.Packet(encoder.encode(pcm[start : start + TICK_SAMPLES]))
        out += [frame.to_ndarray().reshape(-1).astype(np.float64) for frame in decoder.decode(packet)]
    decoded = np.concatenate(out)
    lag = int(np.argmax(np.correlate(decoded, pcm.astype(np.float64), "full"))) - (len(pcm) - 1)
    assert encoder.delay_samples == 312
    assert abs(lag - encoder.delay_samples) <= 24  # half a millisecond


def test_a_microphone_packet_that_is_not_opus() -> None:
    decoder = MicrophoneDecoder(16_000)
    for packet in (b"", b"\xff" * 5, b"\x03"):
        with pytest.raises(ValueError, match=r".+"):
            decoder.decode(packet)
    good = VoiceEncoder(28_000).encode(np.zeros(TICK_SAMPLES, np.int16))
    total = sum(len(decoder.decode(good)) for _ in range(50))
    assert abs(total - 32_000) < 2_000


# --- voice and ears, for real ------------------------------------------------------------------------------------


@pytest.mark.asyncio(loop_scope="module")
async def test_phonemes_lie_within_the_sound_and_words_keep_their_spelling(shared: Shared, mira: Character) -> None:
    assert shared.voice is not None
    text = "Hello, I'm Mira: 384,000 stars!"
    clause = await shared.voice.speak(text, mira.voice)
    samples = len(clause.pcm) // 2
    assert [word for word, _, _ in clause.words] == text.split()
    assert all(0 <= start <= end <= samples for _, start, end in clause.words)
    assert all(a[2] == b[1] for a, b in zip(clause.phonemes, clause.phonemes[1:], strict=False))
    assert any(stress == 2 for *_, stress in clause.phonemes)
    pcm = np.frombuffer(clause.pcm, "<i2").astype(np.float64) / 32768
    voiced = [pcm[start:end] for symbol, start, end, _ in clause.phonemes if symbol and end > start]
    silent = [pcm[start:end] for symbol, start, end, _ in clause.phonemes if not symbol and end > start]
    loudness = [float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) for parts in (voiced, silent)]
    assert loudness[0] > 5 * loudness[1]
    assert 0.05 < loudness[0] < 0.3 and np.abs(pcm).max() < 1.0


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_voice_is_an_error_and_the_worker_lives(shared: Shared, mira: Character) -> None:
    from origin.dialogue.character import Voice

    assert shared.voice is not None
    with pytest.raises(SpeechFailedError, match="no voice"):
        await shared.voice.speak("Hello", Voice(name="en-gb"))
    assert (await shared.voice.speak("Hello", mira.voice)).pcm


@pytest.mark.asyncio(loop_scope="module")
async def test_the_recogniser_tells_phrases_from_other_speech(shared: Shared) -> None:
    assert shared.ears is not None
    phrases = ["how far away is the moon", "tell me a joke", "what is a black hole", "when are you open"]
    others = ["i want to buy a new car", "the president gave a long speech", "my computer is very slow"]
    right = believed = 0
    for voice in ("en-us", "en-us+f2"):
        for text in (*phrases, *others):
            pcm = np.concatenate(
                [np.zeros(9_600, np.int16), await synthesise(shared, text, voice), np.zeros(9_600, np.int16)]
            )
            hearing = shared.ears.listen("mira", lambda partial: None)
            hearing.feed(pcm[::3].tobytes())
            hearing.finish()
            async with asyncio.timeout(10):
                report = await hearing.result
            if text in phrases:
                right += report.text == text
            else:
                believed += report.in_grammar
    assert right >= 7 and believed <= 1
