"""The headless viewer against a POP of a few lines: real transport and wire, a made-up face and voice."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import MEDIA_CLOCK_HZ, TICK_S, TICK_SAMPLES
from core.session.state import FaceState
from core.stream.sender import UnitSender
from core.wire.access_unit import AccessUnitFlags
from core.wire.control import decode_control, encode_control
from core.wire.feedback import Feedback, decode_feedback, extract_feedback
from edge.transports.link import MicrophoneUnit
from edge.transports.webrtc import WebRtcLink, WebRtcTransport
from loadtests import viewer_webtransport
from loadtests.audio import VoiceDecoder, VoiceEncoder
from loadtests.turn import ask, settle
from loadtests.viewer import Viewer, ViewerError, fetch_ticket, find_origin

JAW = BLENDSHAPE_INDEX["jawOpen"]


class TinyPop:
    """Origin and POP in one: answers whatever was typed with swelling voice; LinkEvents of its only viewer."""

    def __init__(self) -> None:
        self.url = ""
        self.transport = WebRtcTransport(loopback=True)
        self.link: WebRtcLink | None = None
        self.sender = UnitSender(epoch=1)
        self.microphone: list[MicrophoneUnit] = []
        self.feedback: list[Feedback] = []
        self.control: list[str] = []
        self.closed: list[str] = []
        self.status = 201
        self.odd = False
        self.webtransport: object = None
        self._task: asyncio.Task[None] | None = None
        self._speak_from: int | None = None

    # LinkEvents
    def on_connected(self, now: float) -> None:
        self._task = asyncio.create_task(self._conduct())

    def on_microphone(self, unit: MicrophoneUnit, now: float) -> None:
        self.microphone.append(unit)
        if (feedback := extract_feedback(unit.payload)) is not None:
            self._receive(feedback)

    def on_control(self, data: str | bytes, now: float) -> None:
        if isinstance(data, bytes):
            self._receive(decode_feedback(data))
            return
        message = decode_control(data)
        kind = getattr(message, "type", "")
        self.control.append(kind)
        if kind == "client-ready" and self.link is not None:
            self.link.send_control(encode_control("bot-ready", {"version": "1.0.0"}))
        if kind == "send-text":
            self._speak_from = -1

    def on_closed(self, reason: str, now: float) -> None:
        self.closed.append(reason)
        if self._task is not None:
            self._task.cancel()

    def _receive(self, feedback: Feedback) -> None:
        self.feedback.append(feedback)
        self.sender.receive_feedback(feedback, time.monotonic())

    async def _conduct(self) -> None:
        encoder = VoiceEncoder()
        started, tick = time.monotonic(), 0
        while True:
            if self._speak_from == -1:
                self._speak_from = tick + 10
                assert self.link is not None
                self.link.send_control(encode_control("bot-transcription", {"text": "La la la."}))
            self._send(encoder, tick)
            tick += 1
            await asyncio.sleep(max(0.0, started + tick * TICK_S - time.monotonic()))

    def _send(self, encoder: VoiceEncoder, tick: int) -> None:
        assert self.link is not None
        state, opus, loud = FaceState.IDLE, b"", 0.0
        if self._speak_from is not None and tick < self._speak_from:
            state = FaceState.THINKING
        elif self._speak_from is not None and tick < self._speak_from + 75:
            state = FaceState.SPEAKING
            times = (tick * TICK_SAMPLES + np.arange(TICK_SAMPLES)) / MEDIA_CLOCK_HZ
            swell = 0.5 + 0.5 * np.sin(2 * np.pi * 2.7 * times) * np.cos(2 * np.pi * 0.9 * times)
            opus = encoder.encode((0.3 * swell * np.sin(2 * np.pi * 220 * times)).astype(np.float32))
            loud = float(swell[0])
        weights = REST_FRAME.weights.copy()
        weights[JAW] = loud
        frame = AnimationFrame(weights=weights, joints=REST_FRAME.joints, sync_score=1.0 if opus else 0.0)
        payload = self.sender.pack(
            frame=frame, opus=[opus] if opus else [], state=state, flags=AccessUnitFlags(0), now=time.monotonic()
        )
        self.link.send_packet(payload, tick * TICK_SAMPLES)

    # HTTP
    async def ticket(self, request: Request) -> Response:
        if self.status != 201:
            return JSONResponse({"title": "No", "detail": "All places are taken.", "code": "full"}, self.status)
        if self.odd:
            return JSONResponse({"session_id": "s1"}, 201)
        offer: dict[str, object] = {"name": "tiny", "url": self.url, "token": "t", "epoch": 1}
        if self.webtransport is not None:
            offer["webtransport"] = self.webtransport
        body = {"session_id": "s1", "character": {"id": "x", "name": "Xenia", "puppet": "x"}, "pops": [offer]}
        return JSONResponse(body, 201)

    async def whip(self, request: Request) -> Response:
        self.link, answer = await self.transport.accept((await request.body()).decode(), self)
        return Response(answer, 201, {"Location": "/v1/sessions/s1/webrtc/1"}, "application/sdp")

    async def leave(self, request: Request) -> Response:
        if self.link is not None:
            await self.link.aclose("closed-by-viewer")
        return Response(status_code=200)

    async def config(self, request: Request) -> Response:
        return JSONResponse({"origin_url": self.url})


@asynccontextmanager
async def tiny_pop() -> AsyncIterator[TinyPop]:
    pop = TinyPop()
    app = Starlette(
        routes=[
            Route("/v1/sessions", pop.ticket, methods=["POST"]),
            Route("/v1/sessions/s1/webrtc", pop.whip, methods=["POST"]),
            Route("/v1/sessions/s1/webrtc/1", pop.leave, methods=["DELETE"]),
            Route("/config.json", pop.config),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    pop.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield pop
    finally:
        await pop.transport.aclose()
        server.should_exit = True
        await serving


async def test_a_typed_question_is_answered_drawn_and_heard() -> None:
    async with tiny_pop() as pop:
        async with Viewer.connect(origin=await find_origin(pop.url), pop=pop.url, microphone=False) as viewer:
            assert await settle(viewer, quiet_s=0.2, timeout_s=5.0)
            assert viewer.ready
            turn = await ask(viewer, text="sing", timeout_s=5.0)
        assert turn.answered
        assert turn.reply_text == "La la la."
        assert turn.first_motion_ms is not None
        assert turn.first_motion_ms < 150.0
        assert turn.first_audio_ms is not None
        assert 200.0 < turn.first_audio_ms < 500.0
        assert turn.av_offset_ms is not None
        assert abs(turn.av_offset_ms) < 25.0
        assert turn.reply_audio.size >= 70 * TICK_SAMPLES
        assert viewer.recording.undecodable == 0
        # Feedback came bare on the control channel, acknowledged frames and said what is audible.
        assert any(f.acknowledged is not None and f.playout_timestamp is not None for f in pop.feedback)
        assert pop.microphone == []
        assert pop.control[0] == "client-ready"
        await viewer.aclose()  # a second time: nothing happens
        await asyncio.wait_for(_until(lambda: bool(pop.closed)), 5.0)


async def test_the_microphone_speaks_opus_with_levels_and_feedback_inside() -> None:
    async with tiny_pop() as pop:
        async with Viewer.connect(origin=pop.url, pop=pop.url) as viewer:
            tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 48_000)).astype(np.float32)
            spoken = viewer.say(tone)
            await asyncio.sleep(0.8)
            assert 0.0 <= spoken.speech_from - spoken.started_at < 0.02
            assert spoken.speech_until - spoken.started_at == pytest.approx(0.5, abs=0.02)
        loud = [unit for unit in pop.microphone if unit.level_dbov is not None and unit.level_dbov < 20]
        assert 24 <= len(loud) <= 27
        assert [b.timestamp - a.timestamp for a, b in itertools.pairwise(loud)] == [960] * (len(loud) - 1)
        decoder = VoiceDecoder()
        pcm = np.concatenate([piece for unit in loud if (piece := decoder.decode(unit.payload)) is not None])
        assert float(np.abs(pcm[4_800:]).max()) == pytest.approx(0.3, abs=0.1)
        acknowledged = [f.acknowledged for f in pop.feedback if f.acknowledged is not None]
        assert acknowledged == sorted(acknowledged)
        assert len(set(acknowledged)) > 20
        # Deltas against acknowledged frames: most frames of a still face are tiny.
        assert viewer.recording.baseline_missing == 0


async def test_webtransport_that_nobody_answers_falls_back_unless_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(viewer_webtransport, "_CONNECT_TIMEOUT_S", 0.3)
    async with tiny_pop() as pop:
        pop.webtransport = {"url": "https://127.0.0.1:9", "certificate_hashes": ["YWJj"]}
        async with Viewer.connect(origin=pop.url, transport="auto", microphone=False) as viewer:
            assert viewer.transport == "webrtc"
            assert await viewer.wait_until(lambda v: v.screen.units > 2, 5.0)
            with pytest.raises(ViewerError, match="how to come back"):
                await viewer.switch_network()
            assert viewer.transport == "webrtc"
        with pytest.raises(ViewerError, match="does not answer") as caught:
            async with Viewer.connect(origin=pop.url, transport="webtransport"):
                pass
        assert caught.value.code == "pop-unreachable"
        pop.webtransport = None
        with pytest.raises(ViewerError, match="offers no WebTransport"):
            async with Viewer.connect(origin=pop.url, transport="webtransport"):
                pass


async def test_a_dead_connection_is_not_a_goodbye() -> None:
    async with tiny_pop() as pop, Viewer.connect(origin=pop.url, microphone=False) as viewer:
        assert await viewer.wait_until(lambda v: v.screen.units > 2, 5.0)
        viewer.lose_network()
        units = viewer.screen.units
        assert not await viewer.wait_until(lambda v: v.screen.units > units, 0.3)
        assert pop.closed == []


async def test_goaway_and_a_lost_connection_are_said_clearly() -> None:
    async with tiny_pop() as pop, Viewer.connect(origin=pop.url, pop=pop.url) as viewer:
        assert pop.link is not None
        pop.link.send_control(encode_control("server-message", {"t": "goaway", "d": {"reason": "draining"}}))
        with pytest.raises(ViewerError, match="draining") as caught:
            await viewer.wait_until(lambda _viewer: False, 5.0)
        assert caught.value.code == "goaway"


async def test_a_refusal_says_what_the_origin_said() -> None:
    async with tiny_pop() as pop:
        pop.status = 503
        with pytest.raises(ViewerError, match=r"All places are taken\. \(full\)") as caught:
            await fetch_ticket(pop.url)
        assert caught.value.code == "origin-refused"


async def test_an_answer_that_is_no_ticket() -> None:
    async with tiny_pop() as pop:
        pop.odd = True
        with pytest.raises(ViewerError, match="not like an origin") as caught:
            await fetch_ticket(pop.url)
        assert caught.value.code == "origin-refused"


async def test_a_pop_that_the_origin_does_not_offer_is_still_tried_when_there_is_only_one() -> None:
    async with tiny_pop() as pop:
        ticket = await fetch_ticket(pop.url, pop="http://localhost:1234")
        assert ticket.pop_url == "http://localhost:1234"
        assert ticket.character == "Xenia"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://[", "http://nowhere.invalid"])
async def test_nobody_there(url: str) -> None:
    with pytest.raises(ViewerError, match="cannot be reached") as caught:
        await fetch_ticket(url)
    assert caught.value.code == "origin-unreachable"
    with pytest.raises(ViewerError, match="cannot be reached") as caught:
        await find_origin(url)
    assert caught.value.code == "pop-unreachable"


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)
