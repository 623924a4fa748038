from __future__ import annotations

from core.speech.messages import WordSpan
from origin.dialogue.heard import SpokenUtterance


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
