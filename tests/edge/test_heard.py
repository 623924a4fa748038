"""What was heard, by the viewer's reports, and what an interruption cuts of it."""

from __future__ import annotations

from core.limits import PLAYOUT_REPORT_S, TICK_SAMPLES
from core.speech.messages import Playout, SpeechPacket
from core.stream.speech_track import SpeechTrack
from edge.heard import Heard

NOW = 100.0


def _spoken(packets: int, *, ended: bool = True) -> tuple[SpeechTrack, Heard]:
    """An utterance whose packets were all sent, from media time 0."""
    track = SpeechTrack()
    track.start(1)
    for index in range(packets):
        track.push(SpeechPacket(utterance_id=1, index=index, opus=b"\x78ab"), 0.0)
    if ended:
        track.end(1, packets)
    heard = Heard(track)
    for index in range(packets):
        placed = track.pop(index * TICK_SAMPLES)
        assert placed is not None
        heard.sent(placed, (index + 1) * TICK_SAMPLES)
    return track, heard


def test_the_origin_is_told_now_and_then_and_of_the_end_once() -> None:
    _, heard = _spoken(10)
    sent = 20 * TICK_SAMPLES
    assert heard.report(4 * TICK_SAMPLES, sent=sent, now=NOW)
    told = heard.progress(sent=sent, now=NOW, speaking=False)
    assert told == Playout(utterance_id=1, heard_until=4 * TICK_SAMPLES)
    assert heard.progress(sent=sent, now=NOW + PLAYOUT_REPORT_S / 2, speaking=False) is None
    later = NOW + PLAYOUT_REPORT_S
    told = heard.progress(sent=sent, now=later, speaking=False)
    assert told == Playout(utterance_id=1, heard_until=10 * TICK_SAMPLES)
    assert heard.utterance_id == 0
    assert heard.progress(sent=sent, now=later + 1.0, speaking=False) is None


def test_while_more_follows_the_end_is_not_the_end() -> None:
    _, heard = _spoken(10, ended=False)
    sent = 20 * TICK_SAMPLES
    heard.report(15 * TICK_SAMPLES, sent=sent, now=NOW)
    heard.progress(sent=sent, now=NOW, speaking=True)
    assert heard.utterance_id == 1


def test_an_interruption_cuts_what_plays_or_is_under_way() -> None:
    _, heard = _spoken(10)
    sent = 12 * TICK_SAMPLES
    heard.report(6 * TICK_SAMPLES, sent=sent, now=NOW)
    assert heard.interrupted(sent=sent, now=NOW) == (1, 6 * TICK_SAMPLES)
    assert heard.interrupted(sent=30 * TICK_SAMPLES, now=NOW + 1.0) == (0, 0)


def test_absurd_reports_are_ignored() -> None:
    _, heard = _spoken(10)
    assert not heard.report(0x7FFFFFFF, sent=10 * TICK_SAMPLES, now=NOW)
    assert heard.latency_s(sent=10 * TICK_SAMPLES, now=NOW) is None
