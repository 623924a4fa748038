"""How many speaking faces one core animates in real time, and what one more of them costs.

A real conductor serves sessions that all speak without a pause: voice, phonemes and log-mel come ahead of time, as an
origin sends them, and wait in a real track; what a frame costs includes all of that, but neither the wire nor the
network (`pop` measures the whole). A part of the sessions may be live: their Opus packets come as they are spoken,
without phonemes or log-mel, and are decoded and heard here. As in a POP packets come between the phases: what they take
is counted as load, and delays a phase that is due meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import Any, Final

import msgspec
import numpy as np

from core.avatar.frame import AnimationFrame
from core.limits import PHASES_PER_TICK, SPEECH_AHEAD_S_MAX, TICK_S, TICK_SAMPLES
from core.session.state import FaceState
from core.speech.messages import PhonemeSpan, SpeechPacket
from core.speech.student_layout import LOOKAHEAD_FRAMES
from core.stream.speech_track import SpeechTrack
from edge.animator import TIERS, Animator, AnimatorRow
from edge.compiled import CompiledFaces
from edge.conductor import Conductor
from edge.live_voices import LiveSpeech, LiveVoices
from edge.student import Student
from loadtests.bench._child import Child, Handlers, Usage, cores, prepare
from loadtests.bench._conversation import Roles, record
from loadtests.bench._saturation import Search, Trial, find_limit
from loadtests.bench.harness import Result, percentile

__all__ = ["DESCRIPTION", "add_arguments", "run"]

DESCRIPTION = "sessions per core that the student animates at 50 fps in real time, all speaking; with 10 % live voices"

_PHASE_S: Final = TICK_S / PHASES_PER_TICK
_LATENESS_S_MAX: Final = _PHASE_S
"""99 of 100 phases are done this soon after they were due, before the next one is."""
_SPEECH: Final = Roles(period=400, user=0, character_from=0, character_to=400)
"""Utterances of 8 s, one after the other."""
_AHEAD_PACKETS: Final = round(SPEECH_AHEAD_S_MAX / TICK_S)
_LIVE_SHARE: Final = 0.1
_STRIDE: Final = 97
_SETTLE_S: Final = 0.6
_SESSIONS_MAX: Final = 4_000
_BATCHES: Final = 8
_LOADS: Final = (100, 200, 300, 400, 500, 600, 700)
_LOADS_QUICK: Final = (100, 400, 700)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark."""
    parser.add_argument("--seconds", type=float, help="length of a trial (6; quick 2)")
    parser.add_argument("--trials", type=int, help="at most so many per search (12; quick 3)")
    parser.add_argument("--tier", choices=TIERS, default=TIERS[0], help="who moves the faces (default: high)")
    parser.add_argument("--precision", choices=("fp32", "int8"), help="of the student (default: whichever is faster)")


def run(options: argparse.Namespace) -> Result:
    """Measure.

    Raises: ConfigError: a process failed, espeak-ng is not installed, or there is no student.
    """
    seconds = options.seconds or (2.0 if options.quick else 6.0)
    trials = options.trials or (3 if options.quick else 12)
    speech = record(_SPEECH).answer
    with Child(_make_faces, speech, options.tier, options.precision, core=cores()[0]) as child:
        costs = [child.ask("cost", sessions, 0.0) for sessions in (_LOADS_QUICK if options.quick else _LOADS)]
        live_cost = child.ask("cost", _LOADS[-1], _LIVE_SHARE)
        searches = {}
        for name, share, cost in (("all", 0.0, costs[-1]), ("live10", _LIVE_SHARE, live_cost)):
            searches[name] = find_limit(
                lambda sessions, share=share: _trial(child, sessions, share, seconds),  # type: ignore[misc]
                first=round(0.8 * _sessions_by(cost)),
                most=_SESSIONS_MAX,
                trials=trials,
            )
        precision = child.ask("precision")
    slope_us, straightness = _line(costs)
    figures = {
        "sessions_per_core": round(searches["all"].sessions, 1),
        "tick_ms_p99": round(1e3 * searches["all"].best.lateness_s_p99, 3),
        "sessions_per_core_live10": round(searches["live10"].sessions, 1),
        "tick_ms_p99_live10": round(1e3 * searches["live10"].best.lateness_s_p99, 3),
        "us_per_frame": round(costs[-1]["us_per_frame"], 2),
        "us_per_frame_live10": round(live_cost["us_per_frame"], 2),
        "us_per_further_frame": round(slope_us, 2),
        "linearity_r2": round(straightness, 4),
    }
    details = {
        "tier": options.tier,
        "precision": precision,
        "holds_if": {"frames_made": "all but 1 in 1,000", "phase_done_ms_p99_max": 1e3 * _LATENESS_S_MAX},
        "ms_per_phase": {str(cost["sessions"]): round(cost["ms_per_phase"], 3) for cost in costs},
        "us_per_frame_quickest": {str(cost["sessions"]): round(cost["us_per_frame_quickest"], 2) for cost in costs},
        "searches": {name: _described(search) for name, search in searches.items()},
    }
    return Result(figures=figures, details=details)


def _trial(child: Child, sessions: int, live_share: float, seconds: float) -> Trial:
    seen = child.ask("run", sessions, live_share, seconds)
    return Trial(**seen, lateness_s_max=_LATENESS_S_MAX)


class _Waited:
    """Seconds for which this process was ready to run while others had its core, since it was last asked (Linux; else
    0)."""

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = os.open("/proc/self/schedstat", os.O_RDONLY)
        self._former_s = 0.0

    def __call__(self) -> float:
        if self._file is None:
            return 0.0
        now_s = int(os.pread(self._file, 64, 0).split()[1]) / 1e9
        waited_s, self._former_s = now_s - self._former_s, now_s
        return waited_s


def _sessions_by(cost: dict[str, float]) -> float:
    return TICK_S / (1e-6 * cost["us_per_frame"])


def _line(costs: list[dict[str, float]]) -> tuple[float, float]:
    """Microseconds that one frame more adds to a phase, and how straight the line is (r²)."""
    frames = np.array([cost["sessions"] / PHASES_PER_TICK for cost in costs])
    phase_us = np.array([1e3 * cost["ms_per_phase"] for cost in costs])
    slope, offset = np.polyfit(frames, phase_us, 1)
    left = phase_us - (slope * frames + offset)
    return float(slope), float(1.0 - left.var() / phase_us.var())


def _described(search: Search) -> dict[str, Any]:
    rows = search.describe()
    for row, trial in zip(rows["trials"], search.trials, strict=True):
        row["phase_done_ms_p99"] = row.pop("lateness_ms_p99")
        row["phase_done_ms_p50"] = row.pop("lateness_ms_p50")
        row["phase_done_ms_p99_alone"] = round(1e3 * trial.lateness_s_p99_alone, 2)
        row["us_per_frame"] = round(1e6 * trial.server_cpu_s / max(1, trial.packets), 2)
        del row["generator_load"], row["us_per_packet"]
    return rows


# --- the process that animates -----------------------------------------------------------------------------------


class _Face:
    """A session that speaks without a pause; what `edge.session.Session` does for its face, and nothing else."""

    def __init__(self, faces: _Faces, seed: int, *, live: bool) -> None:
        self._animator = faces.animator
        self._speech = partial(faces.speech, live)
        self.slot = self._animator.open(seed=seed)
        self._animator.set_tier(self.slot, faces.tier)
        self._track = SpeechTrack()
        self._live = LiveSpeech(faces.voices, self._track, self._place) if live else None
        self._utterance_id = 0
        self._sent = 0
        self._media_time = 0
        self._start(seed * _STRIDE % faces.length)
        for _ in range(0 if live else _AHEAD_PACKETS):
            self.send()

    def _start(self, skipped: int) -> None:
        """Begin an utterance, the very first one in its midst: no two faces are in step."""
        self._utterance_id += 1
        self._sent = 0
        self._packets = self._speech(self._utterance_id, skipped)
        self._track.start(self._utterance_id)
        self._animator.speech_start(self.slot, self._utterance_id)

    def send(self) -> None:
        """A packet comes."""
        if self._sent == len(self._packets):
            if self._live is not None:
                self._live.end(self._utterance_id)
            self._track.end(self._utterance_id, self._sent)
            self._start(0)
        packet = self._packets[self._sent]
        self._sent += 1
        if self._live is None:
            self._place(packet)
        else:
            self._live.push(packet)

    def _place(self, packet: SpeechPacket) -> None:
        self._track.push(packet, 0.0)
        if packet.phonemes:
            self._animator.speech_phonemes(self.slot, packet.utterance_id, packet.phonemes)

    def gather(self, due: float, now: float) -> AnimatorRow | None:
        """See edge.conductor.Conducted."""
        placed = self._track.pop(self._media_time)
        heard = self._track.hear(LOOKAHEAD_FRAMES) if placed is not None else b""
        self._media_time += TICK_SAMPLES
        return AnimatorRow(
            slot=self.slot,
            media_time=self._media_time,
            state=FaceState.SPEAKING,
            utterance_id=placed.utterance_id if placed else 0,
            utterance_ticks=placed.ticks if placed else 0,
            log_mel=placed.log_mel if placed else b"",
            heard=heard,
        )

    def emit(self, frame: AnimationFrame, due: float) -> None:
        """See edge.conductor.Conducted."""

    def skip(self) -> None:
        """See edge.conductor.Conducted."""

    def fail(self, reason: str) -> None:
        """See edge.conductor.Conducted."""
        raise AssertionError(reason)


def _earlier(span: PhonemeSpan, ticks: int) -> PhonemeSpan:
    return msgspec.structs.replace(span, start=span.start - ticks, end=span.end - ticks)


class _Faces:
    """What the sessions of a trial share."""

    def __init__(self, speech: list[SpeechPacket], tier: str, precision: str | None) -> None:
        self._packets = {
            False: speech,
            True: [msgspec.structs.replace(one, phonemes=(), log_mel=b"") for one in speech],
        }
        self.tier = tier
        self._waited = _Waited()
        self._compiled = CompiledFaces()
        self.student = Student(precision=precision, compiled=self._compiled)
        self.renew(0, 0.0)

    @property
    def length(self) -> int:
        """Packets of an utterance."""
        return len(self._packets[False])

    @cache  # noqa: B019 - lives as long as the process
    def speech(self, live: bool, utterance_id: int, skipped: int) -> list[SpeechPacket]:
        """An utterance without its first packets, made once for all who say it: a POP gets its packets from the bus."""
        return [
            msgspec.structs.replace(
                packet,
                utterance_id=utterance_id,
                index=packet.index - skipped,
                phonemes=tuple(_earlier(span, skipped * TICK_SAMPLES) for span in packet.phonemes),
            )
            for packet in self._packets[live][skipped:]
        ]

    def renew(self, sessions: int, live_share: float) -> None:
        """New sessions, all of them."""
        self.animator = Animator(capacity=max(1, sessions), student=self.student, compiled=self._compiled)
        self.voices = LiveVoices()
        self.done_s: list[float] = []
        self.alone_s: list[float] = []
        """As if nobody else had wanted the core: without the time that others had it since the phase before."""
        self.frames = 0
        self.conductor = Conductor(animator=self.animator, before_phase=self.voices.flush, observe_phase=self._observe)
        every = round(1.0 / live_share) if live_share else 0
        # One of every so many, each time another one of them: sessions take turns in the phases, so these do, too.
        self.faces = [
            _Face(self, seed, live=bool(every) and (seed + seed // every) % every == every - 1)
            for seed in range(sessions)
        ]
        for face in self.faces:
            self.conductor.add(face)

    def hear(self, phase: int) -> None:
        """A packet comes for each face that is served in this phase."""
        for face in self.faces[phase::PHASES_PER_TICK]:
            face.send()

    async def listen(self) -> None:
        """Packets in real time, until cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time() + _PHASE_S / 2
        for phase in itertools.count():
            await asyncio.sleep(began + phase * _PHASE_S - loop.time())
            self.hear((phase + PHASES_PER_TICK // 2) % PHASES_PER_TICK)

    def clear(self) -> None:
        """Free the student's slots of the sessions that were."""
        for face in self.faces:
            self.animator.close(face.slot)
        self.faces = []

    def _observe(self, _phase: int, late_s: float, busy_s: float, frames: int, _now: float) -> None:
        self.done_s.append(late_s + busy_s)
        self.alone_s.append(max(0.0, late_s + busy_s - self._waited()))
        self.frames += frames


async def _make_faces(speech: list[SpeechPacket], tier: str, precision: str | None) -> Handlers:
    """The child's handlers."""
    faces = _Faces(speech, tier, precision)

    async def cost(sessions: int, live_share: float) -> dict[str, float]:
        """CPU time of phases one after the other, without waiting: the median of some batches, and the quickest."""
        faces.renew(sessions, live_share)
        rounds = max(6, 2_400 // sessions)
        batches: list[float] = []
        for _ in range(1 + _BATCHES):
            began = time.thread_time()
            for phase in range(rounds * PHASES_PER_TICK):
                faces.hear(phase % PHASES_PER_TICK)
                faces.conductor.step(phase % PHASES_PER_TICK, 0.0, 0.0)
            batches.append(time.thread_time() - began)
        faces.clear()
        used, quickest = statistics.median(batches[1:]), min(batches[1:])
        return {
            "sessions": sessions,
            "ms_per_phase": 1e3 * used / (rounds * PHASES_PER_TICK),
            "us_per_frame": 1e6 * used / (rounds * sessions),
            "us_per_frame_quickest": 1e6 * quickest / (rounds * sessions),
        }

    async def run_trial(sessions: int, live_share: float, seconds: float) -> dict[str, float]:
        """Real time."""
        faces.renew(sessions, live_share)
        tasks = [asyncio.create_task(faces.conductor.run()), asyncio.create_task(faces.listen())]
        await asyncio.sleep(_SETTLE_S)
        await prepare()  # what lives as long as the trial is not worth a collector's pause in it
        faces.done_s.clear()
        faces.alone_s.clear()
        faces.frames, usage = 0, Usage.now()
        began = time.perf_counter()
        await asyncio.sleep(seconds)
        used, took = usage.since(), time.perf_counter() - began
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        due = took / TICK_S * sessions
        done = faces.done_s or [1.0]
        seen = {
            "sessions": sessions,
            "seconds": took,
            "packets": faces.frames,
            # One tick at either end may be counted on this side or on the other.
            "delivery": min(1.0, (faces.frames + 2 * sessions) / due),
            "lateness_s_p50": percentile(done, 50),
            "lateness_s_p99": percentile(done, 99),
            "lateness_s_p99_alone": percentile(faces.alone_s or [1.0], 99),
            "server_cpu_s": used["cpu_s"],
            "server_wait_s": used["wait_s"],
            "generator_cpu_s": 0.0,
        }
        faces.clear()
        return seen

    async def precision_used() -> str:
        return faces.student.precision

    handlers: dict[str, Callable[..., Awaitable[Any]]] = {"cost": cost, "run": run_trial, "precision": precision_used}
    return handlers
