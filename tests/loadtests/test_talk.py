from __future__ import annotations

import argparse
import json
import wave
from pathlib import Path

import numpy as np
import pytest

from core.host.cli import Parser, main
from loadtests import talk
from loadtests.turn import Turn

DATA = Path(__file__).parents[1] / "data"


def write_wav(path: Path, samples: np.ndarray, *, rate_hz: int = 16_000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round(np.repeat(samples, channels) * 32767).astype("<i2").tobytes())
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Run it; it must fail with one line and no traceback."""
    try:
        assert main(["talk", *arguments]) == code
    except SystemExit as left:  # argparse
        assert left.code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_neither_file_nor_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert "either an audio file or --text" in fails(capsys)


def test_both_file_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert "either an audio file or --text" in fails(capsys, "x.wav", "--text", "hello")


def test_empty_and_oversize_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert "empty" in fails(capsys, "--text", "  ")
    assert "at most 2000" in fails(capsys, "--text", "x" * 2_001)


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "1e9", "soon"])
def test_absurd_timeout(capsys: pytest.CaptureFixture[str], timeout: str) -> None:
    assert "timeout" in fails(capsys, "--text", "hello", "--timeout", timeout)


def test_url_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--pop must be a URL" in fails(capsys, "--text", "hello", "--pop", "localhost:8080")


def test_missing_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such file" in fails(capsys, str(tmp_path / "absent.wav"))


def test_not_audio(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "notes.wav"
    path.write_text("These are only words. " * 100)
    assert "not an audio file" in fails(capsys, str(path))


def test_empty_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    assert "is empty" in fails(capsys, str(tmp_path / "empty.wav"))


def test_silence_only(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_wav(tmp_path / "silence.wav", np.zeros(32_000))
    assert "nothing but silence" in fails(capsys, str(path))


def test_ten_minutes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", np.zeros(8_000 * 600), rate_hz=8_000)
    assert "too long" in fails(capsys, str(path))


def test_nowhere_to_write_the_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = str(tmp_path / "absent" / "reply.wav")
    assert "no folder" in fails(capsys, str(DATA / "hello.wav"), "--out", out)


@pytest.mark.parametrize("arguments", [(), ("--origin", "http://127.0.0.1:9")])
def test_nobody_there(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    message = fails(capsys, str(DATA / "hello.wav"), "--pop", "http://127.0.0.1:9", *arguments)
    assert "cannot be reached" in message


def test_parser_takes_what_the_help_promises() -> None:
    parser = Parser(prog="visavis")
    talk.register(parser.add_subparsers(parser_class=Parser))
    options = parser.parse_args(["talk", "a.wav", "--pop", "http://x", "--out", "b.wav", "--json", "--timeout", "3"])
    assert isinstance(options, argparse.Namespace)
    assert (options.question, options.out, options.json, options.timeout) == (Path("a.wav"), Path("b.wav"), True, 3.0)


def test_report_has_exactly_the_promised_keys_and_is_json() -> None:
    turn = Turn(
        transcript="hello",
        reply_text="Hi!",
        first_motion_ms=101.23456,
        first_audio_ms=None,
        edge_added_ms_p99=3.0,
        edge_units=100,
        av_offset_ms=-1.5,
        frames=10,
        mean_frame_bytes=22.125,
        stages={"think": 1.23456},
        false_reactions=0,
        speech_s=1.0,
        faults=(),
        reply_audio=np.zeros(0, dtype=np.float32),
    )
    report = talk.report(turn, "webtransport", {"lost": 2, "repaired": 1, "late": 0})
    assert list(report) == [
        "transport",
        "transcript",
        "reply_text",
        "first_motion_ms",
        "first_audio_ms",
        "edge_added_ms_p99",
        "frames",
        "mean_frame_bytes",
        "av_offset_ms",
        "stages",
        "fec",
    ]
    assert json.loads(json.dumps(report, allow_nan=False))["first_motion_ms"] == 101.23
    assert report["first_audio_ms"] is None
    assert report["stages"] == {"think": 1.23}
    assert (report["transport"], report["fec"]["repaired"]) == ("webtransport", 1)
