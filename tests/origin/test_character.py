from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigError
from origin.dialogue.character import Character, load_character, load_characters


@pytest.fixture(scope="module")
def mira() -> Character:
    return load_characters()["mira"]


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


def test_two_files_of_one_character_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_characters(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(_MINIMAL)
    with pytest.raises(ConfigError, match=r"\bx\b"):
        load_characters(tmp_path)


def test_a_mood_nobody_described_is_neutral(mira: Character) -> None:
    assert mira.feeling("happy").valence > 0
    feeling = mira.feeling("no such mood")
    assert (feeling.label, feeling.valence, feeling.arousal) == ("neutral", 0.0, 0.0)
