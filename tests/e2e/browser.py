"""Chromium with a microphone that plays a WAV, and what a test sees, hears and says through the page."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import Browser, ConsoleMessage, Page, Route, async_playwright

from core.limits import MEDIA_CLOCK_HZ
from loadtests.lip_sync import Curve
from tests.e2e.bad_network import BadNetwork
from tests.e2e.delivery import Faces

__all__ = ["SCREENSHOTS", "Sound", "Visit", "launch", "visit"]

SCREENSHOTS = Path(__file__).parents[2] / "test-results"
_LEVEL_S = 0.005
_MEASURE = (Path(__file__).parent / "measure.js").read_text()
_NOTE_MICROPHONE = """
{
  const devices = navigator.mediaDevices;
  const open = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (constraints) => {
    const stream = await open(constraints);
    window.microphoneOpenedMs = performance.now();
    return stream;
  };
}
"""
"""The recording begins when the microphone is opened; tests must know when that was."""
_TAP = """
{
  const channel = new BroadcastChannel("visavis-tap");
  const own = Object.getOwnPropertyDescriptor(RTCRtpScriptTransformer.prototype, "readable");
  Object.defineProperty(RTCRtpScriptTransformer.prototype, "readable", {
    configurable: true,
    get() {
      const readable = own.get.call(this);
      if (this.options?.side !== "receive") return readable;
      return readable.pipeThrough(new TransformStream({
        transform(frame, controller) {
          channel.postMessage({ rtpTimestamp: frame.getMetadata().rtpTimestamp, bytes: frame.data.slice(0) });
          controller.enqueue(frame);
        },
      }));
    },
  });
}
"""
"""Put in front of the worker's own code: copies every received packet, untouched, for an independent decoder."""


@asynccontextmanager
async def launch(executable: str, microphone: Path) -> AsyncIterator[Browser]:
    """One Chromium whose microphone plays a WAV once whenever it is opened. Permission is each context's own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=executable,
            args=[
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}%noloop",
                "--autoplay-policy=no-user-gesture-required",
                "--allow-loopback-in-peer-connection",
                "--no-sandbox",
                "--disable-features=WebRtcHideLocalIpsWithMdns",
            ],
        )
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visit(
    browser: Browser,
    url: str,
    *,
    microphone: bool = False,
    before: str = "",
    tap: bool = False,
    network: BadNetwork | None = None,
    dark: bool = False,
    pixel_ratio: float = 1.0,
    transport: str = "webrtc",
) -> AsyncIterator[Visit]:
    """The page, open.

    Args:
        transport: "auto", "webrtc" or "webtransport"; what is measured must not depend on what works here.
        microphone: the person allows it.
        before: script that runs before the page's own.
        tap: copy what the worker receives.
        network: what lies between the page and the POP.
    """
    context = await browser.new_context(
        viewport={"width": 1_180, "height": 860},
        device_scale_factor=pixel_ratio,
        permissions=["microphone"] if microphone else [],
        color_scheme="dark" if dark else "light",
        # The page's own policy names the POP's addresses, not a relay's.
        bypass_csp=network is not None,
    )
    await context.add_init_script(_MEASURE)
    await context.add_init_script(_NOTE_MICROPHONE)
    if before:
        await context.add_init_script(before)
    if tap:
        await context.route("**/encodedWorker*.js", _with_tap)
    if network is not None:
        await network.attach(context)
    page = await context.new_page()
    found = Visit(page)
    page.on("console", found.hear_console)
    page.on("pageerror", lambda error: found.errors.append(str(error)))
    try:
        await page.goto(f"{url}{'&' if '?' in url else '/?'}transport={transport}")
        await found.until("() => window.visavis !== undefined")
        yield found
    finally:
        await context.close()


async def _with_tap(route: Route) -> None:
    response = await route.fetch()
    await route.fulfill(response=response, body=_TAP + await response.text())


@dataclass(frozen=True, slots=True)
class Sound:
    """What a track sounded like: RMS of every 5 ms and when it was handed over, performance.now() in seconds."""

    times_s: NDArray[np.float64]
    levels: NDArray[np.float64]

    def curve(self) -> Curve:
        """As a curve; a window's time is its middle."""
        return Curve(self.times_s + 0.0025, self.levels)

    def between(self, begin_s: float, end_s: float) -> Sound:
        """Only this stretch."""
        kept = (self.times_s >= begin_s) & (self.times_s < end_s)
        return Sound(self.times_s[kept], self.levels[kept])

    def first_above(self, level: float, after_s: float) -> float | None:
        """When it is first louder than this."""
        found = np.flatnonzero((self.levels > level) & (self.times_s >= after_s))
        return float(self.times_s[found[0]]) if found.size else None


class Visit:
    """One open page.

    Attributes:
        page: Playwright's.
        errors: uncaught errors and console errors of the page.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []

    def hear_console(self, message: ConsoleMessage) -> None:
        """Keep the page's complaints."""
        if message.type == "error":
            self.errors.append(message.text)

    async def start(self, *, talking: bool) -> None:
        """Press the start button and wait until connected."""
        await self.page.click("#start-talking" if talking else "#start-typing")
        await self.connected()

    async def until(self, predicate: str, argument: object = None, *, timeout_s: float = 15.0) -> None:
        """Wait until a function of the page says true.

        Playwright's own waiting evaluates text in the page, which its content security policy forbids, as it should.
        """
        deadline = time.monotonic() + timeout_s
        while not await self.page.evaluate(predicate, argument):
            if time.monotonic() > deadline:
                raise AssertionError(f"after {timeout_s:g} s still not: {predicate} {argument or ''}; {self.errors}")
            await asyncio.sleep(0.02)

    async def connected(self) -> None:
        """Wait until the conversation is up."""
        await self.until("() => window.visavis?.session?.connection === 'connected'")

    async def state(self, *wanted: str, timeout_s: float = 15.0) -> None:
        """Wait until the face does one of these."""
        await self.until("wanted => wanted.includes(window.visavis.session?.state)", list(wanted), timeout_s=timeout_s)

    async def settled(self, quiet_s: float = 0.8, timeout_s: float = 20.0) -> None:
        """Wait until the face has been idle for a while (a greeting is over)."""
        await self.until(
            """quietMs => {
              const idle = window.visavis.session?.state === 'idle';
              window.idleSince = idle ? window.idleSince ?? performance.now() : null;
              return idle && performance.now() - window.idleSince > quietMs;
            }""",
            quiet_s * 1e3,
            timeout_s=timeout_s,
        )

    async def type(self, text: str) -> None:
        """Write a line and send it."""
        await self.page.fill("#text", text)
        await self.page.press("#text", "Enter")

    async def listen(self) -> None:
        """Begin to write down the character's voice, and the microphone's sound if there is one."""
        await self.page.evaluate(
            """() => {
              const { session } = window.visavis;
              measure.clear();
              measure.listen('voice', session.voiceStream.getAudioTracks()[0]);
              const microphone = session.microphoneStream?.getAudioTracks()[0];
              if (microphone) measure.listen('microphone', microphone);
            }"""
        )

    async def now_s(self) -> float:
        """performance.now() in seconds."""
        return float(await self.page.evaluate("performance.now()")) / 1e3

    async def heard(self, name: str) -> Sound:
        """What a track sounded like since `listen`.

        A block is read some time after it was handed over, never before; the least delay seen over a second either way
        is taken as its true one.
        """
        rows = await self.page.evaluate("name => measure.heard(name)", name)
        if not rows:
            return Sound(np.empty(0), np.empty(0))
        stamps = np.array([row[0] for row in rows], dtype=np.float64)
        jumps = np.flatnonzero(np.abs(np.diff(stamps)) > 500.0)
        if jumps.size:  # the track's clock starts anew when its sound does
            rows = rows[int(jumps[-1]) + 1 :]
            stamps = stamps[int(jumps[-1]) + 1 :]
        delays = np.array([row[1] for row in rows], dtype=np.float64) - stamps
        least = np.array([delays[max(0, i - 100) : i + 100].min() for i in range(delays.size)])
        times: list[float] = []
        levels: list[float] = []
        for there_ms, (_, _, block) in zip(stamps + least, rows, strict=True):
            # The whole block was there at `there_ms`: its first sample was handed over one block earlier.
            times += [there_ms / 1e3 - (len(block) - index) * _LEVEL_S for index in range(len(block))]
            levels += block
        order = np.argsort(np.array(times), kind="stable")
        return Sound(np.array(times)[order], np.array(levels)[order])

    async def sound(self, name: str) -> NDArray[np.float32]:
        """What a track sounded like since `listen`: float32[n] in [-1, 1], 48 kHz."""
        rate_hz, data = await self.page.evaluate("name => measure.sound(name)", name)
        assert rate_hz == MEDIA_CLOCK_HZ, rate_hz
        return np.frombuffer(base64.b64decode(data), dtype="<i2").astype(np.float32) / 32_768.0

    async def watch(self) -> None:
        """Begin to write down every drawn face."""
        await self.page.evaluate("measure.watch()")

    async def faces(self) -> Faces:
        """Every face drawn since `watch` or `listen`, whichever came last."""
        data = base64.b64decode(await self.page.evaluate("measure.poses()"))
        rows = np.frombuffer(data, dtype="<f8").reshape(-1, 81)
        return Faces(rows[:, 0] / 1e3, rows[:, 1:])

    async def packets(self) -> list[tuple[int, bytes]]:
        """(RTP timestamp, payload) of every packet since the page was opened; needs the tap."""
        found = await self.page.evaluate("measure.packets()")
        return [(int(timestamp), bytes.fromhex(data)) for timestamp, data in found]

    async def trace(self, name: str) -> list[dict[str, Any]]:
        """The SDK's own trace: "drawn", "received" or "gains"."""
        found: list[dict[str, Any]] = await self.page.evaluate(f"measure.{name}()")
        return found

    async def picture(self) -> NDArray[np.float64]:
        """A coarse copy of the canvas: float64[64, 48, 4]."""
        pixels = await self.page.evaluate("measure.picture()")
        return np.array(pixels, dtype=np.float64).reshape(64, 48, 4)

    async def screenshot(self, name: str) -> Path:
        """Write test-results/NAME.png."""
        SCREENSHOTS.mkdir(exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        await self.page.screenshot(path=path)
        return path
