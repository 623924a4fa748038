"""The operator's commands where nothing is there; what they do with an origin is in tests/e2e/test_tickets.py."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from core.host.cli import main


class _Echo(http.server.BaseHTTPRequestHandler):
    """Answers with an empty list and keeps the key it was asked with."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers["Authorization"])
        body = b'{"keys": [], "pops": [], "sessions": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    _Echo.seen.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("what", ["keys", "sessions", "pops"])
def test_the_key_comes_from_the_environment(
    what: str, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISAVIS_ADMIN_KEY", "of-the-operator")
    assert main([what, "list", "--origin", url]) == 0
    assert _Echo.seen == ["Bearer of-the-operator"]
    assert "of-the-operator" not in capsys.readouterr().out


def test_the_key_lies_in_the_runtime_directory_of_the_configuration(url: str) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/admin-key").write_text("in-the-file\n")
    Path("visavis.toml").write_text('[run]\ndirectory = "elsewhere"\n')
    assert main(["keys", "list", "--origin", url]) == 0
    assert _Echo.seen == ["Bearer in-the-file"]


def test_without_a_key_it_says_where_one_was_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "list", "--set", "run.directory=there"]) == 2
    said = capsys.readouterr().err
    assert str(Path.cwd() / "there" / "admin-key") in said and "VISAVIS_ADMIN_KEY" in said and said.count("\n") == 1


def test_nobody_at_the_origins_address(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VISAVIS_ADMIN_KEY", "x")
    assert main(["pops", "list", "--origin", "http://127.0.0.1:9"]) == 1
    assert capsys.readouterr().err == (
        "visavis: the origin at http://127.0.0.1:9 cannot be reached (Connection refused); is it running?\n"
    )
