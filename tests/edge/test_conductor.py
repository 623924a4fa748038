"""The conductor: phases, batches, lateness and broken sessions."""

from __future__ import annotations

import asyncio

import pytest

from core.avatar.frame import AnimationFrame
from core.limits import PHASES_PER_TICK, TICK_S, TICKS_BEHIND_MAX
from core.session.state import FaceState
from edge.animator import Animator, AnimatorRow
from edge.conductor import Conductor


class _Session:
    def __init__(self, animator: Animator, *, breaks_in: str = "") -> None:
        self.slot = animator.open(seed=1)
        self.breaks_in = breaks_in
        self.frames: list[AnimationFrame] = []
        self.due: list[float] = []
        self.skipped = 0
        self.failed = ""
        self.quiet = False

    def gather(self, due: float, now: float) -> AnimatorRow | None:
        if self.breaks_in == "gather":
            raise RuntimeError("gather")
        if self.quiet:
            return None
        return AnimatorRow(
            slot=self.slot,
            media_time=len(self.frames) * 960,
            state=FaceState.IDLE,
            utterance_id=0,
            utterance_ticks=0,
            log_mel=b"",
            user_level=0.0,
        )

    def emit(self, frame: AnimationFrame, due: float) -> None:
        if self.breaks_in == "emit":
            raise RuntimeError("emit")
        self.frames.append(frame)
        self.due.append(due)

    def skip(self) -> None:
        self.skipped += 1

    def fail(self, reason: str) -> None:
        self.failed = reason


def test_sessions_spread_over_the_phases() -> None:
    animator = Animator()
    conductor = Conductor(animator=animator)
    sessions = [_Session(animator) for _ in range(PHASES_PER_TICK * 2)]
    for session in sessions:
        conductor.add(session)
    for phase in range(PHASES_PER_TICK):
        conductor.step(phase, 1.0, 1.0)
        assert sum(len(session.frames) for session in sessions) == 2 * (phase + 1)
    assert all(len(session.frames) == 1 for session in sessions)


def test_a_removed_session_is_served_no_longer() -> None:
    animator = Animator()
    conductor = Conductor(animator=animator)
    session = _Session(animator)
    conductor.add(session)
    conductor.remove(session)
    conductor.remove(session)
    for phase in range(PHASES_PER_TICK):
        conductor.step(phase, 1.0, 1.0)
    assert session.frames == []


@pytest.mark.parametrize("step", ["gather", "emit"])
def test_a_broken_session_leaves_alone(step: str) -> None:
    animator = Animator()
    conductor = Conductor(animator=animator)
    broken = _Session(animator, breaks_in=step)
    well = [_Session(animator) for _ in range(PHASES_PER_TICK)]
    conductor.add(broken)
    for session in well:
        conductor.add(session)
    for _ in range(2):
        for phase in range(PHASES_PER_TICK):
            conductor.step(phase, 1.0, 1.0)
    assert broken.failed == "internal-error"
    assert all(len(session.frames) == 2 for session in well)


def test_a_quiet_session_costs_no_frame() -> None:
    animator = Animator()
    conductor = Conductor(animator=animator)
    session = _Session(animator)
    session.quiet = True
    conductor.add(session)
    conductor.step(0, 1.0, 1.0)
    assert session.frames == []


async def test_ticks_come_every_20_ms_and_lateness_is_observed() -> None:
    animator = Animator()
    lateness: list[float] = []
    conductor = Conductor(animator=animator, observe_lateness=lateness.append)
    session = _Session(animator)
    conductor.add(session)
    task = asyncio.create_task(conductor.run())
    while len(session.due) < 6:
        await asyncio.sleep(0.005)
    task.cancel()
    gaps = [second - first for first, second in zip(session.due, session.due[1:], strict=False)]
    assert all(abs(gap - TICK_S) < 1e-9 for gap in gaps)
    assert len(lateness) >= 5 * PHASES_PER_TICK
    assert min(lateness) >= 0.0


async def test_a_stall_skips_what_would_be_late_and_keeps_the_phase() -> None:
    animator = Animator()
    now = [0.0]
    conductor = Conductor(animator=animator, clock=lambda: now[0])
    session = _Session(animator)
    conductor.add(session)
    task = asyncio.create_task(conductor.run())
    await asyncio.sleep(0)
    assert len(session.frames) == 1
    stall_ticks = TICKS_BEHIND_MAX * 3
    now[0] += stall_ticks * TICK_S
    while session.skipped == 0:
        await asyncio.sleep(0.001)
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    assert session.skipped in (stall_ticks - 1, stall_ticks)
    assert conductor.ticks_skipped == session.skipped
    assert session.skipped + len(session.frames) in (stall_ticks, stall_ticks + 1)


async def test_what_a_phase_took_is_told_with_its_frames() -> None:
    animator = Animator()
    told: list[tuple[int, float, float, int, float]] = []
    order: list[str] = []
    conductor = Conductor(
        animator=animator,
        before_phase=lambda: order.append("before"),
        after_phase=lambda: order.append("after"),
        observe_phase=lambda *phase: told.append(phase),
    )
    sessions = [_Session(animator) for _ in range(PHASES_PER_TICK + 2)]
    for session in sessions[: PHASES_PER_TICK + 1]:
        conductor.add(session)
    task = asyncio.create_task(conductor.run())
    while len(told) < 2 * PHASES_PER_TICK:
        await asyncio.sleep(0.005)
    task.cancel()
    assert [phase for phase, *_ in told[:PHASES_PER_TICK]] == [0, 1, 2, 3]
    assert [frames for _, _, _, frames, _ in told[:PHASES_PER_TICK]] == [2, 1, 1, 1]
    assert all(late_s >= 0.0 and busy_s > 0.0 for _, late_s, busy_s, _, _ in told)
    assert [done for *_, done in told] == sorted(done for *_, done in told)
    assert order[:4] == ["before", "after", "before", "after"]


async def test_timers_that_go_by_milliseconds_make_no_phase_late(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, now, begun = asyncio.get_running_loop(), [100.0], list[float]()
    original = loop.call_later

    def call_later(delay: float, *arguments: object) -> asyncio.TimerHandle:
        now[0] += delay
        return original(0.0, *arguments)  # type: ignore[arg-type]

    conductor = Conductor(animator=Animator(), clock=lambda: now[0], after_phase=lambda: begun.append(now[0]))
    with monkeypatch.context() as patched:
        patched.setattr(loop, "call_later", call_later)
        task = asyncio.create_task(conductor.run())
        while len(begun) < 9:
            await asyncio.sleep(0)
        task.cancel()
    phase_s = TICK_S / PHASES_PER_TICK
    early = [100.0 + number * phase_s - moment for number, moment in enumerate(begun)]
    assert early[1:] == pytest.approx([0.0005] * (len(begun) - 1), abs=1e-9)
