"""One configuration: defaults in a frozen dataclass, then `visavis.toml`, then the environment, then flags.

Each process defines a dataclass (`frozen=True, slots=True, kw_only=True`), nested ones for groups, and reads it once:

```python
@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    port: int = setting(8080, help="TCP port of the page", minimum=0, maximum=65535, flag="--port")
    api_key: str = setting("", help="key for the vendor", secret=True)

config = load_config(EdgeConfig, section="edge", overrides=["edge.port=9000"])
```

The file has one table per section (`[edge]`, `[edge.ear]`), the environment `VISAVIS_EDGE__PORT` and
`VISAVIS_EDGE__EAR__THRESHOLD`, flags `--set edge.port=9000`. What nobody knows is refused by name; a secret is taken
from the environment only and never printed. Types: str, int, float, bool, Path, Literal, tuple[T, ...] (an array;
elsewhere separated by commas), dict[str, str] (a table), T | None, nested dataclasses.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import os
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from core.errors import ConfigError
from core.host.directory import socket_in

__all__ = [
    "ADMIN_KEY_VARIABLE",
    "CONFIG_FILE",
    "SECTIONS",
    "add_config_arguments",
    "describe",
    "load_config",
    "overrides_from",
    "setting",
]

SECTIONS: Final = ("edge", "fabric", "origin", "run")
"""Top-level tables of the file: one per process, one for what is between them, and one for what starts them."""
CONFIG_FILE: Final = "visavis.toml"
"""Read from the working directory when it is there; `VISAVIS_CONFIG` or `--config` name another one."""
_PREFIX: Final = "VISAVIS_"
_PATH_VARIABLE: Final = "VISAVIS_CONFIG"
ADMIN_KEY_VARIABLE: Final = "VISAVIS_ADMIN_KEY"
"""The key of an operator's commands; a secret of whoever types them, no setting of a process."""
_NOT_SETTINGS: Final = frozenset({_PATH_VARIABLE, ADMIN_KEY_VARIABLE})
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})

T = TypeVar("T")


def setting(
    default: Any = dataclasses.MISSING,
    *,
    help: str = "",  # noqa: A002 - the word argparse uses for the same thing
    secret: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    flag: str | None = None,
    beside: str | None = None,
) -> Any:
    """A dataclass field with what people should know of it.

    Args:
        default: the value when nobody says otherwise; without one the setting is required. Mutable values are copied.
        help: one line for `--help`.
        secret: accepted from the environment only, masked wherever the configuration is shown.
        minimum, maximum: bounds of a number, inclusive.
        flag: a flag of its own besides `--set`, for example "--port".
        beside: of a socket's path, "section.key": the runtime directory it is in where nobody says otherwise.
    """
    metadata = {
        "help": help,
        "secret": secret,
        "minimum": minimum,
        "maximum": maximum,
        "flag": flag,
        "beside": beside,
    }
    if isinstance(default, dict):
        table = cast("dict[str, str]", default)
        return dataclasses.field(default_factory=table.copy, metadata=metadata, repr=not secret)
    if dataclasses.is_dataclass(default) and isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def load_config(
    cls: type[T],
    *,
    section: str,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> T:
    """The effective configuration of one process.

    Args:
        cls: the dataclass.
        section: its table in the file, one of SECTIONS.
        path: the file; None: `VISAVIS_CONFIG`, else visavis.toml of the working directory if there is one.
        environ: None: os.environ.
        overrides: `section.key=value`, the last one wins; those of other sections are ignored.

    Raises: ConfigError: an unknown key, a wrong type or range, a missing value or file; one line that says which.
    """
    variables = os.environ if environ is None else environ
    values = _gather(section, path, variables, overrides)
    if dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            beside = field.metadata.get("beside")
            if beside and field.name not in values:
                home, _, key = beside.partition(".")
                given = _gather(home, path, variables, overrides).get(key)
                if isinstance(given, _Given):
                    directory = cast("Path", _convert(given, Path, beside))
                    values[field.name] = _Given(str(socket_in(directory)), given.source, text=False)
    return _build(cls, values, section)


def add_config_arguments(parser: argparse.ArgumentParser, cls: type | None = None, section: str = "") -> None:
    """Give a command `--config`, `--set` and the flags that the settings of `cls` ask for."""
    group = parser.add_argument_group("configuration")
    group.add_argument("--config", type=Path, metavar="FILE", help=f"configuration file (default: ./{CONFIG_FILE})")
    group.add_argument(
        "--set",
        dest="config_overrides",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change one setting; may be given several times",
    )
    if cls is None:
        return
    for field in dataclasses.fields(cls):
        flag = field.metadata.get("flag")
        if flag:
            group.add_argument(
                flag,
                dest=f"config_flag_{section}.{field.name}",
                metavar=field.name.upper(),
                help=f"{field.metadata['help']} (same as --set {section}.{field.name}=…)",
            )


def overrides_from(options: argparse.Namespace) -> list[str]:
    """What `add_config_arguments` collected, for `load_config(overrides=…)`: dedicated flags win over `--set`."""
    overrides: list[str] = list(options.config_overrides)
    for name, value in vars(options).items():
        if name.startswith("config_flag_") and value is not None:
            overrides.append(f"{name.removeprefix('config_flag_')}={value}")
    return overrides


def describe(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON values, secrets masked as "(set)" or "(not set)"."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.metadata.get("secret"):
            value = "(set)" if value else "(not set)"
        result[field.name] = _plain(value)
    return result


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return describe(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("Iterable[Any]", value)]
    return value


# --- gathering ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Given:
    """A value as somebody wrote it."""

    value: object
    source: str
    text: bool
    """Came as a string that still has to be parsed."""


_Values = dict[str, "_Given | _Values"]


class _Tree:
    """What was given for one section, later sources over earlier ones."""

    def __init__(self, section: str) -> None:
        if section not in SECTIONS:
            raise ConfigError(f"no section {section!r}, there are {', '.join(SECTIONS)}")
        self.section = section
        self.values: _Values = {}

    def add_file(self, path: Path | None, environ: Mapping[str, str]) -> None:
        named = path or (Path(environ[_PATH_VARIABLE]) if environ.get(_PATH_VARIABLE) else None)
        file = named or Path(CONFIG_FILE)
        try:
            document = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if named is None:
                return
            raise ConfigError(f"configuration file {file} does not exist") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{file} is not valid TOML: {error}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from None
        for name in document:
            if name not in SECTIONS:
                raise ConfigError(f"{file}: unknown section [{name}]{_meant(name, SECTIONS)}")
        table = document.get(self.section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {self.section} is a table: write [{self.section}]")
        self._add_table(self.values, cast("dict[str, object]", table), str(file))

    def _add_table(self, into: _Values, table: Mapping[str, object], source: str) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                inner = into.setdefault(key, {})
                if isinstance(inner, dict):
                    self._add_table(inner, cast("dict[str, object]", value), source)
            else:
                into[key] = _Given(value, source, text=False)

    def add_environment(self, environ: Mapping[str, str]) -> None:
        for name in sorted(environ):
            if not name.startswith(_PREFIX) or name in _NOT_SETTINGS:
                continue
            section, *keys = name.removeprefix(_PREFIX).lower().split("__")
            if section not in SECTIONS or not keys:
                known = [f"{_PREFIX}{known.upper()}__…" for known in SECTIONS]
                raise ConfigError(f"environment variable {name} is no setting: they are called {', '.join(known)}")
            if section == self.section:
                self._put(keys, _Given(environ[name], f"environment variable {name}", text=True))

    def add_override(self, override: str) -> None:
        name, separator, value = override.partition("=")
        section, *keys = name.strip().split(".")
        if not separator or not keys:
            raise ConfigError(f"--set {override}: write SECTION.KEY=VALUE, for example --set edge.port=8080")
        if section not in SECTIONS:
            raise ConfigError(f"--set {override}: unknown section {section!r}{_meant(section, SECTIONS)}")
        if section == self.section:
            self._put(keys, _Given(value, f"--set {name.strip()}", text=True))

    def _put(self, keys: Sequence[str], given: _Given) -> None:
        into = self.values
        for key in keys[:-1]:
            inner = into.get(key)
            if not isinstance(inner, dict):
                inner = into[key] = {}
            into = inner
        into[keys[-1]] = given


def _gather(section: str, path: Path | None, environ: Mapping[str, str], overrides: Sequence[str]) -> _Values:
    tree = _Tree(section)
    tree.add_file(path, environ)
    tree.add_environment(environ)
    for override in overrides:
        tree.add_override(override)
    return tree.values


# --- building ----------------------------------------------------------------------------------------------------


def _build(cls: type[T], values: _Values, where: str) -> T:
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"{cls} is no dataclass")
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key, given in values.items():
        if key not in fields:
            raise ConfigError(f"{_origin(given)}: unknown setting {where}.{key}{_meant(key, fields)}")
    arguments: dict[str, object] = {}
    for name, field in fields.items():
        key = f"{where}.{name}"
        hint = hints[name]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            inner = values.get(name, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{inner.source}: {key} is a group of settings, not a value")
            arguments[name] = _build(hint, inner, key)
        elif name in values:
            arguments[name] = _convert_field(values[name], hint, field, key)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{key} is required: set it in {CONFIG_FILE} or as {_variable(key)}")
    try:
        return cls(**arguments)
    except ValueError as error:  # from __post_init__, where a class checks what one field alone cannot tell
        raise ConfigError(f"{where}: {error}") from error


def _convert_field(given: _Given | _Values, hint: Any, field: dataclasses.Field[Any], key: str) -> object:
    if isinstance(given, dict):
        if get_origin(hint) is not dict:
            raise ConfigError(f"{_origin(given)}: {key} is a single value, not a table")
        if field.metadata.get("secret"):
            raise _secret_refused(key, _origin(given))
        return {name: _convert(item, str, f"{key}.{name}") for name, item in given.items() if isinstance(item, _Given)}
    if field.metadata.get("secret") and not given.source.startswith("environment"):
        raise _secret_refused(key, given.source)
    value = _convert(given, hint, key, secret=bool(field.metadata.get("secret")))
    minimum, maximum = field.metadata.get("minimum"), field.metadata.get("maximum")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        too_small = minimum is not None and value < minimum
        too_large = maximum is not None and value > maximum
        if too_small or too_large:
            bound = f"at least {minimum:g}" if too_small else f"at most {maximum:g}"
            raise ConfigError(f"{given.source}: {key} must be {bound}, got {value:g}")
    return value


def _convert(given: _Given, hint: Any, key: str, *, secret: bool = False) -> object:
    try:
        return _parse_text(str(given.value), hint) if given.text else _check_value(given.value, hint)
    except _MismatchError as mismatch:
        shown = "a value that is not shown" if secret else repr(given.value)
        raise ConfigError(f"{given.source}: {key} must be {mismatch.expected}, got {shown}") from None


class _MismatchError(Exception):
    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


def _optional(hint: Any) -> tuple[Any, bool]:
    """The type without `| None`, and whether None was in it."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    rest = [argument for argument in get_args(hint) if argument is not type(None)]
    if len(rest) != 1:
        raise TypeError(f"a setting has one type, or one and None: {hint}")
    return rest[0], True


def _parse_text(text: str, hint: Any) -> object:
    """A string from the environment or a flag as the type that is wanted."""
    hint, optional = _optional(hint)
    if optional and text.lower() in ("", "none"):
        return None
    if get_origin(hint) is tuple:
        element = get_args(hint)[0]
        return tuple(_parse_text(part.strip(), element) for part in text.split(",") if part.strip())
    if get_origin(hint) is Literal:
        for choice in get_args(hint):
            if text == str(choice):
                return choice
    elif hint is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
    elif hint in (int, float):
        try:
            number = hint(text)
        except ValueError:
            raise _MismatchError(_expected(hint)) from None
        if math.isfinite(number):
            return number
    elif hint is str:
        return text
    elif hint is Path:
        return _path(text)
    raise _MismatchError(_expected(hint))


def _check_value(value: object, hint: Any) -> object:
    """A TOML value as the type that is wanted; nothing is converted behind the writer's back."""
    hint, _ = _optional(hint)
    if get_origin(hint) is tuple:
        if isinstance(value, list):
            return tuple(_check_value(item, get_args(hint)[0]) for item in cast("list[object]", value))
    elif get_origin(hint) is Literal:
        if value in get_args(hint) and not isinstance(value, bool):
            return value
    elif hint is Path:
        if isinstance(value, str):
            return _path(value)
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise _MismatchError(_expected(hint))


def _path(text: str) -> Path:
    if text and "\0" not in text:
        try:
            return Path(text).expanduser()
        except RuntimeError:  # ~somebody who is not known here
            pass
    raise _MismatchError(_expected(Path))


def _expected(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list, each of it {_expected(get_args(hint)[0])}"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    return names.get(hint, "a table" if get_origin(hint) is dict else str(hint))


def _secret_refused(key: str, source: str) -> ConfigError:
    return ConfigError(f"{source}: {key} is a secret; give it as environment variable {_variable(key)} instead")


def _variable(key: str) -> str:
    return _PREFIX + key.upper().replace(".", "__")


def _origin(given: _Given | _Values) -> str:
    while isinstance(given, dict):
        if not given:
            return CONFIG_FILE
        given = next(iter(given.values()))
    return given.source


def _meant(name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"
