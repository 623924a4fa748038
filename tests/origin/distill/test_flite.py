from __future__ import annotations

import stat
from itertools import pairwise
from pathlib import Path

import pytest

from core.errors import ConfigError
from origin.distill.flite import FLITE_VOICES, FliteSpeaker, parse_segments

SAID = "pau:0.184 m:0.246 ay:0.374 p:0.451 ae:0.627 t:0.700 pau:0.900 \n"


def pretend(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program called flite that does what a line of Python says; `out` is where the WAV goes."""
    program = folder / "flite"
    program.write_text(
        "#!/usr/bin/env python3\nimport sys, wave\nout = sys.argv[sys.argv.index('-o') + 1]\n"
        "def write(seconds, rate=16000):\n"
        "    with wave.open(out, 'wb') as file:\n"
        "        file.setnchannels(1); file.setsampwidth(2); file.setframerate(rate)\n"
        "        file.writeframes(b'\\1\\2' * int(seconds * rate))\n" + script
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_segments_begin_where_the_last_one_ended() -> None:
    found = parse_segments(SAID)
    assert found[0] == ("pau", 0.0, 0.184) and found[-1] == ("pau", 0.7, 0.9)
    assert all(one[2] == other[1] for one, other in pairwise(found))


@pytest.mark.parametrize("printed", ["", "usage: flite", "a:0.5 b:0.2 "], ids=["nothing", "help", "backwards"])
def test_what_is_no_list_of_segments_is_refused(printed: str) -> None:
    with pytest.raises(ConfigError, match="flite prints no segments"):
        parse_segments(printed)


def test_speech_comes_with_our_symbols_on_our_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, f"write(0.9); print({SAID!r})\n")
    spoken = FliteSpeaker().say("my pat", voice=FLITE_VOICES[0], rate_wpm=165)
    assert spoken is not None
    assert len(spoken.pcm) == pytest.approx(0.9 * 48_000, abs=4)
    assert [span.symbol for span in spoken.spans] == ["", "m", "aɪ", "p", "æ", "t", ""]
    assert spoken.spans[1].start == round(0.184 * 48_000) and spoken.spans[2].stress == 2
    assert spoken.spans[3].start > round(0.374 * 48_000), "a voiceless stop begins with its burst"


def test_silence_is_nothing_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, "write(0.2); print('pau:0.2 ')\n")
    assert FliteSpeaker().say("…", voice="slt", rate_wpm=165) is None


def test_a_voice_that_fails_and_one_that_is_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch, "sys.exit(3)\n")
    with pytest.raises(ConfigError, match="cannot speak as awb"):
        FliteSpeaker().say("hello", voice="awb", rate_wpm=165)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="flite is missing"):
        FliteSpeaker()
