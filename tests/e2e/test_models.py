"""A GLB in the place of the drawn face: it speaks, and whatever is wrong with one, the conversation goes on."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.async_api import Browser, Page

from edge.client.models import pip
from loadtests.stack import Stack
from tests.e2e.browser import Visit, visit

pytestmark = pytest.mark.asyncio(loop_scope="package")

_HUGE_BYTES = 200_000_000
_WATCH = """
([seconds, box]) => new Promise((resolve) => {
  const source = document.querySelector('#stage canvas:not([hidden])');
  const small = new OffscreenCanvas(32, 24);
  const context = small.getContext('2d', { willReadFrequently: true });
  const rows = [];
  const until = performance.now() + seconds * 1e3;
  const take = () => {
    const { width, height } = source;
    context.fillRect(0, 0, 32, 24);
    context.drawImage(source, box[0] * width, box[1] * height, box[2] * width, box[3] * height, 0, 0, 32, 24);
    const pixels = context.getImageData(0, 0, 32, 24).data;
    rows.push([measure.drawn().at(-1)?.jawOpen ?? 0, ...pixels.filter((_, at) => at % 4 === 0)]);
    if (performance.now() < until) requestAnimationFrame(take);
    else resolve(rows);
  };
  requestAnimationFrame(take);
})
"""
"""After every display frame, in the same task, as WebGL forgets its picture: the jaw's weight and a patch's reds."""
_MOUTH = [0.34, 0.46, 0.32, 0.13]
"""Left, top, width and height of Pip's mouth, as shares of the canvas."""
_DROP = """
([name, text]) => {
  const files = new DataTransfer();
  files.items.add(new File([text], name));
  const send = (kind) =>
    document.getElementById('stage').dispatchEvent(
      new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: files }));
  send('dragover');
  const hinted = !document.getElementById('drop-hint').hidden;
  send('drop');
  return hinted && document.getElementById('drop-hint').hidden;
}
"""


def _changed(change: Callable[[dict[str, Any], bytearray], None]) -> bytes:
    """Pip with another description and more binary data."""
    data = pip.glb()
    size = struct.unpack_from("<I", data, 12)[0]
    description: dict[str, Any] = json.loads(data[20 : 20 + size])
    binary = bytearray(data[28 + size :])
    change(description, binary)
    description["buffers"] = [{"byteLength": len(binary)}]
    text = json.dumps(description).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(binary), len(text), 0x4E4F534A)
    return head + text + struct.pack("<II", len(binary), 0x004E4942) + bytes(binary)


def _without_shapes(description: dict[str, Any], _: bytearray) -> None:
    for mesh in description["meshes"]:
        mesh.pop("extras", None)
        for primitive in mesh["primitives"]:
            primitive.pop("targets", None)


def _green(description: dict[str, Any], binary: bytearray) -> None:
    """A texture of one colour over everything."""
    picture = io.BytesIO()
    Image.new("RGB", (4, 4), (0, 255, 0)).save(picture, "PNG")
    description["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": picture.tell()})
    binary += picture.getvalue()
    description["images"] = [{"bufferView": len(description["bufferViews"]) - 1, "mimeType": "image/png"}]
    description["textures"] = [{"source": 0}]
    for material in description["materials"]:
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}


async def _sentence(page: Page, contains: str) -> None:
    """Wait for a notice with these words; the panel repeats them. Then put it away."""
    await page.wait_for_selector(f"#notice:not([hidden]) #notice-text:has-text('{contains}')", timeout=10_000)
    assert await page.inner_text("#notice-title") == "That face cannot be used"
    assert await page.inner_text("#model-report") == await page.inner_text("#notice-text")
    await page.click("#notice-actions button")


async def _modelled(page: Visit) -> None:
    await page.until("() => document.getElementById('stage').dataset.renderer === 'glb'")


async def test_a_model_speaks_and_hands_over_in_the_middle_of_a_sentence(browser: Browser, stack: Stack) -> None:
    async with visit(browser, f"{stack.pop_url}/?model=models/pip.glb", dark=True) as page:
        await _modelled(page)
        assert await page.page.inner_text("#model-name") == "pip.glb · GLB"
        assert await page.page.inner_text("#model-report") == "All 52 shapes are there."
        await page.start(talking=False)
        await page.settled()
        calm = np.array(await page.page.evaluate(_WATCH, [1.5, _MOUTH]))
        session = await page.page.evaluate("window.visavis.session.id")
        await page.type("Tell me about the moon.")
        await page.state("speaking")
        spoken = np.array(await page.page.evaluate(_WATCH, [2.5, _MOUTH]))
        await page.screenshot("model-speaking")

        rest = np.median(calm[:, 1:], axis=0)
        calm_change, change = (np.abs(rows[:, 1:] - rest).mean(axis=1) for rows in (calm, spoken))
        together = float(np.corrcoef(spoken[:, 0], change)[0, 1])
        print(f"the mouth changes by {calm_change.mean():.1f} calm and {change.mean():.1f} speaking, of 255")
        print(f"with the jaw's weight: {together:.2f} over {len(spoken)} frames")
        assert len(spoken) > 8
        assert change.mean() > 2.0 * calm_change.mean()
        assert together > 0.6

        # Back to the drawn face, by keyboard, while it speaks: same session, same voice.
        await page.settled()
        await page.listen()
        await page.type("Tell me about the moon.")
        await page.state("speaking")
        await page.page.focus("#model-back")
        await page.page.keyboard.press("Enter")
        assert await page.page.locator("canvas.guest").count() == 0
        assert await page.page.is_visible("#canvas")
        assert await page.page.evaluate("document.activeElement.id") == "model-choose"
        await page.page.wait_for_timeout(600)
        assert float((await page.heard("voice")).levels.max()) > 0.02
        await page.page.click("#model-sample")
        await _modelled(page)
        assert await page.page.evaluate("window.visavis.session.id") == session
        assert page.errors == []


async def test_a_lost_graphics_card_brings_the_drawn_face_until_it_is_back(browser: Browser, stack: Stack) -> None:
    async with visit(browser, f"{stack.pop_url}/?model=models/pip.vrm") as page:
        await page.until("() => document.getElementById('stage').dataset.renderer === 'vrm'")
        assert await page.page.inner_text("#model-name") == "pip.vrm · VRM 1.0"
        assert "Its expressions stand in for 22 of 52 shapes" in await page.page.inner_text("#model-report")
        await page.page.click("#model-report summary")
        assert "By the vowels aa, ih, ou, ee, oh" in await page.page.inner_text("#model-report dl")
        await page.screenshot("model-vrm")
        await page.page.evaluate(
            """() => {
              const canvas = document.querySelector('canvas.guest');
              window.lose = canvas.getContext('webgl2').getExtension('WEBGL_lose_context');
              window.lose.loseContext();
            }"""
        )
        await _sentence(page.page, "The graphics card stopped drawing the model. The drawn character goes on.")
        assert await page.page.evaluate("document.getElementById('stage').dataset.renderer") == "puppet"
        assert await page.page.is_visible("#canvas")
        await page.page.evaluate("window.lose.restoreContext()")
        await page.until("() => document.getElementById('stage').dataset.renderer === 'vrm'")


async def test_what_is_no_model_is_refused_in_words_and_the_conversation_goes_on(
    browser: Browser, stack: Stack, tmp_path: Path
) -> None:
    async with visit(browser, stack.pop_url) as page:
        scripts: list[str] = []
        page.page.on("request", lambda request: scripts.append(request.url))
        await page.start(talking=False)
        await page.settled()
        session = await page.page.evaluate("window.visavis.session.id")
        assert not any("modelView" in url for url in scripts)  # nobody loads three.js for a drawn face
        files = {"cut.glb": pip.glb()[:40_000], "stiff.glb": _changed(_without_shapes), "huge.vrm": b"glTF"}
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        with (tmp_path / "huge.vrm").open("r+b") as huge:
            huge.truncate(_HUGE_BYTES)
        sentences = {
            "cut.glb": "“cut.glb” is damaged: its end is missing",
            "stiff.glb": "“stiff.glb” has no morph targets, so its face cannot move.",
            "huge.vrm": "“huge.vrm” has 200 MB; a page can take 67 MB.",
        }
        await page.type("Tell me about Mars.")
        await page.state("speaking")
        for name, sentence in sentences.items():
            await page.page.set_input_files("#model-file", tmp_path / name)
            await page.page.wait_for_selector(f"#notice:has-text('{sentence[:12]}')")
            if name == "huge.vrm":
                await page.screenshot("model-refused")
            await _sentence(page.page, sentence)
        assert any("modelView" in url for url in scripts)
        assert await page.page.evaluate(_DROP, ["face.obj", "v 0 0 0"]), "the hint comes and goes"
        await _sentence(page.page, "“face.obj” is not a GLB or VRM file.")
        assert await page.page.is_visible("#canvas")
        assert await page.page.locator("canvas.guest").count() == 0
        assert await page.page.evaluate("window.visavis.session.id") == session
        answers = page.page.locator("#transcript li.character")
        before = await answers.count()
        await page.type("What is your name?")
        await page.until("before => document.querySelectorAll('#transcript li.character').length > before", before)
        assert page.errors == []


async def test_addresses_that_lead_to_no_model_say_so(browser: Browser, stack: Stack) -> None:
    for address, sentence in (
        ("https://models.example/a.glb", "This page may not load models from models.example."),
        ("models/nobody.glb", "There is no “nobody.glb” at 127.0.0.1"),
        ("https://", "is no address of a model"),
    ):
        async with visit(browser, f"{stack.pop_url}/?model={address}") as page:
            await page.page.wait_for_selector(
                f"#notice:not([hidden]) #notice-text:has-text('{sentence}')", timeout=10_000
            )
            await page.until("() => document.getElementById('stage-wait').hidden")
            assert await page.page.is_visible("#canvas")


async def test_a_texture_comes_from_the_file_under_the_page_s_own_policy(
    browser: Browser, stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "green.glb").write_bytes(_changed(_green))
    async with visit(browser, stack.pop_url) as page:
        await page.page.set_input_files("#model-file", tmp_path / "green.glb")
        await _modelled(page)
        await page.page.wait_for_timeout(300)
        picture = await page.page.locator("canvas.guest").screenshot()
        red, green, blue = np.array(Image.open(io.BytesIO(picture)).convert("RGB"))[300:500, 150:270].mean(axis=(0, 1))
        assert green > 3.0 * max(red, blue)
        assert page.errors == []
