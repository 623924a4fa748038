"""The committed puppet is what its generator draws; in a real browser every weight and joint changes the picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.avatar.rig import BLENDSHAPES, JOINTS
from edge.client.puppets.kit import ellipse, grow, ribbon, text_of, version_of
from edge.client.puppets.mira import PATH, build
from edge.client.puppets.sheet import CLIENT, SHEETS, bundle, draw
from tests.e2e.chromium import find_chromium

CHROMIUM = find_chromium()
browser = pytest.mark.skipif(
    CHROMIUM is None or not (CLIENT / "node_modules").is_dir(), reason="needs chromium and npm ci in edge/client"
)

_CHANGED = """
([data, names]) => {
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  const renderer = Puppet.puppetFactory.create(canvas, data);
  renderer.resize(270, 480, 1);
  const shot = (pose) => {
    renderer.draw(Puppet.frameOf(pose), 500); return context.getImageData(0, 0, 270, 480).data;
  };
  const rest = shot({});
  const count = (picture) => {
    let changed = 0;
    for (let i = 0; i < rest.length; i += 4) {
      let far = 0;
      for (let c = i; c < i + 3; c += 1) far += Math.abs(rest[c] - picture[c]);
      if (far > 24) changed += 1;
    }
    return changed;
  };
  const result = { again: count(shot({})) };
  for (const [name, value] of names) result[name] = count(shot({ [name]: value }));
  const last = shot({});
  result.afterwards = last.filter((value, i) => value !== rest[i]).length;
  return result;
}
"""


def _data() -> Any:
    return json.loads(PATH.read_text(encoding="utf-8"))


def test_the_committed_file_is_what_the_generator_draws() -> None:
    assert PATH.read_text(encoding="utf-8") == text_of(build().data())


def test_the_version_is_the_hash_of_the_content() -> None:
    data = _data()
    assert data["version"] == version_of(data)
    data["layers"][0]["points"][0] += 1
    assert data["version"] != version_of(data)


def test_layers_stand_in_a_sensible_order() -> None:
    order = [layer["id"] for layer in _data()["layers"]]
    for behind, before in (
        ("sky", "hair.back"), ("hair.back", "face"), ("mouth.inside", "teeth.upper"), ("teeth.upper", "lip.upper"),
        ("eye.Left", "iris.Left"), ("iris.Left", "lash.Left"), ("face", "hair.fringe.1"),
    ):  # fmt: skip
        assert order.index(behind) < order.index(before)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    script = bundle(tmp_path_factory.mktemp("puppet"))
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = chromium.new_page()
        tab.add_script_tag(content=script)
        yield tab
        chromium.close()


@browser
def test_every_weight_and_joint_changes_pixels(page: Any) -> None:
    inputs = [(name, 1.0) for name in BLENDSHAPES]
    inputs += [(f"{joint}.{axis}", 0.25) for joint in JOINTS for axis in ("pitch", "yaw", "roll")]
    changed = page.evaluate(_CHANGED, [_data(), inputs])
    assert changed.pop("again") == 0, "the same frame, time and size must give the same pixels"
    assert changed.pop("afterwards") == 0, "… whatever was drawn before"
    # A small round iris that rolls about its own axis is the least a joint can do.
    still = {name: count for name, count in changed.items() if count < (1 if name.endswith("Eye.roll") else 12)}
    assert not still


@browser
@pytest.mark.parametrize("name", ["expressions", "visemes"])
def test_a_sheet_is_a_picture(page: Any, name: str, tmp_path: Path) -> None:
    png = draw(page, _data(), name)
    assert png.startswith(b"\x89PNG")
    poses, box, columns, scale = SHEETS[name]
    width = int.from_bytes(png[16:20], "big")
    assert width == columns * int((box[2] - box[0]) * scale)
    assert len(poses) >= 12


def test_growing_moves_an_outline_outwards_by_the_same_everywhere() -> None:
    circle = ellipse(10, 20, 8, 8)
    radii = np.hypot(*(grow(circle, 1.5)[::3] - (10, 20)).T)
    assert np.allclose(radii, 9.5)
    assert np.allclose(np.hypot(*(grow(circle[::-1], 1.5)[::3] - (10, 20)).T), 9.5), "whichever way round it is drawn"


def test_growing_lengthens_a_tip_but_not_without_end() -> None:
    lock = ribbon([(0, 0), (0, 50), (0, 100)], [20, 16, 0])
    tip = float(grow(lock, 1.0)[:, 1].max())
    assert 101 < tip <= 103.01


def test_the_file_is_light_enough_to_load_at_once() -> None:
    assert PATH.stat().st_size < 700_000
