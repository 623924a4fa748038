"""One POP as a process: what it is made of, how it starts and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator

import uvicorn

from core import __version__
from core.errors import ConfigError, FabricError
from core.fabric.bus import Bus
from core.fabric.config import FabricConfig
from core.fabric.opening import join_fabric
from core.fabric.store import Store
from core.host.clock import Clock, SystemClock
from core.host.entropy import Entropy, SystemEntropy
from core.host.steadiness import freeze_what_lives, keep_memory
from core.host.telemetry import metrics_registry
from core.limits import LOG_MEL_BANDS, POP_LOAD_MAX, QUIC_HALF_OPEN_MAX, TICK_SAMPLES
from core.session.claims import SCOPE_WEBTRANSPORT
from core.session.state import FaceState
from core.speech.messages import SIGNING_KEYS_SUBJECT
from core.speech.student_layout import LOOKAHEAD_FRAMES
from core.wire.opus_padding import silence
from edge.admission import Admission, KeySet, fetch_key_set_over_http
from edge.animator import Animator, AnimatorRow
from edge.announcement import Announcement, Condition
from edge.app import create_app
from edge.certificates import Certificates, load_certificates
from edge.compiling import load_compiled
from edge.conductor import Conductor
from edge.config import EdgeConfig
from edge.drain import Drain
from edge.entrance import Entrance
from edge.handoff import HandoffAgent
from edge.hearing import HearingFactory
from edge.live_voices import LiveVoices
from edge.metrics import PopMetrics
from edge.origin_reach import OriginReach
from edge.origin_watch import OriginWatch
from edge.overload import Overload
from edge.prewarm import Prewarm
from edge.rate_controllers import find_rate_controller
from edge.session import SessionServices
from edge.sessions import Sessions
from edge.student import Student, load_student
from edge.transports.link import MicrophoneUnit
from edge.transports.quic.endpoint import open_udp
from edge.transports.quic.engine import load_engine
from edge.transports.webrtc import WebRtcTransport
from edge.transports.webtransport.server import WebTransportServer
from edge.uplink import Uplink

__all__ = ["listen", "make_animator", "run_pop"]

_log = logging.getLogger(__name__)
_STOP_S_MAX = 1.5
_DRAIN_S_MAX = 4.0
"""A POP that is told to stop moves its sessions to others for at most so long."""


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket. Args: shared: others of this machine listen there, too; who comes is served by any of them.

    Raises: ConfigError: one line that says which port is taken and how to take another.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        server.bind((host, port))
        server.listen(256)
    except OSError as error:
        server.close()
        raise ConfigError(f"cannot listen on {host}:{port} ({error.strerror}); choose another with --port") from error
    return server


async def run_pop(
    config: EdgeConfig,
    fabric: FabricConfig | None = None,
    *,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        fabric: what carries the fabric; None: the defaults, an origin's Unix socket.
    Raises: ConfigError: a port is taken or the model is missing; FabricError: no origin hosts the fabric.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with _pop(config, fabric or FabricConfig(), clock or SystemClock(), entropy or SystemEntropy()):
        await stopping.wait()


def _listen(config: EdgeConfig) -> list[socket.socket]:
    """Our own address first, then the page's where others are, too. Raises: ConfigError: a port is taken."""
    own = listen(config.host, config.port)
    if config.page_port is None:
        return [own]
    try:
        return [own, listen(config.host, config.page_port, shared=True)]
    except ConfigError:
        own.close()
        raise


@contextlib.asynccontextmanager
async def _pop(config: EdgeConfig, fabric_config: FabricConfig, clock: Clock, entropy: Entropy) -> AsyncIterator[None]:
    sockets = _listen(config)
    port = sockets[0].getsockname()[1]
    url = config.public_url or f"http://{config.host}:{port}"
    udp: socket.socket | None = None
    try:
        certificates = load_certificates(config.tls_certificate, config.tls_key)
        if config.webtransport:
            udp = open_udp(config.host, port if config.webtransport_port is None else config.webtransport_port)
        announcement = Announcement(
            config.name,
            url,
            clock,
            webtransport_url=config.webtransport_url(udp.getsockname()[1]) if udp else "",
            certificates=certificates if udp else None,
            region=config.region,
            location=config.location,
            carrier=config.carrier,
            page=config.page_url,
        )
        fabric = await join_fabric(fabric_config, config.fabric, on_connection=announcement.reconnected)
        announcement.store = fabric.store
        parts = _Parts(config, fabric.bus, fabric.store, clock, entropy, udp, certificates)
        announcement.condition = parts.condition
        parts.drain.told = announcement.beat_soon
    except BaseException:
        for one in sockets:
            one.close()
        if udp is not None:
            udp.close()
        raise
    server = uvicorn.Server(
        uvicorn.Config(parts.app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
    )
    keep_memory()
    freeze_what_lives()
    tasks = [
        asyncio.create_task(parts.conductor.run(), name="conductor"),
        asyncio.create_task(parts.origin_reach.run(), name="origin-reach"),
        asyncio.create_task(parts.origin_watch.run(), name="origin-watch"),
        asyncio.create_task(announcement.run(), name="announcement"),
        asyncio.create_task(parts.keys.follow(await fabric.bus.subscribe(SIGNING_KEYS_SUBJECT)), name="signing-keys"),
        asyncio.create_task(_serve(server, sockets), name="http"),
    ]
    if config.prewarm:
        tasks.append(asyncio.create_task(parts.prewarm.run(), name="prewarm"))
    for task in tasks:
        task.add_done_callback(_complain)
    await parts.handoffs.start()
    await announcement.publish()
    _log.info("POP %s serves on %s", config.name, url)
    try:
        yield
    finally:
        await parts.leave()
        server.should_exit = True
        await announcement.leave()
        await parts.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(FabricError):
            await fabric.aclose()
        for one in sockets:
            one.close()


class _Parts:
    """What a POP is made of, and who knows whom."""

    def __init__(
        self,
        config: EdgeConfig,
        bus: Bus,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        udp: socket.socket | None,
        certificates: Certificates,
    ) -> None:
        registry = metrics_registry("edge", __version__)
        metrics = PopMetrics(registry)
        animator, self._refusal = make_animator(config)
        self._animator = animator
        self._capacity = config.capacity
        self._overload = Overload(animator)
        live_voices = LiveVoices()
        make_hearing = HearingFactory(asyncio.get_running_loop().call_soon)
        _warm_up(animator, make_hearing)
        self.webtransport: WebTransportServer | None = None
        self.conductor = self._conduct(metrics, live_voices, clock)
        self._follow(metrics, animator, live_voices)
        self.origin_reach = OriginReach(bus, clock.monotonic, observe_s=metrics.stage_fabric.observe)
        services = SessionServices(
            animator=animator,
            metrics=metrics,
            send_up=Uplink(bus, on_dropped=metrics.dropped, pop=config.name).send,
            make_hearing=make_hearing,
            live_voices=live_voices,
            make_controller=find_rate_controller(config.rate_controller),
            fabric_latency_s=lambda: self.origin_reach.latency_s,
            clock=clock.monotonic,
        )
        self.sessions = Sessions(
            bus=bus,
            conductor=self.conductor,
            services=services,
            capacity=config.capacity,
            seed=entropy.seed,
            token_bytes=entropy.token_bytes,
            admits=self._overload.admits,
        )
        self.drain = Drain(name=config.name, bus=bus, sessions=self.sessions, clock=clock.monotonic)
        self.handoffs = self._take_part_in_moves(config.name, bus, clock)
        self.origin_reach.on_back = self.sessions.origin_is_back
        self.origin_watch = OriginWatch(store, self.sessions)
        self.transport = WebRtcTransport(
            loopback=config.offers_loopback, clock=clock.monotonic, on_dropped=metrics.dropped
        )
        self.keys = KeySet(fetch_key_set_over_http(config.key_set_url), clock=clock.monotonic)
        self.prewarm = Prewarm(bus, config.name, self.keys)
        self.entrance = self._admit_to(config, clock, metrics)
        self.app = create_app(
            config=config,
            entrance=self.entrance,
            transport=self.transport,
            registry=registry,
            clock=clock,
            health=self._health,
        )
        if udp is not None:
            self.webtransport = self._serve_webtransport(udp, config, certificates, clock, metrics)

    def _conduct(self, metrics: PopMetrics, live_voices: LiveVoices, clock: Clock) -> Conductor:
        return Conductor(
            animator=self._animator,
            observe_lateness=metrics.tick_lateness_seconds.observe,
            before_phase=live_voices.flush,
            after_phase=self._flush,
            observe_phase=self._overload.phase_done,
            clock=clock.monotonic,
        )

    def _take_part_in_moves(self, name: str, bus: Bus, clock: Clock) -> HandoffAgent:
        agent = HandoffAgent(
            name=name,
            bus=bus,
            sessions=self.sessions,
            drain=self.drain.begin,
            cancel=self.drain.cancel,
            clock=clock.monotonic,
        )
        self.sessions.on_moving, self.sessions.on_lost = agent.on_moving, agent.on_lost
        return agent

    async def leave(self) -> None:
        """Move sessions to other POPs, as many as can be moved in a few seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S_MAX + 1.0):
                await self.drain.before_stopping(_DRAIN_S_MAX)

    async def aclose(self) -> None:
        """Say goodbye to who is left, and free everything, within _STOP_S_MAX."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S_MAX):
                await self.drain.aclose()
                await self.sessions.aclose()
                await self.handoffs.aclose()
                await self.transport.aclose()
                if self.webtransport is not None:
                    await self.webtransport.aclose()

    def _admit_to(self, config: EdgeConfig, clock: Clock, metrics: PopMetrics) -> Entrance:
        admission = Admission(pop=config.name, issuer=config.trusted_issuer, keys=self.keys)
        return Entrance(admission=admission, sessions=self.sessions, metrics=metrics, clock=clock.monotonic)

    def _serve_webtransport(
        self, udp: socket.socket, config: EdgeConfig, certificates: Certificates, clock: Clock, metrics: PopMetrics
    ) -> WebTransportServer:
        return WebTransportServer(
            udp,
            engine=load_engine(config.quic_engine),
            certificates=certificates,
            admit=lambda token, session_id, request: self.entrance.admit(
                token, session_id, scope=SCOPE_WEBTRANSPORT, now_wall=clock.wall(), request=request
            ),
            clock=clock,
            capacity=2 * config.capacity + QUIC_HALF_OPEN_MAX,
            allowed_origins=config.allowed_origins,
            health=lambda: {"ok": True, "pop": config.name, **self._health()},
            on_dropped=metrics.dropped,
        )

    def _follow(self, metrics: PopMetrics, animator: Animator, live_voices: LiveVoices) -> None:
        conductor, student, overload = self.conductor, animator.student, self._overload
        metrics.follow_levels(
            "edge_animator_sessions", "Sessions by who moves their faces", "tier", animator.tier_counts
        )
        metrics.follow_levels(
            "edge_animator_student",
            "1: the student serves in this precision; refused: its files cannot be used",
            "state",
            lambda: {student.precision if student else "refused" if self._refusal else "off": 1.0},
        )
        metrics.follow_levels(
            "edge_phase_load",
            "Mean share of a phase's 5 ms: its own work, and until it was done after it was due",
            "until",
            lambda: {"busy": overload.budget.busy, "done": overload.budget.load},
        )
        metrics.follow("edge_fidelity_lowered", "Faces that got a cheaper tier", lambda: overload.policy.lowered)
        metrics.follow("edge_fidelity_raised", "Faces that got a better tier", lambda: overload.policy.raised)
        metrics.follow(
            "edge_student_mended", "Sessions whose student began anew", lambda: student.mended if student else 0
        )
        metrics.follow(
            "edge_live_voice_undecodable", "Packets of live voices that are silence", lambda: live_voices.failures
        )
        metrics.follow(
            "edge_ticks_skipped", "Session ticks that were too late to send", lambda: conductor.ticks_skipped
        )
        metrics.follow("edge_origin_lost", "Times that the origin stopped answering", lambda: self.origin_reach.losses)
        metrics.follow("edge_phonemes_unknown", "Phonemes without a shape", lambda: animator.unknown_phonemes)

    def _flush(self) -> None:
        if self.webtransport is not None:
            self.webtransport.flush()

    def condition(self) -> Condition:
        """What brokers are told. A POP whose places are all taken is as busy as one may be."""
        here = len(self.sessions)
        load = POP_LOAD_MAX * here / self._capacity
        return Condition(
            serving=self.sessions.accepting and not self.sessions.draining,
            load=load if self._overload.admits(here) else max(load, POP_LOAD_MAX),
            sessions=here,
            capacity=self._capacity,
        )

    def _health(self) -> dict[str, object]:
        links = {"webrtc": len(self.transport)}
        if self.webtransport is not None:
            links["webtransport"] = len(self.webtransport)
        return {
            "sessions": len(self.sessions),
            "links": sum(links.values()),
            "links_by_protocol": links,
            "version": __version__,
            "animator": self._animator_health(),
        }

    def _animator_health(self) -> dict[str, object]:
        student = self._animator.student
        if student is None:
            return {"tier": "rules", **({"refused": self._refusal} if self._refusal else {})}
        return {
            "tier": "student",
            "precision": student.precision,
            "compiled": self._animator.compiled,
            "sessions": self._animator.tier_counts(),
        }


def make_animator(config: EdgeConfig) -> tuple[Animator, str]:
    """The animator, with the student if it is wanted and can be had; else the rules serve.

    Returns: it, and one sentence that says why there is no student ("" when nothing is wrong), which is logged.
    """
    student: Student | None = None
    refusal = ""
    compiled, slower = load_compiled() if config.animator_compiled else (None, "")
    if slower:
        _log.warning("faces cost several times as much as they could: %s", slower)
    if config.animator == "student":
        precision = None if config.animator_precision == "auto" else config.animator_precision
        student, refusal = load_student(
            config.animator_models, precision=precision, capacity=config.capacity, compiled=compiled
        )
    if refusal:
        _log.error("faces are moved by the rules, without the student: %s", refusal)
    elif student is not None:
        _log.info("faces are moved by the student in %s", student.precision)
    return Animator(capacity=config.capacity, student=student, compiled=compiled), refusal


def _warm_up(animator: Animator, make_hearing: HearingFactory) -> None:
    """Do once what is dear the first time (filter banks, code paths of libraries), before a viewer waits for it."""
    slot = animator.open(seed=0)
    for tick, state in enumerate(FaceState):
        row = AnimatorRow(slot=slot, media_time=tick * TICK_SAMPLES, state=state)
        if state is FaceState.SPEAKING:
            row.utterance_id, row.heard = 1, bytes((LOOKAHEAD_FRAMES + 1) * LOG_MEL_BANDS)
        animator.animate([row])
    animator.close(slot)
    hearing = make_hearing(lambda _message: None)
    hearing.played(bytes(LOG_MEL_BANDS), 0.0)
    for index in range(4):
        unit = MicrophoneUnit(payload=silence(2), timestamp=index * 2 * TICK_SAMPLES, sequence_number=index)
        hearing.receive(unit, 0.0, lambda _event: None, lambda: None)


async def _serve(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
    # uvicorn would take the process's signal handlers; the POP stops its parts in its own order.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    await server.serve(sockets=sockets)


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s stopped", task.get_name(), exc_info=error)
        signal.raise_signal(signal.SIGTERM)  # half a POP helps nobody: stop, and be started again
