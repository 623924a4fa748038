"""An hour in which nothing happens, in stepped time: the POP's own conductor, sessions and animator, without sleeping.

Every 20 ms of virtual time the conductor serves its four phases, as `Conductor.run` does; what a session sends is
counted and forgotten. Nobody listens and nobody speaks, so there is no network and no origin in it.
"""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from core.limits import MEDIA_CLOCK_HZ, PHASES_PER_TICK, TICK_S
from core.session.claims import MODE_CONVERSATION, Claims
from edge.animator import Animator
from edge.conductor import Conductor
from edge.hearing import HearingFactory
from edge.live_voices import LiveVoices
from edge.metrics import PopMetrics
from edge.session import Session, SessionServices
from loadtests.bench._soak_memory import Samples, resident_kib

__all__ = ["Idle", "idle"]

_LOOKS = 30
_START_S = 1_000.0


@dataclass(frozen=True, slots=True)
class Idle:
    """What came of it.

    Attributes:
        slope_kib_per_h: of the process's memory, per virtual hour.
        packets: sent by all sessions.
        drift_ms: how far media time and the virtual clock came apart from the first packet to the last.
        tasks_left: that were not there before.
    """

    slope_kib_per_h: float
    packets: int
    drift_ms: float
    tasks_left: int


class _Clock:
    def __init__(self) -> None:
        self.now = _START_S

    def __call__(self) -> float:
        return self.now


class _Link:
    protocol = "none"
    plays_sound_itself = False

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self._first = 0.0
        self.packets = 0
        self.drift_s = 0.0

    def send_packet(self, payload: bytes, timestamp: int) -> bool:
        behind = self._clock.now - timestamp / MEDIA_CLOCK_HZ
        if not self.packets:
            self._first = behind
        self.packets += 1
        self.drift_s = behind - self._first
        return True

    def send_keyframe(self, payload: bytes, timestamp: int) -> None:
        pass

    def send_control(self, data: str | bytes) -> None:
        pass

    async def aclose(self, reason: str) -> None:
        pass


async def idle(seconds: float, sessions: int) -> Idle:
    """So many sessions do nothing for so many virtual seconds."""
    before = asyncio.all_tasks()
    clock = _Clock()
    animator = Animator(capacity=max(1, sessions))
    voices = LiveVoices()
    conductor = Conductor(animator=animator, before_phase=voices.flush, clock=clock)
    services = SessionServices(
        animator=animator,
        metrics=PopMetrics(CollectorRegistry()),
        send_up=lambda _session, _message: None,
        make_hearing=HearingFactory(lambda work: work()),
        live_voices=voices,
        clock=clock,
    )
    links = [_Link(clock) for _ in range(sessions)]
    for number, link in enumerate(links):
        conductor.add(_open(services, number, link, clock.now))
    samples = Samples()
    ticks = round(seconds / TICK_S)
    for tick in range(ticks):
        for phase in range(PHASES_PER_TICK):
            conductor.step(phase, clock.now, clock.now)
        clock.now += TICK_S
        if tick % max(1, ticks // _LOOKS) == 0:
            gc.collect()
            samples.add(clock.now / 3600.0, {"self": resident_kib()})
            await asyncio.sleep(0)
    return Idle(
        slope_kib_per_h=samples.slopes().get("self", 0.0),
        packets=sum(link.packets for link in links),
        drift_ms=max(abs(link.drift_s) for link in links) * 1e3,
        tasks_left=len(asyncio.all_tasks() - before),
    )


def _open(services: SessionServices, number: int, link: _Link, now: float) -> Session:
    claims = Claims(
        issuer="soak",
        audience="soak",
        session_id=f"s{number}",
        ticket_id=f"t{number}",
        issued_at=0,
        expires_at=60,
        epoch=1,
        scopes=("webrtc",),
        character="mira",
        mode=MODE_CONVERSATION,
    )
    session = Session(
        claims=claims,
        services=services,
        seed=number,
        on_ended=lambda reason: None,
        close_link=lambda link, reason: None,
        issue_resume=lambda: "resume",
    )
    door = session.links.open()
    door.attach(link)
    door.on_connected(now)
    return session
