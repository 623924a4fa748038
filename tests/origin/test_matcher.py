from __future__ import annotations

import pytest

from origin.dialogue.character import Character, load_characters
from origin.dialogue.matcher import Matcher


@pytest.fixture(scope="module")
def mira() -> Character:
    return load_characters()["mira"]


PARAPHRASES = {
    "could you tell me about the moon please": "moon",
    "i would like to know about black holes": "black_holes",
    "how far is it to the moon": "moon",
    "why is the planet mars so red": "mars",
    "which is the biggest of the planets": "jupiter",
    "do you know any good jokes": "joke",
    "what are the opening hours today": "hours",
    "how much does one ticket cost": "tickets",
    "tell me about the milky way galaxy": "galaxy",
    "what are saturn's rings made of": "saturn",
    "please tell me something about the sun": "sun",
    "thank you so much mira": "thanks",
}
STRANGERS = (
    "where is the train station",
    "how do i bake a chocolate cake",
    "who won the game last night",
    "please turn off the lights",
    "what is the capital of peru",
    "my brother plays football every weekend",
    "i left my umbrella on the train",
    "the soup needs a little more salt",
    "is it going to rain tomorrow",
    "can you send an email to my boss",
    "there is a spider in the bathroom",
    "how do i get to the airport",
)


def test_the_threshold_parts_paraphrases_from_other_peoples_questions(mira: Character) -> None:
    matcher = Matcher(mira)
    found = {text: matcher.match(text) for text in PARAPHRASES}
    meant = {text: match.intent.name for text, match in found.items() if match is not None}
    assert len(meant) >= 10, sorted(set(PARAPHRASES) - set(meant))
    assert meant == {text: PARAPHRASES[text] for text in meant}
    believed = [text for text in STRANGERS if matcher.match(text) is not None]
    assert len(believed) <= 1, believed


@pytest.mark.parametrize("text", ["no", "hm", "the son", "may i", "bike", "sun dance", "so"])
def test_one_or_two_words_are_not_taken_for_what_they_are_like(mira: Character, text: str) -> None:
    assert Matcher(mira).match(text) is None


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
    assert matcher.completeness("i would like to know") == "unknown"
    assert matcher.completeness("could you please tell me about the milky way") == "complete"
