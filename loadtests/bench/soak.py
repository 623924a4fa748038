"""What grows when it goes on for long: many sessions one after the other, an answer of minutes, an hour of nothing.

Sessions and the answer run in real time over the whole stack (`visavis run`, a viewer over WebRTC); the idle hour runs
in stepped time over the POP's own conductor and sessions in this process (`_soak_idle.py`). As long as you like:

    python -m loadtests.bench soak --json --sessions 200 --monologue-s 600 --idle-s 3600

How to read growth. Memory (`…_kib_per_…`) is what is resident: the median slope between floors, which are the lowest
of every few looks, after the first third of them. So neither buffers that fill to their bound count (units that
feedback may be about, phonemes that another POP may need), nor what a process gives back between two peaks (the
voice's, clause by clause). A slope that chance would give as well is 0. Whatever takes longer than that third to fill
does count: the figure of a short run is an upper bound, and `memory_kib` in the details shows whether it levels off.
`…_blocks_per_min` is how many more pieces of memory Python's objects occupy, with what the interpreter keeps for its
next ones (up to 2,000 tuples of each length) and garbage that was not collected yet: if it stays where it is and
memory grows all the same, the allocator's holes grow and nothing leaks. The text of an answer, about 1 KiB a minute
and copy, is remembered by an origin. What sessions leave behind waits for the collector, which a POP lets run once in
some 180 of them: `…_kib_per_session` of fewer than 400 is mostly that.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from typing import Final

from core.errors import ConfigError
from loadtests.bench._soak_idle import Idle, idle
from loadtests.bench._soak_memory import Samples, Watch
from loadtests.bench._soak_monologue import Monologue, model, monologue
from loadtests.bench.harness import Result, percentile
from loadtests.stack import Stack, local_stack
from loadtests.viewer import Viewer, ViewerError

__all__ = ["DESCRIPTION", "add_arguments", "run", "summarise"]

DESCRIPTION = "Memory, tasks and lip-sync over many sessions, a long answer and an idle hour"

_SESSIONS: Final = 8
_TOGETHER: Final = 4
_MONOLOGUE_S: Final = 10.0
_IDLE_S: Final = 120.0
_HOURLY_FROM_S: Final = 900.0
"""Of less, an hour cannot be told: units that feedback may be about take three minutes to fill."""
_IDLE_SESSIONS: Final = 2
_ANSWER_S_MAX: Final = 20.0
_LISTEN_S: Final = 0.5
_FREED_S_MAX: Final = 40.0
"""An origin frees the session of a ticket that a POP refused after half a minute (`origin.open_s_max`)."""
_TRIES: Final = 30
_RETRY_S: Final = 1.0
_QUESTION: Final = "tell me about mars"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """What came of many sessions.

    Attributes:
        slopes_kib_per_session: process → its memory.
        refused: times that a POP with too much to do sent one of them away for a moment.
        before, after: tasks and sessions, once the first sessions had been there and when the last had gone.
    """

    count: int
    refused: int
    slopes_kib_per_session: dict[str, float]
    before: dict[str, float]
    after: dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this benchmark."""
    parser.add_argument("--sessions", type=int, default=_SESSIONS, metavar="N", help=f"how many ({_SESSIONS})")
    parser.add_argument("--together", type=int, default=_TOGETHER, metavar="N", help=f"at once ({_TOGETHER})")
    parser.add_argument("--monologue-s", type=float, default=_MONOLOGUE_S, help=f"seconds ({_MONOLOGUE_S:g}; 0: none)")
    parser.add_argument("--idle-s", type=float, default=_IDLE_S, help=f"virtual seconds ({_IDLE_S:g}; 0: none)")
    parser.add_argument("--idle-sessions", type=int, default=_IDLE_SESSIONS, metavar="N", help=f"({_IDLE_SESSIONS})")


def run(options: argparse.Namespace) -> Result:
    """Measure. Raises: ConfigError: something is out of range, or a session cannot be had."""
    if min(options.sessions, options.together, options.idle_sessions) < 1:
        raise ConfigError("--sessions, --together and --idle-sessions are at least 1")
    nothing = asyncio.run(idle(options.idle_s, options.idle_sessions)) if options.idle_s > 0 else None
    try:
        many, speech = asyncio.run(_whole_stack(options))
    except ViewerError as error:
        raise ConfigError(str(error)) from error
    return summarise(many, speech, nothing, options)


async def _whole_stack(options: argparse.Namespace) -> tuple[Sessions, Monologue | None]:
    async with model(options.monologue_s) as url:
        settings = ("origin.llm.service=openai", f"origin.llm.base_url={url}", "origin.llm.model=m")
        with await asyncio.to_thread(_Started, settings) as stack:
            watch = Watch(stack)
            many = await _many(stack, watch, options.sessions, options.together)
            speech = await monologue(stack, watch, options.monologue_s) if options.monologue_s > 0 else None
    return many, speech


class _Started:
    """A stack that is started in a thread: its origin asks the model while it warms up, and this loop answers."""

    def __init__(self, settings: tuple[str, ...]) -> None:
        self._context = local_stack(*settings)
        self._stack = self._context.__enter__()

    def __enter__(self) -> Stack:
        return self._stack

    def __exit__(self, *_: object) -> None:
        self._context.__exit__(None, None, None)


async def _many(stack: Stack, watch: Watch, count: int, together: int) -> Sessions:
    samples = Samples()
    before: dict[str, float] = {}
    done = refused = 0
    await asyncio.gather(*(_one(stack) for _ in range(together)))
    before = await _freed(watch)
    while done < count:
        batch = min(together, count - done)
        refused += sum(await asyncio.gather(*(_one(stack) for _ in range(batch))))
        done += batch
        samples.add(done, watch.memory())
    return Sessions(
        count=count, refused=refused, slopes_kib_per_session=samples.slopes(), before=before, after=await _freed(watch)
    )


async def _one(stack: Stack) -> int:
    """One session. Returns: how often the POP had no time for it; who is refused comes again, as a page does."""
    for refused in range(_TRIES):
        try:
            await _talk(stack)
        except ViewerError as error:
            if error.code != "pop-refused" or refused == _TRIES - 1:
                raise
            await asyncio.sleep(_RETRY_S)
        else:
            return refused
    raise AssertionError("the last try is returned or raised")


async def _talk(stack: Stack) -> None:
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url, record=True) as viewer:
        viewer.send_text(_QUESTION)
        if not await viewer.wait_until(lambda v: any(block.voice for block in v.recording.heard[-20:]), _ANSWER_S_MAX):
            raise ConfigError("a session got no answer")
        await asyncio.sleep(_LISTEN_S)


async def _freed(watch: Watch) -> dict[str, float]:
    """The counts once all sessions have gone, or when they should have."""
    counts = await watch.counts()
    for _ in range(round(_FREED_S_MAX / 0.25)):
        if not any(value for name, value in counts.items() if name.endswith("_sessions")):
            await asyncio.sleep(1.0)
            return await watch.counts()
        await asyncio.sleep(0.25)
        counts = await watch.counts()
    return counts


def summarise(many: Sessions, speech: Monologue | None, nothing: Idle | None, options: argparse.Namespace) -> Result:
    """Figures of all three."""
    figures: dict[str, float] = {"sessions": many.count, "sessions_refused": many.refused}
    for name, value in many.slopes_kib_per_session.items():
        figures[f"{name}_kib_per_session"] = value
    for name, value in many.after.items():
        figures[f"{name}_left"] = value - many.before.get(name, 0.0)
    if speech is not None:
        figures["monologue_s"] = speech.seconds
        if speech.offsets_ms:
            sizes = [abs(offset) for offset in speech.offsets_ms]
            figures["av_offset_ms_p50"] = percentile(sizes, 50)
            figures["av_offset_ms_max"] = max(sizes)
            figures["av_drift_ms"] = speech.offsets_ms[-1] - speech.offsets_ms[0]
        figures["lateness_ms_per_min"] = speech.lateness_ms_per_min
        for name, value in speech.slopes_kib_per_min.items():
            figures[f"monologue_{name}_kib_per_min"] = value
        for name, value in speech.slopes_blocks_per_min.items():
            figures[f"monologue_{name}_blocks_per_min"] = value
    if nothing is not None:
        figures["idle_virtual_s"] = options.idle_s
        figures["idle_kib"] = nothing.slope_kib_per_h * options.idle_s / 3600.0
        if options.idle_s >= _HOURLY_FROM_S:
            figures["idle_kib_per_h"] = nothing.slope_kib_per_h
        figures["idle_packets"] = nothing.packets
        figures["idle_drift_ms"] = nothing.drift_ms
        figures["idle_tasks_left"] = nothing.tasks_left
    details = {
        "rates": {
            "sessions": f"real time, whole stack, {options.together} at once, {_LISTEN_S} s of each answer",
            "monologue": "real time, whole stack, one viewer",
            "idle": "stepped time, the POP's conductor and sessions in one process, no network",
        },
        "before": many.before,
        "after": many.after,
        "offsets_ms": [] if speech is None else [round(offset, 1) for offset in speech.offsets_ms],
        "memory_kib": {} if speech is None else speech.memory_kib,
        "windows_not_compared": 0 if speech is None else speech.silent_windows,
    }
    return Result(figures=figures, details=details)
