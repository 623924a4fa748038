"""Make the pictures of the page: `python -m tests.e2e.picture` writes docs/images/page.png and model.jpg.

It asks a question by typing and keeps a moment at which the mouth is open, in a real browser against a real POP: once
with the drawn face, once with Pip.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from PIL import Image

from loadtests.stack import local_stack
from tests.e2e.browser import launch, visit
from tests.e2e.chromium import find_chromium

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_SIZE_BYTES_MAX = 400_000
_SILENT_MICROPHONE = Path("/dev/null")


# Once the mouth is open wide enough nothing is drawn any more: a screenshot takes longer than a vowel.
_FREEZE = """
(jawOpen) => new Promise((resolve) => {
  const timer = setInterval(() => {
    if ((measure.drawn().at(-1)?.jawOpen ?? 0) < jawOpen) return;
    clearInterval(timer);
    window.requestAnimationFrame = () => 0;
    // What WebGL drew last is not yet what the page shows: another size has it drawn once more.
    const stage = document.getElementById("stage");
    stage.style.width = `${stage.clientWidth - 1}px`;
    setTimeout(resolve, 500);
  }, 4);
})
"""
_JAW_OPEN = 0.34


async def _take(url: str, pixel_ratio: float) -> bytes:
    executable = find_chromium()
    if executable is None:
        raise SystemExit("no Chromium found")
    async with (
        launch(executable, _SILENT_MICROPHONE) as browser,
        visit(browser, url, dark=True, pixel_ratio=pixel_ratio) as page,
    ):
        if "?model=" in url:
            await page.until("() => document.getElementById('stage').dataset.renderer === 'glb'")
        await page.start(talking=False)
        await page.settled()
        await page.type("Why is Mars red?")
        await page.state("speaking")
        await page.page.wait_for_timeout(1_000)
        await page.page.evaluate(_FREEZE, _JAW_OPEN)
        return await page.page.screenshot()


def _smaller(png: bytes) -> bytes:
    """The same picture, scaled down as far as its size in bytes needs; a palette would lose the eyes' colour."""
    with Image.open(io.BytesIO(png)) as picture:
        width, height = picture.size
        plain = picture.convert("RGB")
    for share in (1.0, 0.8, 0.65, 0.5, 0.45, 0.4, 0.35, 0.3):
        found = io.BytesIO()
        size = (round(width * share), round(height * share))
        plain.resize(size, Image.Resampling.LANCZOS).save(found, "PNG", optimize=True)
        if found.tell() <= _SIZE_BYTES_MAX:
            break
    return found.getvalue()


def _photo(png: bytes) -> bytes:
    """As a JPEG of moderate size: shading has no use for a palette."""
    with Image.open(io.BytesIO(png)) as picture:
        found = io.BytesIO()
        picture.convert("RGB").save(found, "JPEG", quality=86, optimize=True)
    return found.getvalue()


def main() -> None:
    """Write the pictures."""
    with local_stack() as stack:
        pictures = {
            # Twice the pixels: where the page trades pixels for smoothness, the picture stays sharp.
            "page.png": _smaller(asyncio.run(_take(stack.pop_url, 2.0))),
            # … but not where a processor does a graphics card's work.
            "model.jpg": _photo(asyncio.run(_take(f"{stack.pop_url}/?model=models/pip.glb", 1.0))),
        }
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, data in pictures.items():
        (IMAGES / name).write_bytes(data)
        print(f"{IMAGES / name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
