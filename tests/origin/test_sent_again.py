"""What is said again to a viewer that has lost its POP: from where it was heard to be, and nothing that it heard."""

from __future__ import annotations

from core.limits import SPEECH_QUEUE_PACKETS_MAX, TICK_SAMPLES
from core.speech.messages import (
    Playout,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    TurnState,
    WordSpan,
)
from origin.sent_again import SentAgain
from tests.reachable import reachable_bytes


def spoken(packets: int, *, end: bool = False) -> SentAgain:
    again = SentAgain()
    again.sent(TurnState(state="speaking"))
    again.sent(SpeechStart(utterance_id=3, turn_id=2))
    words = tuple(WordSpan(f"w{n}", n * 9_600, (n + 1) * 9_600) for n in range(packets // 10))
    again.sent(ReplyText(utterance_id=3, text="words", words=words))
    for index in range(packets):
        again.sent(SpeechPacket(utterance_id=3, index=index, opus=b"o"))
    if end:
        again.sent(SpeechEnd(utterance_id=3, packets=packets))
    return again


def test_it_goes_on_from_where_the_viewer_was() -> None:
    again = spoken(50, end=True)
    again.heard(Playout(utterance_id=3, heard_until=20 * TICK_SAMPLES + 100))
    again.heard(Playout(utterance_id=3, heard_until=5 * TICK_SAMPLES))  # an old report
    again.heard(Playout(utterance_id=9, heard_until=1 << 40))
    start, text, *packets, end = again.rest()
    assert start == SpeechStart(utterance_id=3, turn_id=2, first=20)
    assert isinstance(text, ReplyText)
    assert (text.text, [word.text for word in text.words]) == ("", ["w2", "w3", "w4"])
    assert [packet.index for packet in packets if isinstance(packet, SpeechPacket)] == list(range(20, 50))
    assert end == SpeechEnd(utterance_id=3, packets=50)


def test_what_was_heard_to_its_end_or_cut_is_not_said_again() -> None:
    again = spoken(50, end=True)
    again.heard(Playout(utterance_id=3, heard_until=50 * TICK_SAMPLES))
    assert again.rest() == []
    again = spoken(50)
    again.sent(SpeechCancel(utterance_id=3))
    assert again.rest() == []
    assert SentAgain().rest() == []


def test_what_is_kept_is_bounded() -> None:
    again = spoken(4 * SPEECH_QUEUE_PACKETS_MAX)
    rest = again.rest()
    assert isinstance(rest[0], SpeechStart)
    assert rest[0].first == 3 * SPEECH_QUEUE_PACKETS_MAX
    assert len(rest) == 2 + SPEECH_QUEUE_PACKETS_MAX


def test_what_was_heard_is_not_kept_for_the_rest_of_the_utterance() -> None:
    again = SentAgain()
    again.sent(SpeechStart(utterance_id=3, turn_id=2))
    sizes: list[int] = []
    for index in range(60 * 60):
        if index % 10 == 0:
            word = WordSpan(f"w{index}", index * TICK_SAMPLES, (index + 10) * TICK_SAMPLES)
            again.sent(ReplyText(utterance_id=3, text=word.text, words=(word,)))
        again.sent(SpeechPacket(utterance_id=3, index=index, opus=b"o"))
        if index % 10 == 9:
            again.heard(Playout(utterance_id=3, heard_until=(index - 50) * TICK_SAMPLES))
            sizes.append(reachable_bytes(again))
    assert max(sizes[60:]) <= max(sizes[:60]) + 1_000
    start, text, *packets = again.rest()
    assert start == SpeechStart(utterance_id=3, turn_id=2, first=3_549)
    assert isinstance(text, ReplyText) and [word.text for word in text.words] == [
        f"w{n}" for n in range(3540, 3600, 10)
    ]
    assert [packet.index for packet in packets if isinstance(packet, SpeechPacket)] == list(range(3_549, 3_600))


def test_an_utterance_that_pauses_has_begun_all_the_same() -> None:
    again = spoken(50)
    again.heard(Playout(utterance_id=3, heard_until=50 * TICK_SAMPLES))
    assert again.rest() == [SpeechStart(utterance_id=3, turn_id=2, first=50)]
