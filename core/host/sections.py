"""Which configuration classes there are, and the `visavis config` command that shows what is in effect.

Rooms register their dataclass under the entry point group `visavis.sections`, by the name of its table in the file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, cast

from core.errors import ConfigError
from core.host.config import SECTIONS, add_config_arguments, describe, load_config, overrides_from

if TYPE_CHECKING:
    from core.host.cli import Subparsers

__all__ = ["load_section", "register", "section_classes"]

_GROUP: Final = "visavis.sections"


def section_classes() -> dict[str, type[Any]]:
    """The dataclass of every section that is installed, in the order of SECTIONS.

    Raises: ConfigError: one of them cannot be imported.
    """
    points = {point.name: point for point in metadata.entry_points(group=_GROUP)}
    classes: dict[str, type[Any]] = {}
    for name in SECTIONS:
        if name in points:
            classes[name] = _load(points[name])
    return classes


def load_section(name: str, options: argparse.Namespace) -> Any:
    """One section's effective configuration. Raises: ConfigError: see `load_config`; or it is not installed."""
    points = [point for point in metadata.entry_points(group=_GROUP) if point.name == name]
    if not points:
        raise ConfigError(f"the {name} is not installed; install visavis with its extra `{name}`")
    return load_config(_load(points[0]), section=name, path=options.config, overrides=overrides_from(options))


def _load(point: metadata.EntryPoint) -> type[Any]:
    try:
        cls = point.load()
    except ImportError as error:
        raise ConfigError(f"the configuration of {point.name} cannot be read: {error}") from error
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise ConfigError(f"{point.value} is no configuration class")
    return cls


def register(subparsers: Subparsers) -> None:
    """Add `visavis config`."""
    parser = subparsers.add_parser(
        "config",
        help="show the configuration that is in effect",
        description="Show the configuration that is in effect: defaults, file, environment and flags together.",
    )
    parser.add_argument("section", nargs="?", choices=SECTIONS, help="only this section")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    add_config_arguments(parser)
    parser.set_defaults(handler=_show)


def _show(options: argparse.Namespace) -> int:
    names = [options.section] if options.section else list(section_classes())
    effective = {name: describe(load_section(name, options)) for name in names}
    if options.json:
        text = json.dumps(effective, indent=2, ensure_ascii=False)
    else:
        text = "\n\n".join("\n".join(_toml(name, values)) for name, values in effective.items())
    sys.stdout.write(text + "\n")
    return 0


def _toml(name: str, values: dict[str, Any]) -> list[str]:
    """Lines of one table; None becomes a comment, as TOML has no word for it."""
    lines = [f"[{name}]"]
    for key, value in values.items():
        if value is None:
            lines.append(f"# {key} is not set")
        elif not isinstance(value, dict):
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    for key, value in values.items():
        if isinstance(value, dict):
            lines += ["", *_toml(f"{name}.{key}", cast("dict[str, Any]", value))]
    return lines
