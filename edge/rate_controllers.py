"""The rate controllers that configuration may name: ours, and those of installed packages.

A package brings its own under the entry point group `visavis.rate_controllers`: a callable without arguments that makes
a `core.stream.rate_control.RateController`, called once per link.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from typing import Final

from core.errors import ConfigError
from core.stream.rate_control import CONTROLLERS, RateController

__all__ = ["find_rate_controller"]

_GROUP: Final = "visavis.rate_controllers"


def find_rate_controller(name: str) -> Callable[[], RateController]:
    """What makes the controllers of this name.

    Raises: ConfigError: there is none, it cannot be imported, or what it makes decides nothing.
    """
    if name in CONTROLLERS:
        return CONTROLLERS[name]
    points = {point.name: point for point in metadata.entry_points(group=_GROUP)}
    if name not in points:
        known = ", ".join([*CONTROLLERS, *sorted(points)])
        raise ConfigError(f"edge.rate_controller: there is no {name!r}; choose one of {known}")
    try:
        make: Callable[[], RateController] = points[name].load()
        made = make()
    except Exception as error:  # whatever a foreign package runs into, here it is a wrong setting
        raise ConfigError(f"edge.rate_controller: {name!r} cannot be used: {error}") from error
    if not hasattr(made, "decision") or not hasattr(made, "on_feedback"):
        raise ConfigError(f"edge.rate_controller: {points[name].value} makes no rate controller")
    return make
