"""What people type, and what they are told when it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.host.cli import main as visavis
from origin.workers.process import main


@pytest.mark.parametrize("name", ["", "a b", "a.b", "*", "x" * 64])
def test_a_name_that_is_none_is_one_clear_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--name", name]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "a worker's name has letters" in told


def test_where_no_origin_is_nobody_is_asked_for_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--fabric", str(tmp_path / "nobody.sock"), "--set", "fabric.connect_s=0.2"]
    assert visavis(["workers", "list", *where]) == 1
    assert "the origin cannot be asked" in capsys.readouterr().err
    assert main(["--name", "w", *where]) == 2
    assert "the fabric cannot be used" in capsys.readouterr().err
