"""Make the README's picture of the page: `python -m tests.e2e.picture` writes docs/images/page.png.

It asks a question by typing and keeps the moment at which the mouth is most open, in a real browser against a real POP.
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
_SHOTS = 14
_SILENT_MICROPHONE = Path("/dev/null")


async def _take(pop_url: str) -> bytes:
    executable = find_chromium()
    if executable is None:
        raise SystemExit("no Chromium found")
    best: tuple[float, bytes] = (-1.0, b"")
    async with (
        launch(executable, _SILENT_MICROPHONE) as browser,
        # Twice the pixels: where the page trades pixels for smoothness, the picture stays sharp.
        visit(browser, pop_url, dark=True, pixel_ratio=2.0) as page,
    ):
        await page.start(talking=False)
        await page.settled()
        await page.type("Why is Mars red?")
        await page.state("speaking")
        await page.page.wait_for_timeout(900)
        for _ in range(_SHOTS):
            shot = await page.page.screenshot(scale="css")
            jaw = await page.page.evaluate(
                "measure.drawn().slice(-4).reduce((most, s) => Math.max(most, s.jawOpen), 0)"
            )
            if jaw > best[0] and await page.page.evaluate("window.visavis.session.state") == "speaking":
                best = (float(jaw), shot)
    return best[1]


def _smaller(png: bytes) -> bytes:
    """The same picture with a palette of 256 colours if it is too large."""
    if len(png) <= _SIZE_BYTES_MAX:
        return png
    found = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(found, "PNG", optimize=True)
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
