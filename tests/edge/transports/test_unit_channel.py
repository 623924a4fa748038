"""Copies of access units on a data channel, to a real aiortc peer on loopback."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX, CONTROL_MESSAGE_SIZE_BYTES_MAX, UNIT_CHANNEL_BUFFER_SIZE_BYTES_MAX
from core.wire.feedback import Feedback, encode_feedback
from core.wire.webtransport import decode_unit
from edge.transports.unit_channel import UNIT_LABEL
from edge.transports.webrtc import WebRtcLink, WebRtcTransport
from tests.edge.peers import Listener, Viewer, until


class Call:
    """A viewer that asks for copies, and its link."""

    def __init__(self, *, ordered: bool = False, retransmits: int | None = 0) -> None:
        self.viewer = Viewer()
        self.listener = Listener()
        self.link: WebRtcLink
        self.copies: list[bytes] = []
        self.units = self.viewer.peer.createDataChannel(UNIT_LABEL, ordered=ordered, maxRetransmits=retransmits)
        self.units.on("message", self.copies.append)

    async def connect(self, transport: WebRtcTransport) -> Call:
        self.link, answer = await transport.accept(await self.viewer.offer(), self.listener)
        await self.viewer.accept(answer)
        await until(self.listener.connected.is_set)
        return self

    async def aclose(self) -> None:
        await asyncio.gather(self.link.aclose("test-over"), self.viewer.aclose())


@pytest.fixture
async def transport() -> AsyncIterator[WebRtcTransport]:
    made = WebRtcTransport(loopback=True, entropy=random.Random(1).random)
    yield made
    await made.aclose()
    assert len(made) == 0


def unit(number: int, size: int = 120) -> bytes:
    return b"\x78" + random.Random(number).randbytes(size - 1)


async def test_every_unit_comes_as_rtp_and_as_a_copy_with_its_media_time(transport: WebRtcTransport) -> None:
    call = await Call().connect(transport)
    await until(lambda: call.link._units is not None)
    start = (1 << 32) - 960 * 5
    sent = [unit(number, ACCESS_UNIT_SIZE_BYTES_MAX if number == 9 else 120) for number in range(20)]
    for number, payload in enumerate(sent):
        assert call.link.send_packet(payload, start + number * 960)
        await asyncio.sleep(0.01)
    await until(lambda: len(call.viewer.packets) == len(call.copies) == 20)
    assert [payload for _, _, payload in call.viewer.packets] == sent
    came = {decode_unit(copy) for copy in call.copies}
    assert came == {(payload, (start + number * 960) % (1 << 32)) for number, payload in enumerate(sent)}
    await call.aclose()


async def test_who_does_not_ask_gets_no_copies(transport: WebRtcTransport) -> None:
    call = Call()
    call.units.close()
    await call.connect(transport)
    assert call.link.send_packet(unit(1), 960)
    await until(lambda: call.viewer.packets)
    assert call.link._units is None and not call.copies and not call.link.dropped
    await call.aclose()


@pytest.mark.parametrize(("ordered", "retransmits"), [(True, 0), (False, None), (False, 3)])
async def test_a_channel_that_would_bring_them_late_is_refused(
    transport: WebRtcTransport, ordered: bool, retransmits: int | None
) -> None:
    call = await Call(ordered=ordered, retransmits=retransmits).connect(transport)
    await until(lambda: call.link.dropped["unknown-channel"] == 1)
    await until(lambda: call.units.readyState == "closed")
    assert call.link.send_packet(unit(1), 960)
    await until(lambda: call.viewer.packets)
    assert not call.copies
    await call.aclose()


async def test_a_second_channel_is_refused_and_a_closed_one_is_counted(transport: WebRtcTransport) -> None:
    call = await Call().connect(transport)
    await until(lambda: call.link._units is not None)
    call.viewer.peer.createDataChannel(UNIT_LABEL, ordered=False, maxRetransmits=0)
    await until(lambda: call.link.dropped["unknown-channel"] == 1)
    call.units.close()
    await until(lambda: call.units.readyState == "closed")
    assert call.link.send_packet(unit(1), 960), "the sound goes on"
    assert call.link.dropped["units-closed"] == 1
    await call.aclose()


async def test_feedback_comes_back_on_it_and_nothing_else(transport: WebRtcTransport) -> None:
    call = await Call().connect(transport)
    await until(lambda: call.units.readyState == "open")
    feedback = encode_feedback(Feedback(keyframe_request=True))
    call.units.send("text")
    call.units.send(b"")
    call.units.send(b"\x31" + bytes(20))
    call.units.send(b"\x21" + bytes(CONTROL_MESSAGE_SIZE_BYTES_MAX))
    call.units.send(feedback)
    await until(lambda: call.listener.control == [feedback])
    assert call.link.dropped["datagram-kind"] == 3
    assert call.link.dropped["control-oversize"] == 1
    await call.aclose()


async def test_a_full_window_drops_copies_and_never_the_sound(transport: WebRtcTransport) -> None:
    call = await Call().connect(transport)
    await until(lambda: call.link._units is not None)
    sctp = call.viewer.peer.sctp
    assert sctp is not None

    async def deaf(data: bytes) -> None:
        """The viewer's SCTP hears nothing and acknowledges nothing."""

    hears, sctp._handle_data = sctp._handle_data, deaf  # type: ignore[method-assign]
    waits: list[int] = []
    for number in range(200):
        assert call.link.send_packet(unit(number), number * 960)
        waits.append(call.link._units._channel.bufferedAmount if call.link._units else 0)
        await asyncio.sleep(0.001)
    await until(lambda: len(call.viewer.packets) == 200)
    assert call.link.dropped["units-overflow"] > 50
    assert max(waits) <= UNIT_CHANNEL_BUFFER_SIZE_BYTES_MAX + 125
    sctp._handle_data = hears  # type: ignore[method-assign]
    await until(lambda: call.copies, timeout_s=10.0)
    for number in range(200, 400):
        assert call.link.send_packet(unit(number), number * 960)
        await asyncio.sleep(0.01)
        if (unit(number), number * 960) in map(decode_unit, call.copies):
            break
    else:
        pytest.fail("new units do not come again")
    await call.aclose()
