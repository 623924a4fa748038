"""A puppet talking: `python -m edge.client.puppets.talk SPANS.json [--text N] [--from S --to S] [--step 2]`.

Takes phonemes with their times, lets the animator move the face at 50 frames a second, and draws frame after frame as
one PNG, each with its time and sound: what an animator looks at to judge mouth shapes.
"""

from __future__ import annotations

import argparse
import base64
import json
import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import sync_playwright

from core.limits import MEDIA_CLOCK_HZ, PTIME_MS
from core.session.state import FaceState
from core.speech.messages import PhonemeSpan
from edge.animator import Animator, AnimatorRow
from edge.client.puppets.sheet import CLIENT, bundle

__all__ = ["Shot", "main", "shots"]

_TICKS: Final = MEDIA_CLOCK_HZ * PTIME_MS // 1000
_LEAD_S: Final = 1.0
"""The face lives this long before it speaks, so that it has settled."""

Shot = dict[str, Any]
"""One frame: `time_s`, `sound`, `weights`, `joints`, `media_ms`."""

BOXES: Final = {"mouth": (170, 440, 370, 620), "face": (120, 150, 420, 630), "all": (0, 0, 540, 960)}


def shots(spans: list[PhonemeSpan], *, seed: int = 7) -> list[Shot]:
    """The frames of an utterance, from the frame before its first sound to 0.2 s after its last."""
    animator = Animator()
    slot = animator.open(seed=seed)
    media = 0
    for _ in range(int(_LEAD_S * MEDIA_CLOCK_HZ) // _TICKS):
        animator.animate([AnimatorRow(slot, media, FaceState.IDLE)])
        media += _TICKS
    animator.speech_start(slot, 1)
    animator.speech_phonemes(slot, 1, spans)
    out: list[Shot] = []
    for at in range(-_TICKS, spans[-1].end + MEDIA_CLOCK_HZ // 5, _TICKS):
        batch = animator.animate([AnimatorRow(slot, media, FaceState.SPEAKING, 1, at)])
        sound = next((span.symbol for span in spans if span.start <= at < span.end), "")
        out.append({
            "time_s": at / MEDIA_CLOCK_HZ, "sound": sound or "_", "media_ms": media / MEDIA_CLOCK_HZ * 1000,
            "weights": batch.weights[0].tolist(), "joints": batch.joints[0].ravel().tolist(),
        })  # fmt: skip
        media += _TICKS
    return out


_SCRIPT: Final = """
([data, shots, box, columns, scale]) => {
  const puppet = document.createElement('canvas');
  const renderer = Puppet.puppetFactory.create(puppet, data);
  const k = Math.max(scale, 1);
  renderer.resize(540, 960, k);
  const [x0, y0, x1, y1] = box, w = (x1 - x0) * scale, h = (y1 - y0) * scale, bar = 18;
  const sheet = document.createElement('canvas');
  sheet.width = columns * w; sheet.height = Math.ceil(shots.length / columns) * (h + bar);
  const c = sheet.getContext('2d');
  c.fillStyle = '#14142a'; c.fillRect(0, 0, sheet.width, sheet.height);
  shots.forEach((shot, i) => {
    const frame = { weights: new Float32Array(shot.weights), joints: new Float32Array(shot.joints), syncScore: 1 };
    renderer.draw(frame, shot.media_ms);
    const x = (i % columns) * w, y = Math.floor(i / columns) * (h + bar);
    c.drawImage(puppet, x0 * k, y0 * k, (x1 - x0) * k, (y1 - y0) * k, x, y, w, h);
    c.fillStyle = '#e8e4ff'; c.font = '13px sans-serif';
    c.fillText(`${shot.time_s.toFixed(2)}  ${shot.sound}`, x + 5, y + h + 13);
  });
  renderer.close();
  return sheet.toDataURL('image/png');
}
"""


def main() -> None:
    """Draw the frames asked for on the command line."""
    parser = argparse.ArgumentParser(description="Draw a puppet talking, frame by frame.")
    parser.add_argument("spans", type=Path, help='JSON: [{"text": …, "spans": [[symbol, start, end, stress] …]} …]')
    parser.add_argument("--text", type=int, default=0, help="which text of the file")
    parser.add_argument("--from", dest="first_s", type=float, default=0.0)
    parser.add_argument("--to", dest="last_s", type=float, default=60.0)
    parser.add_argument("--step", type=int, default=2, help="draw every n-th frame of 20 ms")
    parser.add_argument("--box", choices=[*BOXES], default="mouth")
    parser.add_argument("--scale", type=float, default=0.8)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("out/puppet/talk.png"))
    parser.add_argument("--puppet", type=Path, default=CLIENT / "public/characters/mira/puppet.json")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    texts = json.loads(options.spans.read_text(encoding="utf-8"))
    taken = [shot for shot in shots([PhonemeSpan(*span) for span in texts[options.text]["spans"]])
             if options.first_s <= shot["time_s"] <= options.last_s][:: options.step]  # fmt: skip
    data = json.loads(options.puppet.read_text(encoding="utf-8"))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(content=bundle(Path(folder)))
        given = [data, taken, BOXES[options.box], options.columns, options.scale]
        url: str = page.evaluate(_SCRIPT, given)
        options.out.write_bytes(base64.b64decode(url.partition(",")[2]))
        browser.close()


if __name__ == "__main__":
    main()
