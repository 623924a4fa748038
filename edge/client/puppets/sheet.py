"""Contact sheets of a puppet: `python -m edge.client.puppets.sheet [--out DIR] [NAME …]` draws them in Chromium.

Bundles the renderer, feeds it poses, and saves one PNG per sheet: rest, expressions, visemes, turns, gaze.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright

__all__ = ["SHEETS", "bundle", "main"]

CLIENT: Final = Path(__file__).parents[1]
Pose = dict[str, float]


def _pairs(**weights: float) -> Pose:
    return {side: value for name, value in weights.items() for side in (name + "Left", name + "Right")}


EXPRESSIONS: Final[dict[str, Pose]] = {
    "rest": {},
    "warm smile": _pairs(mouthSmile=0.5, cheekSquint=0.3, eyeSquint=0.12, browOuterUp=0.1),
    "laugh": _pairs(mouthSmile=0.9, cheekSquint=0.8, eyeBlink=0.75, browOuterUp=0.4, mouthUpperUp=0.3) | {"jawOpen": 0.45},
    "shut eyes": _pairs(eyeBlink=1.0, mouthSmile=0.2),
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.8, "mouthSmileRight": 0.3, "cheekSquintLeft": 0.7, "head.roll": 0.12},
    "surprise": _pairs(eyeWide=0.9, browOuterUp=0.9) | {"browInnerUp": 0.9, "jawOpen": 0.35, "mouthFunnel": 0.3},
    "sad": _pairs(mouthFrown=0.7) | {"browInnerUp": 0.9, "mouthShrugLower": 0.4, "head.pitch": 0.1},
    "cross": _pairs(browDown=0.9, noseSneer=0.6, mouthPress=0.6, eyeSquint=0.5, mouthFrown=0.3),
    "thinking": _pairs(mouthPress=0.3, eyeLookUp=0.6) | {"browOuterUpLeft": 0.6, "browDownRight": 0.4, "mouthLeft": 0.6,
                                                         "eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6, "head.yaw": 0.15},
    "cheeky": _pairs(mouthSmile=0.4) | {"tongueOut": 1.0, "jawOpen": 0.1, "eyeBlinkLeft": 1.0, "head.roll": -0.1},
    "puff": {"cheekPuff": 1.0, "mouthPucker": 0.3} | _pairs(browDown=0.3),
    "disgust": _pairs(noseSneer=1.0, mouthUpperUp=0.6, browDown=0.5, eyeSquint=0.4),
}  # fmt: skip

VISEMES: Final[dict[str, Pose]] = {
    "sil": {},
    "p b m": _pairs(mouthPress=0.5) | {"jawOpen": 0.07, "mouthClose": 0.9},
    "f v": _pairs(mouthUpperUp=0.16) | {"jawOpen": 0.09, "mouthRollLower": 0.4},
    "th": _pairs(mouthStretch=0.04, mouthLowerDown=0.16, mouthUpperUp=0.06) | {"jawOpen": 0.13, "tongueOut": 0.34},
    "t d n": _pairs(mouthLowerDown=0.17, mouthUpperUp=0.06) | {"jawOpen": 0.09},
    "l": _pairs(mouthLowerDown=0.16, mouthUpperUp=0.05) | {"jawOpen": 0.17, "tongueOut": 0.1},
    "s z": _pairs(mouthStretch=0.16, mouthSmile=0.05, mouthLowerDown=0.24, mouthUpperUp=0.1) | {"jawOpen": 0.04},
    "sh ch": _pairs(mouthLowerDown=0.18, mouthUpperUp=0.14) | {"jawOpen": 0.06, "mouthFunnel": 0.46, "mouthPucker": 0.2},
    "r": _pairs(mouthLowerDown=0.1) | {"jawOpen": 0.12, "mouthFunnel": 0.3, "mouthPucker": 0.2},
    "ee": _pairs(mouthStretch=0.1, mouthSmile=0.26, mouthLowerDown=0.22, mouthUpperUp=0.08) | {"jawOpen": 0.1},
    "eh": _pairs(mouthStretch=0.08, mouthSmile=0.1, mouthLowerDown=0.25, mouthUpperUp=0.1) | {"jawOpen": 0.32},
    "aa": _pairs(mouthLowerDown=0.22, mouthUpperUp=0.1) | {"jawOpen": 0.54, "mouthFunnel": 0.05},
    "ae": _pairs(mouthStretch=0.12, mouthSmile=0.1, mouthLowerDown=0.26, mouthUpperUp=0.14) | {"jawOpen": 0.44},
    "aw": _pairs(mouthLowerDown=0.14) | {"jawOpen": 0.36, "mouthFunnel": 0.4, "mouthPucker": 0.2},
    "oh": _pairs(mouthLowerDown=0.08) | {"jawOpen": 0.27, "mouthFunnel": 0.32, "mouthPucker": 0.4},
    "oo w": {"jawOpen": 0.12, "mouthFunnel": 0.22, "mouthPucker": 0.66},
    "jaw 1": {"jawOpen": 1.0},
    "smile 1": _pairs(mouthSmile=1.0),
}  # fmt: skip

TURNS: Final[dict[str, Pose]] = {
    "yaw +20": {"head.yaw": 0.35}, "yaw -20": {"head.yaw": -0.35}, "pitch down": {"head.pitch": 0.3},
    "pitch up": {"head.pitch": -0.3}, "roll +": {"head.roll": 0.25}, "yaw+pitch": {"head.yaw": 0.3, "head.pitch": 0.2},
    "yaw- up": {"head.yaw": -0.3, "head.pitch": -0.2}, "shoulders": {"leftShoulder.roll": 0.3, "rightShoulder.roll": -0.3},
}  # fmt: skip

GAZE: Final[dict[str, Pose]] = {
    "left": {"eyeLookOutLeft": 0.9, "eyeLookInRight": 0.9}, "right": {"eyeLookInLeft": 0.9, "eyeLookOutRight": 0.9},
    "up": _pairs(eyeLookUp=0.9), "down": _pairs(eyeLookDown=0.9), "half": _pairs(eyeBlink=0.5), "wide": _pairs(eyeWide=1.0),
    "joint yaw": {"leftEye.yaw": 0.25, "rightEye.yaw": 0.25}, "squint": _pairs(eyeSquint=1.0),
    "joint down": {"leftEye.pitch": 0.25, "rightEye.pitch": 0.25}, "blink": _pairs(eyeBlink=1.0),
}  # fmt: skip

_FULL: Final = (0, 0, 540, 960)
SHEETS: Final[dict[str, tuple[dict[str, Pose], tuple[int, int, int, int], int, float]]] = {
    "rest": ({"rest": {}}, _FULL, 1, 1.0),
    "expressions": (EXPRESSIONS, (80, 130, 460, 690), 4, 0.75),
    "visemes": (VISEMES, (170, 440, 370, 620), 6, 1.0),
    "turns": (TURNS, (20, 110, 520, 860), 4, 0.6),
    "gaze": (GAZE, (140, 330, 400, 500), 4, 1.0),
    "face": ({"face": {}}, (110, 140, 430, 680), 1, 2.0),
}
"""Name → poses, the part of the picture in design units, columns, scale."""

_SCRIPT: Final = """
([data, poses, box, columns, scale, names]) => {
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
    subprocess.run(
        ["npx", "rolldown", "src/render/puppet/studio.ts", "--format", "iife", "--name", "Puppet", "--file", str(out)],
        cwd=CLIENT, check=True, capture_output=True,
    )  # fmt: skip
    return out.read_text(encoding="utf-8")


def draw(page: Page, data: Any, name: str) -> bytes:
    """One sheet as a PNG."""
    import base64

    poses, box, columns, scale = SHEETS[name]
    url = page.evaluate(_SCRIPT, [data, poses, box, columns, scale, []])
    return base64.b64decode(url.partition(",")[2])


def main() -> None:
    """Draw the sheets named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Draw contact sheets of a puppet.")
    parser.add_argument("--out", type=Path, default=Path("out/puppet"))
    parser.add_argument("--puppet", type=Path, default=CLIENT / "public/characters/mira/puppet.json")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("names", nargs="*", choices=[*SHEETS, []])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = json.loads(options.puppet.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(content=bundle(Path(folder)))
        for name in options.names or SHEETS:
            (options.out / f"{name}.png").write_bytes(draw(page, data, name))
        browser.close()


if __name__ == "__main__":
    main()
