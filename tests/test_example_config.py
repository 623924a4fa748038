from __future__ import annotations

from pathlib import Path

import pytest

from core.host.config import load_config
from core.host.sections import section_classes

EXAMPLE = Path(__file__).parent.parent / "visavis.toml.example"


@pytest.mark.parametrize("section", ["edge", "fabric", "origin", "run"])
def test_the_example_is_accepted_and_changes_nothing(section: str) -> None:
    cls = section_classes()[section]
    # Whoever says where the runtime directory is, though it is the usual place, is taken at their word: absolutely.
    usual = load_config(cls, section=section, environ={}, overrides=["run.directory=run"])
    assert load_config(cls, section=section, path=EXAMPLE, environ={}) == usual
