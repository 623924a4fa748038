"""Rate controllers by name: ours, an installed package's, and what is none."""

from __future__ import annotations

from importlib import metadata

import pytest

from core.errors import ConfigError
from core.stream.rate_control import GccController, LadderController
from edge.rate_controllers import find_rate_controller


class Own(LadderController):
    """Somebody's own."""


def broken() -> object:
    raise RuntimeError("it has no licence")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "tests.edge.test_rate_controllers"
    points = {"own": f"{here}:Own", "none": "builtins:object", "broken": f"{here}:broken", "gone": "nowhere:Thing"}

    def entry_points(*, group: str) -> tuple[metadata.EntryPoint, ...]:
        assert group == "visavis.rate_controllers"
        return tuple(metadata.EntryPoint(name, value, group) for name, value in points.items())

    monkeypatch.setattr(metadata, "entry_points", entry_points)


def test_ours() -> None:
    assert find_rate_controller("ladder") is LadderController
    assert find_rate_controller("gcc") is GccController


@pytest.mark.usefixtures("installed")
def test_an_installed_packages_own() -> None:
    assert isinstance(find_rate_controller("own")(), Own)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("lader", "choose one of ladder, gcc, broken, gone, none, own"),
        ("none", "makes no rate controller"),
        ("broken", "it has no licence"),
        ("gone", "nowhere"),
    ],
)
def test_what_is_none_is_said_in_one_line(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        find_rate_controller(name)
    assert "\n" not in str(refused.value)
