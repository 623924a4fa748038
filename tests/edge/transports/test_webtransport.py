"""WebTransport sessions over real sockets on loopback, with both engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.host.clock import ManualClock, SystemClock
from core.limits import (
    ACCESS_UNIT_SIZE_BYTES_MAX,
    CERTIFICATE_LIFETIME_S,
    CONTROL_BUFFER_SIZE_BYTES_MAX,
    CONTROL_MESSAGE_SIZE_BYTES_MAX,
    KEYFRAME_STREAMS_MAX,
    LINK_DATAGRAMS_PER_S_MAX,
    LINK_FLOOD_DATAGRAMS_MAX,
    LINK_QUEUE_UNITS_MAX,
    UNKNOWN_STREAMS_MAX,
)
from core.wire.opus_padding import embed
from core.wire.webtransport import encode_close, encode_control, encode_hello, encode_unit
from edge.certificates import RotatingCertificates
from edge.transports.link import MicrophoneUnit
from edge.transports.quic import endpoint as endpoint_module
from edge.transports.quic.engine import EngineName
from edge.transports.webtransport import session as session_module
from loadtests.webtransport import WebTransportRefusedError
from tests.edge.peers import until
from tests.edge.webtransport import Guest, Inn, engine, inn

__all__ = ["engine"]

SPEECH = embed(b"\x78" + bytes(range(80)), b"side")


@pytest.fixture
async def place(engine: EngineName) -> AsyncIterator[Inn]:
    async with inn(engine) as made:
        yield made


class Clocks(SystemClock):
    """Real seconds for QUIC, a wall clock that a test moves."""

    def __init__(self, manual: ManualClock) -> None:
        self.wall = manual.wall  # type: ignore[method-assign]


async def refusal(guest: Guest, token: str = "good") -> str:
    with pytest.raises(WebTransportRefusedError) as refused:
        await guest.client.connect(token)
    return refused.value.code


async def closed(guest: Guest) -> list[str]:
    async with asyncio.timeout(5.0):
        await guest.client.wait_closed()
    return guest.reasons


# --- a conversation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("viewer", ["aioquic", "qh3"])
async def test_a_conversation(place: Inn, viewer: EngineName) -> None:
    guest = await place.guest(viewer).enter()
    assert place.asked == [("good", "s1")]
    link, heard = place.link, place.events
    assert heard.connected.is_set()
    assert (link.protocol, link.plays_sound_itself, len(place.server)) == ("webtransport", True, 1)
    for number in range(20):
        assert link.send_packet(SPEECH, (1 << 32) + number * 960)
        guest.client.send_microphone(b"opus", timestamp=number * 960, sequence_number=number, level_dbov=9, voice=True)
        await asyncio.sleep(0.005)
    link.send_control('{"a": 1}')
    link.send_control(b"\x21\x00")
    guest.client.send_control('{"b": "ä"}')
    guest.client.send_control(b"\x21\x01")
    guest.client.send_feedback(b"\x21\x02")
    await until(lambda: len(guest.units) == 20 and len(heard.units) == 20 and len(heard.control) == 3)
    await until(lambda: len(guest.control) == 2)
    assert guest.units == [(SPEECH, number * 960) for number in range(20)]
    assert heard.units == [MicrophoneUnit(b"opus", n * 960, n, 9, True) for n in range(20)]
    assert sorted(map(str, heard.control)) == sorted(map(str, ['{"b": "ä"}', b"\x21\x01", b"\x21\x02"]))
    assert guest.control == ['{"a": 1}', b"\x21\x00"]
    assert (link.packets_sent, link.packets_received) == (20, 20)
    guest.client.close()
    await until(heard.closed.is_set)
    assert heard.reasons == ["closed-by-viewer"]
    assert link.closed
    assert not link.send_packet(SPEECH, 0)
    link.send_control("late")
    link.send_keyframe(SPEECH, 0)
    assert link.dropped["not-connected"] == 3
    assert place.dropped.total() == 3


async def test_a_keyframe_comes_twice(place: Inn) -> None:
    guest = await place.guest().enter()
    for number in range(30):  # streams are given back: there is no end of keyframes
        place.link.send_packet(SPEECH, number)
        place.link.send_keyframe(SPEECH, number)
        await until(lambda wanted=2 * (number + 1): len(guest.units) == wanted)  # type: ignore[misc]
    assert guest.client.lone_streams == 30
    assert sorted(guest.units) == sorted([(SPEECH, number) for number in range(30)] * 2)


async def test_large_messages_and_units(place: Inn) -> None:
    guest = await place.guest().enter()
    largest = embed(b"\x78" + bytes(80), b"", size_bytes_max=ACCESS_UNIT_SIZE_BYTES_MAX)
    largest += bytes(ACCESS_UNIT_SIZE_BYTES_MAX - len(largest))
    assert place.link.send_packet(largest, 7)
    assert not place.link.send_packet(largest + b"x", 8)
    text = "x" * CONTROL_MESSAGE_SIZE_BYTES_MAX
    for _ in range(20):  # far beyond the flow control's first window
        guest.client.send_control(text)
        place.link.send_control(text)
        await until(lambda: bool(guest.control and place.events.control))
        assert guest.control == place.events.control == [text]
        guest.control.clear()
        place.events.control.clear()
    place.link.send_control(text + "x")
    assert guest.units == [(largest, 7)]
    assert dict(place.dropped) == {"access-unit-oversize": 1, "control-oversize": 1}


async def test_closed_by_the_pop(place: Inn) -> None:
    guest = await place.guest().enter()
    place.link.send_control("the last word")
    await place.link.aclose("draining")
    assert place.events.reasons == ["draining"]
    assert await closed(guest) == ["draining"]
    assert guest.control == ["the last word"]
    await until(lambda: len(place.server.endpoint) == 0)
    await place.link.aclose("again")
    assert place.events.reasons == ["draining"]


async def test_a_pop_that_stops(engine: EngineName) -> None:
    async with inn(engine) as place:
        guests = [await place.guest(session_id=f"s{number}").enter() for number in range(3)]
    for guest in guests:
        assert await closed(guest) == ["pop-stopping"]


@pytest.mark.parametrize("how", ["capsule", "stream", "nothing"])
async def test_a_viewer_that_leaves(place: Inn, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = await place.guest().enter()
    if how == "capsule":
        guest.client.send_raw_capsule(b"\x21\x05hello" + encode_close(0, "bye"))
    elif how == "stream":
        guest.client._quic.send_stream_data(guest.client._control_id, b"", True)
        guest.client._flush()
    else:
        guest.client._quic.close(error_code=0x100)
        guest.client._flush()
    await until(place.events.closed.is_set)
    assert place.events.reasons == ["closed-by-viewer"]
    await until(lambda: len(place.server.endpoint) == 0)


async def test_a_viewer_that_vanishes(engine: EngineName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.transports.quic.engine.LINK_SILENCE_S_MAX", 0.3)
    async with inn(engine) as place:
        guest = await place.guest().enter()
        link = place.link
        guest.client.vanish()
        async with asyncio.timeout(8.0):
            while not place.events.closed.is_set():
                link.send_packet(SPEECH, 0)
                assert len(link._units) <= LINK_QUEUE_UNITS_MAX
                await asyncio.sleep(0.005)
        assert place.events.reasons == ["connection-lost"]


# --- the way in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["token-expired", "overloaded", "session-exists"])
async def test_refusals_say_why(place: Inn, code: str) -> None:
    assert await refusal(place.guest(), code) == code
    await until(lambda: len(place.server.endpoint) == 0)


async def test_a_bug_in_admission(place: Inn, caplog: pytest.LogCaptureFixture) -> None:
    assert await refusal(place.guest(), "breaks") == "internal-error"
    assert "a hello could not be answered" in caplog.text


async def test_a_hello_that_does_not_come(place: Inn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "LINK_CONNECT_S_MAX", 0.2)
    guest = place.guest()
    await guest.client.open()
    with pytest.raises(WebTransportRefusedError) as refused:
        await guest.client._arrival(guest.client._welcome)
    assert refused.value.code == "connect-timeout"


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (encode_control(0, b"not json"), "bad-hello"),
        (encode_control(1, b"{}"), "bad-hello"),
        (encode_control(7, b""), "bad-hello"),
        (encode_control(0, b'{"version": 9, "token": "x"}'), "unknown-version"),
        (b"\x00\xff\xff\xff", "control-too-large"),
    ],
)
async def test_bad_beginnings(place: Inn, first: bytes, code: str) -> None:
    guest = place.guest()
    await guest.client.open()
    guest.client.send_raw_control(first)
    with pytest.raises(WebTransportRefusedError) as refused:
        await guest.client._arrival(guest.client._welcome)
    assert refused.value.code == code
    assert place.asked == []


async def test_nothing_is_listened_to_before_the_hello_is_admitted(place: Inn) -> None:
    place.gate.clear()
    guest = place.guest()
    await guest.client.open()
    guest.client.send_feedback(b"\x21\x01")
    guest.client.send_raw_control(encode_hello("good") + encode_control(1, b"early") + encode_hello("good"))
    await until(lambda: place.dropped["datagram-early"] and place.dropped["control-early"])
    assert place.dropped["second-hello"] == 1
    place.gate.set()
    await guest.client._arrival(guest.client._welcome)
    guest.client.send_raw_control(encode_hello("good"))
    guest.client.send_control("now")
    await until(lambda: place.events.control)
    assert place.events.control == ["now"]
    assert place.dropped["second-hello"] == 2
    assert len(place.entries) == 1


async def test_a_viewer_that_leaves_before_it_was_admitted(place: Inn) -> None:
    place.gate.clear()
    guest = place.guest()
    await guest.client.open()
    guest.client.send_raw_control(encode_hello("good"))
    await until(lambda: place.asked)
    guest.client.close()
    await until(lambda: len(place.server.endpoint) == 0)
    place.gate.set()
    await until(lambda: place.entries and place.entries[0].abandoned)
    assert place.entries[0].abandoned == ["closed-by-viewer"]
    assert place.entries[0].links == []


async def test_an_origin_that_is_not_allowed(engine: EngineName) -> None:
    async with inn(engine, allowed_origins=("https://good.example",)) as place:
        for origin, code in (("https://evil.example", "http-403"), ("https://good.example", "")):
            guest = place.guest()
            guest.client.headers["origin"] = origin
            if code:
                assert await refusal(guest) == code
            else:
                await guest.enter()


async def test_other_requests(place: Inn) -> None:
    assert await refusal(place.guest(session_id="not/an/id")) == "http-404"
    guest = place.guest()
    guest.client.headers[":protocol"] = "websocket"
    assert await refusal(guest) == "http-400"
    guest = await place.guest().enter()
    assert (await guest.client.get("/healthz")) == (200, b'{"ok": true}')
    assert (await guest.client.get("/config.json"))[0] == 404
    client = guest.client
    client._send_headers(client._quic.get_next_available_stream_id(), client.headers, end=False)
    await until(lambda: place.dropped["second-session"])
    assert not place.events.closed.is_set()


async def test_certificates_are_known_by_their_hash(engine: EngineName) -> None:
    clock, certificates = ManualClock(), RotatingCertificates()
    async with inn(engine, certificates=certificates, clock=Clocks(clock)) as place:
        first = certificates.hashes(clock.wall())
        await place.guest(certificate_hashes=first).enter()
        clock.advance(CERTIFICATE_LIFETIME_S)
        assert await refusal(place.guest(engine, certificate_hashes=first)) == "certificate"
        await place.guest(certificate_hashes=certificates.hashes(clock.wall())).enter()


# --- what is none of ours --------------------------------------------------------------------------------------------


async def test_datagrams_that_are_none_of_ours(place: Inn) -> None:
    guest = await place.guest().enter()
    client = guest.client
    client.send_microphone(b"opus", timestamp=0, sequence_number=5)
    client.send_microphone(b"opus", timestamp=0, sequence_number=5)
    for data in (b"", b"\x00", b"\x31\x00", b"\x41abcdef", b"\x31" + bytes(7)):
        client.send_raw_datagram(data)
    client._quic.send_datagram_frame(b"\x05\x21\x00")  # another session's
    client._quic.send_datagram_frame(b"")
    client._flush()
    await until(lambda: place.dropped.total() >= 8)
    assert dict(place.dropped) == {
        "microphone-duplicate": 1,
        "datagram-kind": 3,
        "datagram-short": 2,
        "datagram-session": 2,
    }
    assert len(place.events.units) == 1
    assert not place.events.closed.is_set()


async def test_control_messages_that_are_none_of_ours(place: Inn) -> None:
    guest = await place.guest().enter()
    guest.client.send_raw_control(encode_control(9, b"news") + encode_control(1, b"\xff"))
    guest.client.send_control("still here")
    await until(lambda: place.events.control)
    assert place.events.control == ["still here"]
    assert dict(place.dropped) == {"control-kind": 1, "bad-control": 1}


@pytest.mark.parametrize(
    ("control", "capsule", "reason"),
    [(b"\x01\x10\x00\x00", b"", "control-too-large"), (b"", b"\x68\x43\x01x", "bad-capsule")],
)
async def test_what_ends_a_session(place: Inn, control: bytes, capsule: bytes, reason: str) -> None:
    guest = await place.guest().enter()
    if control:
        guest.client.send_raw_control(control)
    else:
        guest.client.send_raw_capsule(capsule)
    assert await closed(guest) == [reason]
    assert place.events.reasons == [reason]


async def test_streams_nobody_asked_for(place: Inn) -> None:
    guest = await place.guest().enter()
    for number in range(UNKNOWN_STREAMS_MAX + 8):
        if guest.client.connected:
            guest.client.send_raw_stream(encode_unit(b"x", 1), unidirectional=bool(number % 2))
        await asyncio.sleep(0.01)
    assert await closed(guest) == ["too-many-streams"]
    assert place.dropped["unknown-stream"] == UNKNOWN_STREAMS_MAX + 1
    await until(lambda: len(place.server.endpoint) == 0)


async def test_a_flood_of_datagrams(place: Inn) -> None:
    guest = await place.guest().enter()
    for number in range(LINK_DATAGRAMS_PER_S_MAX + LINK_FLOOD_DATAGRAMS_MAX + 6_000):
        if not guest.client.connected:
            break
        guest.client.send_feedback(b"\x21\x00")
        if number % 20 == 0:
            await asyncio.sleep(0)
    assert await closed(guest) == ["flood"]
    assert place.dropped["datagram-flood"] == LINK_FLOOD_DATAGRAMS_MAX + 1
    assert len(place.events.control) < 4 * LINK_DATAGRAMS_PER_S_MAX


async def test_a_listener_that_breaks(place: Inn, caplog: pytest.LogCaptureFixture) -> None:
    guest = await place.guest().enter()
    place.events.units = None  # type: ignore[assignment]
    guest.client.send_microphone(b"opus", timestamp=0, sequence_number=0)
    assert await closed(guest) == ["internal-error"]
    assert "a link's listener failed" in caplog.text


async def test_one_broken_connection_leaves_the_others_alone(place: Inn, caplog: pytest.LogCaptureFixture) -> None:
    first = await place.guest(session_id="s1").enter()
    broken, link = place.events, place.link

    def breaks(event: object, now: float) -> None:
        raise RuntimeError("a bug")

    link._carrier.on_event = breaks  # type: ignore[attr-defined]
    second = await place.guest(session_id="s2").enter()
    first.client.send_control("x")
    second.client.send_control("y")
    await until(lambda: broken.closed.is_set() and place.events.control)
    assert broken.reasons == ["internal-error"]
    assert place.events.control == ["y"]
    assert "a QUIC connection failed" in caplog.text


# --- viewers that do not listen --------------------------------------------------------------------------------------


async def test_a_viewer_whose_network_swallows_everything(place: Inn) -> None:
    guest = await place.guest().enter()
    link = place.link
    guest.client.filter_received = lambda data: False
    quic = link._carrier._engine._quic  # type: ignore[attr-defined]
    for number in range(200):
        assert link.send_packet(SPEECH, number * 960)
        link.send_keyframe(SPEECH, number * 960)
        link.send_control("x" * 8_000)
        await asyncio.sleep(0.002)
        assert len(link._units) <= LINK_QUEUE_UNITS_MAX
        assert len(quic._datagrams_pending) <= 1
        assert link._control_bytes <= CONTROL_BUFFER_SIZE_BYTES_MAX
    assert place.dropped["keyframe-overflow"] == 200 - KEYFRAME_STREAMS_MAX
    assert place.dropped["control-overflow"] > 0
    assert place.dropped["queue-overflow"] > 100
    guest.client.filter_received = lambda data: True  # and comes back
    guest.units.clear()
    for number in range(300, 500):
        link.send_packet(SPEECH, number * 960)
        await asyncio.sleep(0.01)
        if guest.units and guest.units[-1][1] >= 300 * 960:
            break
    await until(lambda: guest.units and guest.units[-1][1] >= 300 * 960)
    assert not place.events.closed.is_set()


async def test_a_viewer_that_does_not_acknowledge(place: Inn) -> None:
    guest = await place.guest().enter()
    link = place.link
    sent = guest.client._udp.sendto  # type: ignore[union-attr]

    class Silent:
        family = guest.client._udp.family  # type: ignore[union-attr]

        def sendto(self, data: bytes, address: object) -> None:
            """Nothing leaves."""

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    real = guest.client._udp
    guest.client._udp = Silent()  # type: ignore[assignment]
    quic = link._carrier._engine._quic  # type: ignore[attr-defined]
    for number in range(300):
        link.send_packet(SPEECH, number * 960)
        await asyncio.sleep(0.001)
        assert len(link._units) <= LINK_QUEUE_UNITS_MAX
        assert len(quic._datagrams_pending) <= 1
    assert place.dropped["queue-overflow"] + place.dropped["queue-expired"] > 50
    guest.client._udp = real
    assert sent is not None


async def test_a_viewer_on_another_port(place: Inn) -> None:
    guest = await place.guest().enter()
    link = place.link
    for _ in range(3):
        guest.client.rebind()
        guest.units.clear()
        for number in range(10):
            guest.client.send_microphone(b"opus", timestamp=number * 960, sequence_number=number)
            link.send_packet(SPEECH, number * 960)
            await asyncio.sleep(0.01)
        await until(lambda: len(guest.units) >= 9)
    assert not place.events.closed.is_set()


# --- the endpoint ----------------------------------------------------------------------------------------------------


async def test_half_open_connections_are_bounded(place: Inn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "QUIC_HALF_OPEN_PER_ADDRESS_MAX", 3)
    monkeypatch.setattr(endpoint_module, "LINK_CONNECT_S_MAX", 0.4)
    guests = [place.guest() for _ in range(6)]
    for guest in guests:
        guest.client.filter_received = lambda data: False
    tasks = [asyncio.create_task(guest.client.open()) for guest in guests]
    await until(lambda: place.dropped["quic-too-many"] >= 3)
    assert len(place.server.endpoint) == 3
    for task in tasks:
        task.cancel()
    for guest in guests:
        guest.client.vanish()
    await until(lambda: len(place.server.endpoint) == 0)
    assert place.dropped["quic-handshake-timeout"] == 3
    await place.guest().enter()


async def test_a_full_server(engine: EngineName) -> None:
    async with inn(engine, capacity=1) as place:
        await place.guest().enter()
        second = place.guest()
        task = asyncio.create_task(second.client.open())
        await until(lambda: place.dropped["quic-too-many"])
        task.cancel()
        second.client.vanish()
