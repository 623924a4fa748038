from __future__ import annotations

import argparse
import json
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.host import sections
from core.host.cli import Parser
from core.host.config import add_config_arguments, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    depth: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    port: int = 8080
    folder: Path | None = None
    names: tuple[str, ...] = ("a", 'b"')
    api_key: str = setting("", secret=True)
    inner: Inner = setting(Inner)


@pytest.fixture(autouse=True)
def only_edge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point = metadata.EntryPoint("edge", f"{__name__}:Edge", "visavis.sections")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point])
    monkeypatch.chdir(tmp_path)


def show(*arguments: str) -> int:
    parser: argparse.ArgumentParser = Parser(prog="visavis")
    sections.register(parser.add_subparsers())
    options = parser.parse_args(["config", *arguments])
    code: int = options.handler(options)
    return code


def test_the_effective_configuration_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISAVIS_EDGE__API_KEY", "hunter2")
    assert show("--json", "--set", "edge.inner.depth=4") == 0
    shown = json.loads(capsys.readouterr().out)
    expected = {"port": 8080, "folder": None, "names": ["a", 'b"'], "api_key": "(set)", "inner": {"depth": 4}}
    assert shown == {"edge": expected}


def test_what_is_printed_for_people_is_toml(capsys: pytest.CaptureFixture[str]) -> None:
    assert show("edge") == 0
    text = capsys.readouterr().out
    assert tomllib.loads(text)["edge"]["inner"] == {"depth": 3}
    assert tomllib.loads(text)["edge"]["names"] == ["a", 'b"']
    assert "# folder is not set" in text


def test_what_is_not_installed() -> None:
    with pytest.raises(ConfigError, match="origin is not installed"):
        show("origin")


@pytest.mark.parametrize("value", ["nowhere.at:All", f"{__name__}:show"])
def test_what_is_no_configuration(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("edge", value, "visavis.sections")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point])
    with pytest.raises(ConfigError):
        sections.section_classes()


def test_load_section() -> None:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    config = sections.load_section("edge", parser.parse_args(["--set", "edge.port=1"]))
    assert config == Edge(port=1)
