"""Workers killed while they answer: how long until the viewer hears the next one, and whether every word came."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass, field
from typing import Final

from core.fabric.opening import OpenFabric
from core.limits import UTTERANCES_PER_EPOCH_MAX
from loadtests.bench.harness import percentile
from loadtests.stack import Stack
from loadtests.viewer import TransportChoice, Viewer, ViewerError
from origin.dialogue.character import load_characters
from origin.workers.messages import CONTROL_SUBJECT, Control, Controlled, decode_controlled, encode

__all__ = ["WORKERS", "WorkerKills"]

WORKERS: Final = 3
_QUESTION: Final = "Tell me about Jupiter."
_WORDS_BEFORE: Final = 5
"""So much of the answer has been heard when its worker is killed."""
_SPEECH_S_MAX: Final = 20.0
_ANSWER_S_MAX: Final = 30.0
_WARM_S_MAX: Final = 90.0
_POLL_S: Final = 0.2


@dataclass(slots=True)
class WorkerKills:
    """What came of them.

    Attributes:
        resumes_s: from each kill to the first sound of the next worker's voice, as the viewer hears it.
        said: the words of each answer that was interrupted, as the viewer was told them.
        kept: every one of these answers was a line of the character, each word once.
        failures: why others could not be measured.
    """

    resumes_s: list[float] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    kept: bool = True
    failures: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """For the benchmark's result; nothing where nobody was killed."""
        if not self.resumes_s:
            return {}
        return {
            "worker_kills": len(self.resumes_s),
            "worker_kill_resume_s_max": max(self.resumes_s),
            "worker_kill_resume_s_p50": percentile(self.resumes_s, 50),
            "worker_kill_transcript_kept": float(self.kept),
        }

    async def measure(self, stack: Stack, kills: int) -> None:
        """Kill so many, one after the other, over both transports in turn."""
        lines = {" ".join(line.split()) for each in load_characters()["mira"].intents for line in each.lines}
        kinds: tuple[TransportChoice, ...] = ("webrtc", "webtransport")
        async with stack.joined() as fabric:
            for number in range(kills):
                try:
                    await _until_warm(fabric)
                    async with Viewer.connect(origin=stack.origin_url, transport=kinds[number % 2]) as viewer:
                        await self._kill_one(viewer, fabric, lines)
                except (ViewerError, TimeoutError) as error:
                    self.failures.append(f"worker-kill-{getattr(error, 'code', 'timeout')}")

    async def _kill_one(self, viewer: Viewer, fabric: OpenFabric, lines: set[str]) -> None:
        await viewer.wait_until(lambda viewer: viewer.ready, _SPEECH_S_MAX)
        asked = viewer.send_text(_QUESTION)
        if not await viewer.wait_until(lambda viewer: len(_words(viewer, asked)) >= _WORDS_BEFORE, _SPEECH_S_MAX):
            self.failures.append("worker-kill-never-spoke")
            return
        report = await _report(fabric)
        pid = next(row["pid"] for row in report.workers if viewer.ticket.session_id in row["sessions"])
        os.kill(pid, signal.SIGKILL)
        killed_at = viewer.now
        await viewer.wait_until(lambda viewer: _heard_next(viewer, killed_at) is not None, _SPEECH_S_MAX)
        heard_at = _heard_next(viewer, killed_at)
        if heard_at is None:
            self.failures.append("worker-kill-no-voice")
            self.kept = False
            return
        self.resumes_s.append(heard_at - killed_at)
        self.kept &= await viewer.wait_until(lambda viewer: " ".join(_words(viewer, asked)) in lines, _ANSWER_S_MAX)
        self.said.append(" ".join(_words(viewer, asked)))


def _words(viewer: Viewer, since: float) -> list[str]:
    events = [event for event in viewer.recording.control if event.type == "bot-tts-text" and event.at > since]
    return [str(event.data.get("text", "")) for event in events]


def _heard_next(viewer: Viewer, since: float) -> float | None:
    """When the voice of the worker that goes on was first heard: its utterances have numbers beyond all before."""
    begun: dict[int, int] = {}
    for event in viewer.recording.control:
        if event.type == "server-message" and event.data.get("t") == "utterance":
            placed = event.data.get("d") or {}
            owner = int(placed["utterance_id"]) // UTTERANCES_PER_EPOCH_MAX
            begun.setdefault(owner, int(placed["rtp_timestamp"]))
    if len(begun) < 2:
        return None
    first = begun[max(begun)]
    for block in viewer.recording.heard:
        if block.at > since and block.voice and (block.media_time - first) % (1 << 32) < 1 << 31:
            return block.at
    return None


async def _report(fabric: OpenFabric) -> Controlled:
    return decode_controlled(await fabric.bus.request(CONTROL_SUBJECT, encode(Control()), 5.0))


async def _until_warm(fabric: OpenFabric) -> None:
    """Those that were killed are replaced. Raises: TimeoutError."""
    deadline = time.monotonic() + _WARM_S_MAX
    while [row["state"] for row in (await _report(fabric)).workers].count("warm") < WORKERS:
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(_POLL_S)
