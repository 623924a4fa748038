from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from core.host.config import add_config_arguments, describe, load_config, overrides_from, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    threshold: float = setting(0.5, help="how loud", minimum=0, maximum=1)
    mode: Literal["vad", "level"] = "vad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    port: int = setting(8080, help="TCP port", minimum=0, maximum=65_535, flag="--port")
    host: str = "127.0.0.1"
    verbose: bool = False
    folder: Path | None = None
    origins: tuple[str, ...] = ()
    ports: tuple[int, ...] = setting((1, 2))
    api_key: str = setting("", secret=True)
    headers: dict[str, str] = setting({"a": "b"})
    ear: Ear = setting(Ear)


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    name: str = setting()
    low: int = 1
    high: int = 2

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not exceed high")


def load(*overrides: str, toml: str = "", folder: Path | None = None, **environ: str) -> Config:
    path = None
    if toml:
        assert folder is not None
        path = folder / "given.toml"
        path.write_text(toml, encoding="utf-8")
    return load_config(Config, section="edge", path=path, environ=environ, overrides=overrides)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults() -> None:
    assert load() == Config()


def test_later_sources_win(tmp_path: Path) -> None:
    toml = "[edge]\nport = 1\nhost = 'file'\n[edge.ear]\nthreshold = 1\nmode = 'level'\n[origin]\nanything = 'unread'\n"
    config = load(
        "edge.port=3",
        "origin.port=9",
        toml=toml,
        folder=tmp_path,
        VISAVIS_EDGE__PORT="2",
        VISAVIS_EDGE__HOST="environment",
        VISAVIS_EDGE__EAR__THRESHOLD="0.25",
        VISAVIS_ORIGIN__LLM__API_KEY="of another section",
        OTHER="x",
    )
    assert (config.port, config.host, config.ear) == (3, "environment", Ear(threshold=0.25, mode="level"))


def test_the_file_of_the_working_directory_is_read_if_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "visavis.toml").write_text("[edge]\nport = 7\n")
    assert load().port == 7
    (tmp_path / "other.toml").write_text("[edge]\nport = 8\n")
    assert load(VISAVIS_CONFIG="other.toml").port == 8


def test_every_type_from_text_and_from_toml(tmp_path: Path) -> None:
    text = load(
        "edge.verbose=yes",
        "edge.folder=x/y",
        "edge.origins=https://a, https://b,",
        "edge.ports=5,6",
        "edge.headers.X=1",
        VISAVIS_EDGE__API_KEY="k",
    )
    toml = load(
        toml="[edge]\nverbose=true\nfolder='x/y'\norigins=['https://a','https://b']\nports=[5,6]\n[edge.headers]\nX='1'\n",
        folder=tmp_path,
        VISAVIS_EDGE__API_KEY="k",
    )
    expected = Config(
        verbose=True,
        folder=Path("x/y"),
        origins=("https://a", "https://b"),
        ports=(5, 6),
        headers={"X": "1"},
        api_key="k",
    )
    assert text == toml == expected
    assert load("edge.folder=x", "edge.folder=none").folder is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("edge.prot=1", "--set edge.prot: unknown setting edge.prot, did you mean port?"),
        ("edge.ear.treshold=1", "unknown setting edge.ear.treshold, did you mean threshold?"),
        ("edge.zzz=1", "unknown setting edge.zzz; known are api_key, ear, folder"),
        ("egde.port=1", "unknown section 'egde', did you mean edge?"),
        ("edge.port", "write SECTION.KEY=VALUE"),
        ("port=1", "write SECTION.KEY=VALUE"),
        ("edge.port=abc", "edge.port must be a whole number, got 'abc'"),
        ("edge.port=1.5", "edge.port must be a whole number, got '1.5'"),
        ("edge.port=70000", "edge.port must be at most 65535, got 70000"),
        ("edge.port=-1", "edge.port must be at least 0, got -1"),
        ("edge.ear.threshold=nan", "edge.ear.threshold must be a number, got 'nan'"),
        ("edge.ear.threshold=inf", "edge.ear.threshold must be a number, got 'inf'"),
        ("edge.ear.mode=loud", "edge.ear.mode must be one of vad, level, got 'loud'"),
        ("edge.verbose=perhaps", "edge.verbose must be true or false, got 'perhaps'"),
        ("edge.ports=1,x", "edge.ports must be a whole number, got '1,x'"),
        ("edge.ear=1", "edge.ear is a group of settings, not a value"),
        ("edge.port.x=1", "edge.port is a single value, not a table"),
        ("edge.headers=1", "edge.headers must be a table, got '1'"),
        ("edge.api_key=k", "edge.api_key is a secret; give it as environment variable VISAVIS_EDGE__API_KEY instead"),
    ],
)
def test_what_is_wrong_is_said(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(override)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[edge]\nprot = 1", "unknown setting edge.prot, did you mean port?"),
        ("[egde]\nport = 1", "unknown section [egde], did you mean edge?"),
        ("edge = 1", "edge is a table: write [edge]"),
        ("[edge]\nport = '8080'", "edge.port must be a whole number, got '8080'"),
        ("[edge]\nport = true", "edge.port must be a whole number, got True"),
        ("[edge]\nverbose = 1", "edge.verbose must be true or false, got 1"),
        ("[edge]\nhost = 1", "edge.host must be text, got 1"),
        ("[edge]\norigins = 'x'", "edge.origins must be a list, each of it text, got 'x'"),
        ("[edge]\nports = [1, 'x']", "edge.ports must be a whole number"),
        ("[edge]\nfolder = 1", "edge.folder must be a path, got 1"),
        ("[edge.ear]\nthreshold = 'x'", "edge.ear.threshold must be a number"),
        ("[edge.ear]\nthreshold = nan", "edge.ear.threshold must be a number"),
        ("[edge]\near = 1", "edge.ear is a group of settings"),
        ("[edge]\napi_key = 'hunter2'", "edge.api_key is a secret"),
        ("[edge.api_key]\nx = 'hunter2'", "edge.api_key"),
        ("[edge", "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(toml: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(toml=toml, folder=tmp_path)
    assert message in str(caught.value)
    assert "given.toml" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("VISAVIS_EDGE__PROT", "unknown setting edge.prot, did you mean port?"),
        ("VISAVIS_PORT", "VISAVIS_PORT is no setting"),
        ("VISAVIS_EDGE", "VISAVIS_EDGE is no setting"),
        ("VISAVIS_EGDE__PORT", "VISAVIS_EGDE__PORT is no setting"),
    ],
)
def test_unknown_environment_variables_are_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Config, section="edge", environ={name: "1"})
    assert message in str(caught.value)


def test_a_file_that_is_named_must_be_there_and_readable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(Config, section="edge", path=tmp_path / "none.toml", environ={})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(Config, section="edge", path=tmp_path, environ={})
    (tmp_path / "latin.toml").write_bytes(b"[edge]\nhost = '\xff'")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(Config, section="edge", path=tmp_path / "latin.toml", environ={})


def test_required_settings_and_checks_of_the_class() -> None:
    with pytest.raises(ConfigError, match=r"edge\.name is required: set it in visavis\.toml or as VISAVIS_EDGE__NAME"):
        load_config(Required, section="edge", environ={})
    with pytest.raises(ConfigError, match="edge: low must not exceed high"):
        load_config(Required, section="edge", environ={}, overrides=["edge.name=x", "edge.low=3"])


def test_a_secret_is_never_shown() -> None:
    config = load(VISAVIS_EDGE__API_KEY="hunter2")
    assert config.api_key == "hunter2"
    assert "hunter2" not in repr(config)
    assert describe(config)["api_key"] == "(set)"
    assert describe(Config())["api_key"] == "(not set)"


def test_describe_is_plain() -> None:
    plain = describe(Config(folder=Path("x"), origins=("a",)))
    assert plain["folder"] == "x"
    assert plain["origins"] == ["a"]
    assert plain["ear"] == {"threshold": 0.5, "mode": "vad"}


def test_flags() -> None:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser, Config, "edge")
    options = parser.parse_args(["--set", "edge.port=1", "--port", "2", "--set", "edge.host=h", "--config", "f"])
    assert options.config == Path("f")
    overrides = overrides_from(options)
    config = load_config(Config, section="edge", environ={}, overrides=overrides)
    assert (config.port, config.host) == (2, "h")
    assert overrides_from(parser.parse_args([])) == []


def test_unknown_sections_and_classes_are_the_callers_mistake() -> None:
    with pytest.raises(ConfigError, match="no section 'nowhere'"):
        load_config(Config, section="nowhere", environ={})
    with pytest.raises(TypeError, match="no dataclass"):
        load_config(int, section="edge", environ={})


def test_mutable_defaults_are_not_shared() -> None:
    one, two = Config(), Config()
    assert one.headers == two.headers
    assert one.headers is not two.headers


@given(st.text(max_size=30))
def test_any_text_for_any_setting_is_taken_or_refused_in_one_line(text: str) -> None:
    for field in dataclasses.fields(Config):
        try:
            load(f"edge.{field.name}={text}")
        except ConfigError as error:
            assert f"edge.{field.name}" in str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    fabric: Path = setting(Path("run/fabric.sock"), beside="run.directory")


def fabric_of(*overrides: str, path: Path | None = None, **environ: str) -> Path:
    return load_config(Beside, section="edge", path=path, environ=environ, overrides=overrides).fabric


def test_a_socket_is_where_the_runtime_directory_is(tmp_path: Path) -> None:
    """`visavis keys list` must find what `visavis run` has started from the same file."""
    assert fabric_of() == Path("run/fabric.sock")
    assert fabric_of("run.directory=elsewhere") == Path.cwd() / "elsewhere" / "fabric.sock"
    assert fabric_of(VISAVIS_RUN__DIRECTORY="/srv/visavis") == Path("/srv/visavis/fabric.sock")
    file = tmp_path / "some.toml"
    file.write_text("[run]\ndirectory = '/srv/file'\n", encoding="utf-8")
    assert fabric_of(path=file) == Path("/srv/file/fabric.sock")
    assert fabric_of("edge.fabric=/mine.sock", path=file) == Path("/mine.sock")
    file.write_text("[run]\ndirectory = 5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.directory must be a path"):
        fabric_of(path=file)


def test_an_operators_key_is_no_setting() -> None:
    assert load(VISAVIS_ADMIN_KEY="a secret") == Config()
