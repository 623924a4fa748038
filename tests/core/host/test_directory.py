from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.host.directory import socket_in


def test_the_socket_is_in_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert socket_in(Path("run")) == tmp_path / "run" / "fabric.sock"


def test_too_deep_it_is_elsewhere_and_always_at_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nonexistent-runtime")
    deep = tmp_path / ("d" * 120)
    found = socket_in(deep)
    assert found.parent.name.startswith(f"visavis-{os.getuid()}-") and found.name == "fabric.sock"
    assert found == socket_in(deep) != socket_in(tmp_path / ("e" * 120))
    assert len(os.fsencode(found)) < 100
