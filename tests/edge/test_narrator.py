"""What is said of an utterance that ends early, or stops for a while."""

from __future__ import annotations

import json

from core.limits import TICK_SAMPLES
from core.speech.messages import ReplyText, SpeechPacket, WordSpan
from edge.narrator import Narrator
from tests.edge.stage import VOICE, Stage


def test_words_after_the_end_of_a_shortened_utterance_are_never_heard() -> None:
    said: list[str] = []
    narrator = Narrator(send=said.append, keep=lambda text: None, wall_clock=lambda: 0.0)
    words = tuple(WordSpan(text, at * TICK_SAMPLES, (at + 10) * TICK_SAMPLES) for at, text in ((0, "one"), (10, "two")))
    for number in (1, 2):
        narrator.receive(ReplyText(utterance_id=number, text="one two", words=words))
    narrator.utterance_placed(1, 0)
    narrator.utterance_placed(2, 12 * TICK_SAMPLES)
    narrator.shorten(1, packets=12)
    narrator.heard(100 * TICK_SAMPLES)
    assert [json.loads(text)["data"]["text"] for text in said] == ["one", "one", "two"]


def test_words_wait_while_their_voice_does() -> None:
    stage = Stage()
    stage.connect()
    words = tuple(WordSpan(text, at * TICK_SAMPLES, (at + 5) * TICK_SAMPLES) for at, text in ((2, "a"), (12, "b")))
    stage.session.receive(ReplyText(utterance_id=1, text="a b", words=words), stage.now)
    stage.say(1, 10, end=False)
    stage.ticks(100)
    assert [word["text"] for word in stage.link.words("bot-tts-text")] == ["a"]
    for index in range(10, 20):
        packet = SpeechPacket(utterance_id=1, index=index, opus=VOICE, log_mel=bytes(40))
        stage.session.receive(packet, stage.now)
    stage.ticks(30)
    assert [word["text"] for word in stage.link.words("bot-tts-text")] == ["a", "b"]
