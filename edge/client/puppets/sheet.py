"""Contact sheets of a puppet: `python -m edge.client.puppets.sheet [--out DIR] [NAME …]` draws them in Chromium.

Bundles the renderer, feeds it poses, and saves one PNG per sheet: rest, expressions, visemes, turns, gaze.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright

__all__ = ["POSES", "SHEETS", "bundle", "main"]

CLIENT: Final = Path(__file__).parents[1]
Pose = dict[str, float]


POSES: Final[dict[str, dict[str, Pose]]] = json.loads(
    Path(__file__).with_name("poses.json").read_text(encoding="utf-8")
)
"""Poses by sheet and name; the preview page offers the same."""

_FULL: Final = (0, 0, 540, 960)
SHEETS: Final[dict[str, tuple[dict[str, Pose], tuple[int, int, int, int], int, float]]] = {
    "rest": ({"rest": {}}, _FULL, 1, 1.0),
    "expressions": (POSES["expressions"], (80, 130, 460, 690), 4, 0.75),
    "visemes": (POSES["visemes"], (170, 440, 370, 620), 6, 1.0),
    "turns": (POSES["turns"], (20, 110, 520, 860), 4, 0.6),
    "gaze": (POSES["gaze"], (140, 330, 400, 500), 4, 1.0),
    "face": ({"face": {}}, (110, 140, 430, 680), 1, 2.0),
}
"""Name → poses, the part of the picture in design units, columns, scale."""

_SCRIPT: Final = """
([data, poses, box, columns, scale]) => {
  const puppet = document.createElement('canvas');
  const renderer = Puppet.puppetFactory.create(puppet, data);
  renderer.resize(540, 960, Math.max(scale, 1));
  const k = Math.max(scale, 1);
  const [x0, y0, x1, y1] = box, w = (x1 - x0) * scale, h = (y1 - y0) * scale;
  const entries = Object.entries(poses), bar = entries.length > 1 ? 20 : 0;
  const sheet = document.createElement('canvas');
  sheet.width = columns * w; sheet.height = Math.ceil(entries.length / columns) * (h + bar);
  const c = sheet.getContext('2d');
  c.fillStyle = '#14142a'; c.fillRect(0, 0, sheet.width, sheet.height);
  entries.forEach(([name, pose], i) => {
    renderer.draw(Puppet.frameOf(pose), 1000);
    const x = (i % columns) * w, y = Math.floor(i / columns) * (h + bar);
    c.drawImage(puppet, x0 * k, y0 * k, (x1 - x0) * k, (y1 - y0) * k, x, y + bar, w, h);
    if (bar) { c.fillStyle = '#e8e4ff'; c.font = '13px sans-serif'; c.fillText(name, x + 6, y + 14); }
  });
  renderer.close();
  return sheet.toDataURL('image/png');
}
"""


def bundle(folder: Path) -> str:
    """Bundle the renderer with `frameOf` as one script; its global is `Puppet`."""
    out = folder / "puppet.js"
    subprocess.run(  # noqa: S603 - our own bundler on our own source
        [shutil.which("npx") or "npx", "rolldown",
         "src/render/puppet/studio.ts", "--format", "iife", "--name", "Puppet", "--file", str(out)],
        cwd=CLIENT, check=True, capture_output=True,
    )  # fmt: skip
    return out.read_text(encoding="utf-8")


def draw(page: Page, data: Any, name: str) -> bytes:
    """One sheet as a PNG."""
    poses, box, columns, scale = SHEETS[name]
    url: str = page.evaluate(_SCRIPT, [data, poses, box, columns, scale])
    return base64.b64decode(url.partition(",")[2])


_TIME: Final = """
([data]) => {
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  const renderer = Puppet.puppetFactory.create(canvas, data);
  renderer.resize(540, 960, 1);
  const frames = Array.from({ length: 240 }, (_, i) => Puppet.frameOf({
    jawOpen: 0.4 * Math.abs(Math.sin(i / 3)), 'head.yaw': 0.2 * Math.sin(i / 9), mouthSmileLeft: 0.3,
    mouthSmileRight: 0.3, eyeBlinkLeft: i % 20 === 0 ? 1 : 0, eyeBlinkRight: i % 20 === 0 ? 1 : 0,
    'spine.pitch': -0.01 * Math.sin(i / 40), 'leftShoulder.roll': 0.014 * Math.sin(i / 40),
    'rightShoulder.roll': -0.014 * Math.sin(i / 40) }));
  const spans = { script: [], raster: [] };
  for (let i = 0; i < 240; i += 1) {
    const start = performance.now();
    renderer.pose.update(frames[i], i * 16);
    for (const shape of renderer.shapes) shape.update(renderer.pose, 270, 432, data.focal);
    const shaped = performance.now();
    renderer.draw(frames[i], i * 16);
    context.getImageData(0, 0, 1, 1);
    spans.script.push(shaped - start);
    spans.raster.push(performance.now() - shaped);
  }
  const at = (list, share) => list.sort((a, b) => a - b)[Math.floor(share * list.length)];
  return { geometry_ms_p50: at(spans.script, 0.5), frame_ms_min: at(spans.raster, 0),
           frame_ms_p50: at(spans.raster, 0.5), frame_ms_p95: at(spans.raster, 0.95),
           frame_ms_mean: spans.raster.reduce((sum, span) => sum + span, 0) / spans.raster.length,
           layers: data.layers.length, points: data.layers.reduce((n, l) => n + l.points.length / 2, 0) };
}
"""


def main() -> None:
    """Draw the sheets named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Draw contact sheets of a puppet.")
    parser.add_argument("--out", type=Path, default=Path("out/puppet"))
    parser.add_argument("--puppet", type=Path, default=CLIENT / "public/characters/mira/puppet.json")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument(
        "--time", action="store_true", help="print the cost of a frame, rasterised on one processor core"
    )
    parser.add_argument("names", nargs="*", choices=[*SHEETS, []])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = json.loads(options.puppet.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(content=bundle(Path(folder)))
        if options.time:
            print(json.dumps(page.evaluate(_TIME, [data])))  # noqa: T201
        for name in [] if options.time else options.names or SHEETS:
            (options.out / f"{name}.png").write_bytes(draw(page, data, name))
        browser.close()


if __name__ == "__main__":
    main()
