"""Sessions that move between two POPs while their character speaks: real processes, real viewers over a real network
stack. What a viewer must not notice is counted where a viewer would: in its sound and in its pictures."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any, Final

from core.fabric.opening import OpenFabric
from core.limits import MEDIA_CLOCK_HZ
from core.session.handoff_messages import BROKER_SUBJECT, Move, Moved, Refused, decode_answer, encode_handoff
from core.stream.playout import MotionSource
from core.wire.access_unit import AccessUnitFlags
from loadtests.bench._worker_kills import WORKERS, WorkerKills
from loadtests.bench.harness import Result, percentile
from loadtests.cluster import cluster_stack
from loadtests.recording import Drawn, Recording
from loadtests.stack import Pop, Stack, another_pop, local_stack
from loadtests.viewer import TransportChoice, Viewer, ViewerError

__all__ = ["DESCRIPTION", "Noticed", "add_arguments", "noticed", "run", "speaking"]

DESCRIPTION = "sessions that move to another POP in the middle of a sentence: what the viewer notices"

_QUESTION: Final = "Tell me a long story about yourself."
_SPEECH_S_MAX: Final = 20.0
_MOVE_S_MAX: Final = 20.0
_FREEZE_S: Final = 0.1
_PLACEMENTS_MAX: Final = 12
"""Sessions opened until one is placed at the POP that is about to die."""
_BEFORE_S, _AFTER_S = 0.1, 0.8
"""A move is watched from a moment before it until so long after it; no move has made what sounded earlier."""
_CATCH_UP_S: Final = 0.3
_TALKING_S: Final = 1.2
"""So long the voice has been heard when a session is moved."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's own flags."""
    parser.add_argument("--handoffs", type=int, default=10, help="moves, half of them over each transport (default 10)")
    parser.add_argument("--kills", type=int, default=2, help="POPs killed while their character speaks (default 2)")
    parser.add_argument(
        "--worker-kills", type=int, default=3, help="workers killed while they answer (default 3)", metavar="KILLS"
    )
    parser.add_argument(
        "--fabric",
        choices=("local", "nats"),
        default="local",
        help="nats: all of it in a cluster of a hub and two leaf nodes (default local)",
    )


@dataclass(slots=True)
class Noticed:
    """What a viewer noticed of a stretch of time.

    Attributes:
        lost_audio_units: packets of voice that were sent and not heard, or heard as an invention.
        repeated_audio_units: that were heard twice.
        frozen_frames: pictures of stretches that were not made of what the POP sent.
    """

    lost_audio_units: int = 0
    repeated_audio_units: int = 0
    frozen_frames: int = 0


def speaking(viewer: Viewer) -> bool:
    """The character's voice has been heard for a while, and is heard."""
    now = viewer.now
    recent = [block for block in viewer.recording.heard if now - _TALKING_S < block.at]
    return len(recent) > 0.8 * _TALKING_S / 0.02 and all(block.voice for block in recent)


def noticed(recording: Recording, begin: float, end: float) -> Noticed:
    """Look at what was heard and seen between two monotonic times.

    Every media time between two that carried voice must be heard once, with the voice that was sent for it; a pause is
    what no POP has sent a voice for.
    """
    found = Noticed()
    sent = {unit.media_time for unit in recording.arrivals if unit.flags & AccessUnitFlags.SPEECH and unit.duration > 0}
    heard = [block for block in recording.heard if begin <= block.at <= end]
    if not heard:
        return found
    times: dict[int, int] = {}
    for block in heard:
        times[block.media_time] = times.get(block.media_time, 0) + 1
    first, last = heard[0].media_time, heard[-1].media_time
    voiced = {block.media_time for block in heard if block.voice}
    found.lost_audio_units = sum(first <= media_time <= last and media_time not in voiced for media_time in sent)
    found.repeated_audio_units = sum(count - 1 for count in times.values())
    position = first
    for block in heard:
        if block.media_time > position:  # a hole in media time itself
            found.lost_audio_units += -(-(block.media_time - position) * 50 // MEDIA_CLOCK_HZ)
        position = max(position, block.media_time + block.samples.size)
        if not block.voice and block.media_time - 960 in voiced and block.media_time + 960 in voiced:
            found.lost_audio_units += block.media_time not in sent  # concealed between two voices: no POP sent it
    drawn = [picture for picture in recording.drawn if begin <= picture.at <= end]
    found.frozen_frames = _frozen(drawn)
    return found


def _frozen(drawn: list[Drawn]) -> int:
    """Pictures in stretches of at least _FREEZE_S that were not made of what was sent; two frames are guessed well."""
    frozen = 0
    for made, group in groupby(drawn, lambda picture: picture.source in (MotionSource.IDLE, MotionSource.EXTRAPOLATED)):
        pictures = list(group)
        if made and pictures[-1].at - pictures[0].at >= _FREEZE_S:
            frozen += len(pictures)
    return frozen


@dataclass(slots=True)
class _Tally:
    moves: int = 0
    failures: list[str] = field(default_factory=list)
    overlaps_s: list[float] = field(default_factory=list)
    invited_s: list[float] = field(default_factory=list)
    seen: list[Noticed] = field(default_factory=list)
    unmoved: list[Noticed] = field(default_factory=list)
    stalls_s: list[float] = field(default_factory=list)
    away_s: list[float] = field(default_factory=list)
    voice_again_s: list[float] = field(default_factory=list)
    workers: WorkerKills = field(default_factory=WorkerKills)
    transcript_kept: bool = True


async def _one_move(viewer: Viewer, fabric: OpenFabric, epoch: int, tally: _Tally) -> int:
    """Wait until it speaks, move it, look at what was noticed. Returns: its epoch now."""
    if not await viewer.wait_until(speaking, 0.5):
        viewer.send_text(_QUESTION)
        if not await viewer.wait_until(speaking, _SPEECH_S_MAX):
            tally.failures.append("never-spoke")
            return epoch
    begin = viewer.now - _BEFORE_S
    tally.unmoved.append(noticed(viewer.recording, begin - _BEFORE_S - _AFTER_S, begin))
    words_before = _words(viewer)
    move = Move(session_id=viewer.ticket.session_id, epoch=epoch, pop=viewer.ticket.pop_name)
    answer = decode_answer(await fabric.bus.request(BROKER_SUBJECT, encode_handoff(move), _MOVE_S_MAX))
    if not isinstance(answer, Moved):
        tally.failures.append(answer.code if isinstance(answer, Refused) else "bad-message")
        return epoch
    await asyncio.sleep(_AFTER_S)
    times = viewer.moves[-1]
    tally.moves += 1
    tally.overlaps_s.append(answer.overlap_s)
    tally.invited_s.append((times.committed_at or viewer.now) - times.invited_at)
    drawn = [picture.at for picture in viewer.recording.drawn if picture.at > begin]
    tally.stalls_s.append(max((after - before for before, after in pairwise(drawn)), default=0.0))
    tally.seen.append(noticed(viewer.recording, begin, viewer.now - 0.2))
    tally.transcript_kept &= _words(viewer)[: len(words_before)] == words_before and len(_words(viewer)) > 0
    return answer.epoch


async def _one_kill(stack: Stack, doomed: Pop, transport: TransportChoice, tally: _Tally) -> None:
    """A POP dies while its character speaks: how long until the viewer has a face and a voice again."""
    for _ in range(_PLACEMENTS_MAX):
        async with Viewer.connect(origin=stack.origin_url, transport=transport) as viewer:
            if viewer.ticket.pop_name == doomed.name:
                await _kill(viewer, doomed, tally)
                return
    tally.failures.append("nobody-placed-there")


async def _kill(viewer: Viewer, doomed: Pop, tally: _Tally) -> None:
    viewer.send_text(_QUESTION)
    if not await viewer.wait_until(speaking, _SPEECH_S_MAX):
        tally.failures.append("never-spoke")
        return
    before = _words(viewer)
    surviving = asyncio.create_task(viewer.survive())
    await asyncio.sleep(0)
    doomed.kill()
    killed_at = viewer.now
    try:
        tally.away_s.append(await surviving)
    except ViewerError as error:
        tally.failures.append(f"kill-{error.code}")
        return
    resumed_at = viewer.now
    if await viewer.wait_until(lambda v: any(b.voice and b.at > resumed_at for b in v.recording.heard), 5.0):
        tally.voice_again_s.append(viewer.now - killed_at)
    await viewer.wait_until(lambda v: len(_words(v)) > len(before), 3.0)
    tally.transcript_kept &= _words(viewer)[: len(before)] == before and len(_words(viewer)) > len(before)


def _words(viewer: Viewer) -> list[str]:
    return [event.data.get("text", "") for event in viewer.recording.control if event.type == "bot-tts-text"]


async def _many_moves(stack: Stack, transport: TransportChoice, count: int, tally: _Tally) -> None:
    async with stack.joined() as fabric, Viewer.connect(origin=stack.origin_url, transport=transport) as viewer:
        epoch = viewer.ticket.epoch
        for _ in range(count):
            try:
                epoch = await _one_move(viewer, fabric, epoch, tally)
            except ViewerError as error:
                tally.failures.append(error.code)
                return
            gc.collect()
            await asyncio.sleep(_CATCH_UP_S)


async def _measure(stack: Stack, handoffs: int) -> _Tally:
    """One viewer after the other: several in one process would stand in each other's way, and that would be counted."""
    tally = _Tally()
    gc.disable()  # of all that this process records a collection takes as long as its playout buffer: not in a move
    try:
        await _many_moves(stack, "webrtc", handoffs - handoffs // 2, tally)
        await _many_moves(stack, "webtransport", handoffs // 2, tally)
    finally:
        gc.enable()
    return tally


def run(options: argparse.Namespace) -> Result:
    """Measure."""
    handoffs = min(options.handoffs, 6) if options.quick else options.handoffs
    with _two_pops(options.fabric) as stack:
        tally = asyncio.run(_measure(stack, handoffs))
        kinds: tuple[TransportChoice, ...] = ("webrtc", "webtransport")
        for number in range(options.kills):
            with another_pop(stack, f"doomed-{number}") as doomed:
                asyncio.run(_one_kill(stack, doomed, kinds[number % 2], tally))
        if options.fabric == "nats" and options.worker_kills:
            asyncio.run(tally.workers.measure(stack, options.worker_kills))
    if options.fabric == "local" and options.worker_kills:
        with local_stack(f"origin.workers={WORKERS}", "origin.greet=false") as stack:
            asyncio.run(tally.workers.measure(stack, options.worker_kills))
    return Result(figures=_figures(tally), details=_details(tally))


@contextlib.contextmanager
def _two_pops(fabric: str) -> Iterator[Stack]:
    if fabric == "nats":
        with cluster_stack("origin.greet=false") as cluster:
            yield cluster
    else:
        with local_stack() as stack, another_pop(stack, "second"):
            yield stack


def _figures(tally: _Tally) -> dict[str, float]:
    figures: dict[str, float] = {
        "handoffs": tally.moves,
        "handoffs_failed": len(tally.failures) + len(tally.workers.failures),
        "frozen_frames": sum(one.frozen_frames for one in tally.seen),
        "lost_units": sum(one.lost_audio_units for one in tally.seen),
        "repeated_units": sum(one.repeated_audio_units for one in tally.seen),
        "lost_units_unmoved": sum(one.lost_audio_units for one in tally.unmoved),
        "frozen_frames_unmoved": sum(one.frozen_frames for one in tally.unmoved),
        "transcript_kept": float(tally.transcript_kept and tally.workers.kept),
    }
    if tally.moves:
        figures["overlap_ms_max"] = 1e3 * max(tally.overlaps_s)
        figures["overlap_ms_p95"] = 1e3 * percentile(tally.overlaps_s, 95)
        figures["overlap_ms_p50"] = 1e3 * percentile(tally.overlaps_s, 50)
        figures["invited_to_committed_ms_p50"] = 1e3 * percentile(tally.invited_s, 50)
    if tally.away_s:
        figures["pop_kill_resume_s_max"] = max(tally.away_s)
    if tally.voice_again_s:
        figures["pop_kill_voice_again_s_max"] = max(tally.voice_again_s)
    return {**figures, **tally.workers.figures()}


def _details(tally: _Tally) -> dict[str, Any]:
    return {
        "failures": tally.failures + tally.workers.failures,
        "viewer_stall_ms": {
            f"p{part}": round(1e3 * percentile(tally.stalls_s or [0.0], part), 1) for part in (50, 90, 100)
        },
        "noticed": [
            {
                "move": number,
                "lost_units": seen.lost_audio_units,
                "repeated_units": seen.repeated_audio_units,
                "frozen_frames": seen.frozen_frames,
                "overlap_ms": round(1e3 * overlap_s, 1),
                "viewer_stall_ms": round(1e3 * stall_s, 1),
            }
            for number, (seen, overlap_s, stall_s) in enumerate(
                zip(tally.seen, tally.overlaps_s, tally.stalls_s, strict=True)
            )
            if seen != Noticed()
        ],
        "unmoved": "the same viewers just before each move, for as long",
        "worker_kills_said": tally.workers.said,
    }
