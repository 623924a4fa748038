"""Chromium's own WebTransport against our server, byte by byte, with both engines: no client of ours in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX
from core.wire.webtransport import MicrophoneDatagram, encode_control, encode_hello, encode_microphone, encode_unit
from edge.certificates import RotatingCertificates, self_signed
from edge.transports.link import MicrophoneUnit
from tests.edge.peers import until
from tests.edge.webtransport import Inn, engine, inn

__all__ = ["engine"]

pytestmark = pytest.mark.asyncio(loop_scope="package")

_OPEN = """
async ([url, hashes, hello]) => {
  const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));
  const hex = (data) => Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const decode = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const session = new WebTransport(url, {
    serverCertificateHashes: hashes.map((hash) => ({ algorithm: "sha-256", value: decode(hash) })),
  });
  await session.ready;
  const seen = (window.seen = { control: "", datagrams: [], streams: [], closed: null });
  const follow = async (stream, take) => {
    const reader = stream.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      await take(value);
    }
  };
  const quiet = (promise) => promise.catch(() => undefined);
  const control = await session.createBidirectionalStream();
  quiet(follow(control.readable, (data) => { seen.control += hex(data); }));
  quiet(follow(session.datagrams.readable, (data) => { seen.datagrams.push(hex(data)); }));
  quiet(follow(session.incomingUnidirectionalStreams, async (stream) => {
    let whole = "";
    await follow(stream, (data) => { whole += hex(data); });
    seen.streams.push(whole);
  }));
  session.closed.then((info) => { seen.closed = info; }, (error) => { seen.closed = String(error); });
  const writer = control.writable.getWriter();
  const datagrams = session.datagrams.writable.getWriter();
  window.say = (data) => writer.write(bytes(data));
  window.send = (data) => datagrams.write(bytes(data));
  await window.say(hello);
}
"""


@pytest_asyncio.fixture(loop_scope="package")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """An empty page, from this machine as Chromium wants it: pages from elsewhere may not reach local addresses."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        context = await browser.new_context()
        opened = await context.new_page()
        await opened.goto(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        yield opened
        await context.close()


async def _open(page: Page, place: Inn, hashes: tuple[str, ...], token: str = "good") -> None:
    await page.evaluate(_OPEN, [f"{place.url}/v1/sessions/s1/webtransport", list(hashes), encode_hello(token).hex()])


async def _seen(page: Page, condition: str) -> None:
    await page.wait_for_function(f"() => {condition}", timeout=5_000, polling=10)


async def test_chromium_hears_and_is_heard(page: Page, engine: str) -> None:
    certificates = RotatingCertificates()
    async with inn("qh3" if engine == "qh3" else "aioquic", certificates=certificates) as place:
        await _open(page, place, certificates.hashes(place.server._wall()))
        await until(lambda: place.entries and place.events.connected.is_set())
        largest = bytes(ACCESS_UNIT_SIZE_BYTES_MAX)
        place.link.send_packet(b"opus", 960)
        place.link.send_packet(largest, 1_920)
        place.link.send_keyframe(b"opus", 960)
        place.link.send_control('{"to": "viewer"}')
        await _seen(page, "seen.datagrams.length === 2 && seen.streams.length === 1 && seen.control.length > 60")
        seen = await page.evaluate("window.seen")
        assert seen["datagrams"] == [encode_unit(b"opus", 960).hex(), encode_unit(largest, 1_920).hex()]
        assert seen["streams"] == [encode_unit(b"opus", 960).hex()]
        assert seen["control"].endswith(encode_control(1, b'{"to": "viewer"}').hex())
        await page.evaluate("(data) => say(data)", encode_control(1, b'{"to": "pop"}').hex())
        microphone = encode_microphone(MicrophoneDatagram(b"opus", 960, 7, 20, True))
        await page.evaluate("(data) => send(data)", microphone.hex())
        await page.evaluate("(data) => send(data)", "2100")
        await until(lambda: place.events.units and len(place.events.control) == 2)
        assert place.events.units == [MicrophoneUnit(b"opus", 960, 7, 20, True)]
        assert set(place.events.control) == {'{"to": "pop"}', b"\x21\x00"}
        await place.link.aclose("draining")
        await _seen(page, "seen.closed !== null")
        assert await page.evaluate("window.seen.closed") == {"closeCode": 1, "reason": "draining"}
        assert dict(place.dropped) == {}


async def test_chromium_learns_why_it_is_refused(page: Page, engine: str) -> None:
    certificates = RotatingCertificates()
    async with inn("qh3" if engine == "qh3" else "aioquic", certificates=certificates) as place:
        await _open(page, place, certificates.hashes(place.server._wall()), token="token-expired")
        await _seen(page, "seen.closed !== null")
        assert (await page.evaluate("window.seen.closed"))["reason"] == "token-expired"


async def test_chromium_trusts_no_other_certificate(page: Page) -> None:
    async with inn("aioquic") as place:
        with pytest.raises(Exception, match="handshake"):
            await _open(page, place, (self_signed(place.server._wall()).hash,))
        assert place.asked == []
