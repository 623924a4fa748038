from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core.host.cli import main
from origin.distill.command import Progress


def test_without_pytorch_the_steps_that_train_say_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for arguments in (["train"], ["quantize"], ["adapt", str(tmp_path), "--name", "a"]):
        assert main(["distill", *arguments]) == 2
        said = capsys.readouterr().err.strip()
        assert "pip install -e '.[distill]'" in said and len(said.splitlines()) == 1


def test_a_corpus_of_no_length_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", "corpus", "--minutes", "0"]) == 2
    assert "--minutes" in capsys.readouterr().err


def test_a_bar_says_every_tenth_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress("train")
    for step in range(101):
        bar(step / 100, f"loss {step}")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("train [") and "100%" in lines[-1] and "loss 100" in lines[-1]
