from __future__ import annotations

import argparse
import subprocess
import sys
import time
from importlib import metadata
from typing import Any

import pytest

import core
from core.errors import ConfigError, FabricError
from core.host import cli


class Point:
    """An entry point that gives what it is told to."""

    def __init__(self, name: str, outcome: Any) -> None:
        self.name = name
        self._outcome = outcome

    def load(self) -> Any:
        if isinstance(self._outcome, ImportError):
            raise self._outcome

        def register(subparsers: Any) -> None:
            parser = subparsers.add_parser(self.name, help="h")
            parser.add_argument("--number", type=int)
            parser.set_defaults(handler=self._outcome)

        return register


def use(monkeypatch: pytest.MonkeyPatch, outcome: Any) -> None:
    monkeypatch.setattr(metadata, "entry_points", lambda group: [Point("do", outcome)])


def raising(error: BaseException) -> Any:
    def handler(_: argparse.Namespace) -> int:
        raise error

    return handler


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (lambda options: 0, 0, ""),
        (lambda options: 3, 3, ""),
        (raising(ConfigError("port\n is taken")), 2, "visavis: port is taken\n"),
        (raising(FabricError("timeout", "no answer")), 1, "visavis: no answer\n"),
        (raising(KeyboardInterrupt()), 130, ""),
        (ImportError("No module named 'x'"), 2, "visavis: `visavis do` is not installed here (No module named 'x')\n"),
    ],
)
def test_exit_codes_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], outcome: Any, code: int, said: str
) -> None:
    use(monkeypatch, outcome)
    assert cli.main(["do"]) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("arguments", [[], ["dance"], ["do", "--number", "x"], ["do", "--unknown"], ["--unknown"]])
def test_a_mistake_is_one_line_and_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    use(monkeypatch, lambda options: 0)
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("visavis")
    assert error.count("\n") == 1
    assert "--help" in error


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"visavis {core.__version__}\n"


def test_help_is_there_at_once_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['visavis', '--help']\n"
        "from core.host.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'asyncio', 'aiortc', 'pipecat', 'onnxruntime', 'cryptography'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    started = time.monotonic()
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert "run" in outcome.stdout
    assert time.monotonic() - started < 5


def test_a_reader_that_has_seen_enough() -> None:
    program = "from core.host.cli import main; import sys; sys.exit(main(['config', '--json']))"
    command = f'{sys.executable} -c "{program}" | true'
    outcome = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in outcome.stderr
