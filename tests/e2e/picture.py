"""Make the README's picture of the page: `python -m tests.e2e.picture` writes docs/images/page.png.

It asks a question by typing and keeps a moment at which the mouth is open, in a real browser against a real POP.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from PIL import Image

from loadtests.stack import local_stack
from tests.e2e.browser import launch, visit
from tests.e2e.chromium import find_chromium

TARGET = Path(__file__).parents[2] / "docs" / "images" / "page.png"
_SIZE_BYTES_MAX = 400_000
_SILENT_MICROPHONE = Path("/dev/null")


# Once the mouth is open wide enough nothing is drawn any more: a screenshot takes longer than a vowel.
_FREEZE = """
(jawOpen) => new Promise((resolve) => {
  const timer = setInterval(() => {
    if ((measure.drawn().at(-1)?.jawOpen ?? 0) < jawOpen) return;
    clearInterval(timer);
    window.requestAnimationFrame = () => 0;
    resolve();
  }, 4);
})
"""
_JAW_OPEN = 0.34


async def _take(pop_url: str) -> bytes:
    executable = find_chromium()
    if executable is None:
        raise SystemExit("no Chromium found")
    async with (
        launch(executable, _SILENT_MICROPHONE) as browser,
        # Twice the pixels: where the page trades pixels for smoothness, the picture stays sharp.
        visit(browser, pop_url, dark=True, pixel_ratio=2.0) as page,
    ):
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


def main() -> None:
    """Write the picture."""
    with local_stack() as stack:
        png = _smaller(asyncio.run(_take(stack.pop_url)))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(png)
    print(f"{TARGET}: {len(png)} bytes")


if __name__ == "__main__":
    main()
