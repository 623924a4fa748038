"""One question and its answer: asking it, knowing when the answer is over, and what the recording says about it.

Every time is measured at the viewer: from the end of the user's speech in front of the microphone (or from typing) to
what the viewer received, heard or drew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import MEDIA_CLOCK_HZ
from core.session.state import FaceState
from loadtests.lip_sync import Curve, assemble, lip_sync, loudness
from loadtests.recording import Heard, Recording, Spoken
from loadtests.signals import loud_from
from loadtests.viewer import Viewer

__all__ = ["AUDIBLE_DBFS", "Turn", "ask", "av_offset_ms", "measure", "settle"]

AUDIBLE_DBFS: Final = -45.0
"""Sound above this is heard; the character's voice is some 20 dB above it."""
_QUIET_S: Final = 0.8
"""An answer is over when the face has stopped speaking and nothing was heard for this long."""
_JAW: Final = BLENDSHAPE_INDEX["jawOpen"]
_REACTED: Final = frozenset({FaceState.THINKING, FaceState.SPEAKING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one question cost and brought.

    Attributes:
        transcript: what the origin understood.
        reply_text: what the character said.
        first_motion_ms: from the end of the user's speech to the first packet whose face thinks or speaks.
        first_audio_ms: from there to the first audible sound of the answer.
        edge_added_ms_p99: from an access unit's speech being there and its phase being due to the packet leaving, as
            the POP measured it over this answer.
        edge_units: access units with the character's voice that this is over.
        av_offset_ms: how much later the drawn jaw moves, against what is heard, than it does at the source.
        frames: access units received during the turn.
        mean_frame_bytes: mean size of the encoded frames while the character spoke.
        stages: name → ms, names of core.session.budget.
        false_reactions: times the face left listening for thinking while the user still spoke.
        speech_s: how long the user spoke; 0.0 when it was typed.
        faults: what the POP called a fault or an error.
        reply_audio: float32[n], 48 kHz, as heard.
    """

    transcript: str
    reply_text: str
    first_motion_ms: float | None
    first_audio_ms: float | None
    edge_added_ms_p99: float | None
    edge_units: int
    av_offset_ms: float | None
    frames: int
    mean_frame_bytes: float | None
    stages: dict[str, float]
    false_reactions: int
    speech_s: float
    faults: tuple[str, ...]
    reply_audio: NDArray[np.float32]

    @property
    def answered(self) -> bool:
        """Something was heard."""
        return self.first_audio_ms is not None


async def settle(viewer: Viewer, *, quiet_s: float = _QUIET_S, timeout_s: float = 20.0) -> bool:
    """Wait until the face does nothing (a greeting is over). Returns: False when it never did."""
    since: float | None = None

    def resting(viewer: Viewer) -> bool:
        nonlocal since
        now = viewer.now
        if viewer.screen.units == 0 or viewer.screen.state is not FaceState.IDLE:
            since = None
            return False
        since = since if since is not None else now
        return now - since >= quiet_s

    return await viewer.wait_until(resting, timeout_s)


async def ask(
    viewer: Viewer,
    *,
    samples: NDArray[np.float32] | None = None,
    text: str | None = None,
    timeout_s: float = 20.0,
    listen_s: float | None = None,
    on_change: Callable[[Viewer], None] | None = None,
) -> Turn:
    """Ask one question by voice or by typing and wait until the answer is over.

    Args:
        samples: float32[n], mono, 48 kHz.
        text: typed instead.
        timeout_s: how long the answer may take to begin after the question's end, and then to end.
        listen_s: interrupt the answer after this long; None: hear it out.
        on_change: called whenever something came.
    Raises:
        ViewerError: the connection was lost.
    """
    viewer.recording.clear()
    if samples is not None:
        spoken = viewer.say(samples)
        question_end, limit = spoken.speech_until, spoken.started_at + samples.size / MEDIA_CLOCK_HZ
    else:
        assert text is not None, "a question is spoken or typed"
        spoken = None
        question_end = limit = viewer.send_text(text)

    def begun(viewer: Viewer) -> bool:
        if on_change is not None:
            on_change(viewer)
        return any(block.voice and block.at >= question_end for block in viewer.recording.heard[-50:])

    def over(viewer: Viewer) -> bool:
        begun(viewer)
        if viewer.screen.state in _REACTED:
            return False
        last = next((block.at for block in reversed(viewer.recording.heard) if block.voice), question_end)
        return viewer.now - last >= _QUIET_S

    if await viewer.wait_until(begun, max(0.0, limit - viewer.now) + timeout_s):
        if listen_s is not None and not await viewer.wait_until(over, listen_s):
            viewer.interrupt()
        await viewer.wait_until(over, max(60.0, timeout_s))
    return measure(viewer.recording, question_end=question_end, spoken=spoken)


def measure(recording: Recording, *, question_end: float, spoken: Spoken | None) -> Turn:
    """What a recording says about the turn whose question ended at `question_end` (monotonic seconds)."""
    reacted = next((a.at for a in recording.arrivals if a.at >= question_end and a.state in _REACTED), None)
    reply = [block for block in recording.heard if block.voice and block.at + 0.020 > question_end]
    first_sound = _first_sound(reply, question_end)
    speaking = [a.frame_bytes for a in recording.arrivals if a.state is FaceState.SPEAKING]
    stages, edge_added, edge_units = _stages(recording)
    if first_sound is not None and "playout" not in stages:
        stages["playout"] = _playout_ms(recording, first_sound)
    return Turn(
        transcript=_texts(recording, "user-transcription", final_only=True),
        reply_text=_texts(recording, "bot-transcription"),
        first_motion_ms=None if reacted is None else (reacted - question_end) * 1e3,
        first_audio_ms=None if first_sound is None else (first_sound - question_end) * 1e3,
        edge_added_ms_p99=edge_added,
        edge_units=edge_units,
        av_offset_ms=av_offset_ms(recording, reply),
        frames=len(recording.arrivals),
        mean_frame_bytes=float(np.mean(speaking)) if speaking else None,
        stages=stages,
        false_reactions=_false_reactions(recording, spoken) if spoken is not None else 0,
        speech_s=spoken.speech_until - spoken.speech_from if spoken is not None else 0.0,
        faults=_faults(recording),
        reply_audio=assemble([(block.at, block.samples) for block in reply])[1],
    )


def _first_sound(reply: list[Heard], not_before: float) -> float | None:
    for block in reply:
        skip = max(0, round((not_before - block.at) * MEDIA_CLOCK_HZ))
        loud = loud_from(block.samples[skip:], MEDIA_CLOCK_HZ, AUDIBLE_DBFS)
        if loud is not None:
            return block.at + skip / MEDIA_CLOCK_HZ + loud
    return None


def _playout_ms(recording: Recording, first_sound: float) -> float:
    block = next(b for b in reversed(recording.heard) if b.at <= first_sound)
    arrived = next((a.at for a in recording.arrivals if a.media_time == block.media_time), block.at)
    return (first_sound - arrived) * 1e3


def _texts(recording: Recording, kind: str, *, final_only: bool = False) -> str:
    texts = [
        str(event.data.get("text", "")).strip()
        for event in recording.control
        if event.type == kind and (not final_only or event.data.get("final"))
    ]
    return " ".join(text for text in texts if text)


def _server_messages(recording: Recording, kind: str) -> list[dict[str, Any]]:
    found = [
        event.data.get("d")
        for event in recording.control
        if event.type == "server-message" and event.data.get("t") == kind
    ]
    return [data for data in found if isinstance(data, dict)]


def _stages(recording: Recording) -> tuple[dict[str, float], float | None, int]:
    stages: dict[str, float] = {}
    edge_added: list[float] = []
    units = 0
    for data in _server_messages(recording, "stages"):
        for name, value in (data.get("stages") or {}).items():
            if isinstance(value, (int, float)):
                stages[str(name)] = float(value)
        if isinstance(value := data.get("edge_added_ms_p99"), (int, float)):
            edge_added.append(float(value))
            units += int(data.get("edge_units") or 0)
    return stages, max(edge_added, default=None), units


def _faults(recording: Recording) -> tuple[str, ...]:
    faults = [str(data.get("code", "")) for data in _server_messages(recording, "fault")]
    errors = [str(event.data.get("message", "")) for event in recording.control if event.type == "error"]
    return (*faults, *errors)


def _false_reactions(recording: Recording, spoken: Spoken) -> int:
    count = 0
    before: FaceState | None = None
    for arrival in recording.arrivals:
        if before is FaceState.LISTENING and arrival.state is FaceState.THINKING:
            count += spoken.speech_from < arrival.at < spoken.speech_until
        before = arrival.state
    return count


def av_offset_ms(recording: Recording, reply: list[Heard]) -> float | None:
    """Lag of the drawn jaw against what is heard, minus the same lag at the source; None when it cannot be told.

    Args:
        reply: the blocks with the character's voice, in order.
    """
    sent = sorted((a.media_time, float(a.frame.weights[_JAW])) for a in recording.arrivals if a.frame is not None)
    if not reply or not sent:
        return None
    shift = reply[0].at - reply[0].media_time / MEDIA_CLOCK_HZ
    sent_sound = assemble([(block.media_time / MEDIA_CLOCK_HZ + shift, block.source) for block in reply])
    heard_sound = assemble([(block.at, block.samples) for block in reply])
    found = lip_sync(
        sent_jaw=_curve([(time / MEDIA_CLOCK_HZ + shift, jaw) for time, jaw in sent]),
        drawn_jaw=_curve([(drawn.at, drawn.jaw_open) for drawn in recording.drawn]),
        sent_voice=loudness(*sent_sound),
        heard_voice=loudness(*heard_sound),
    )
    return None if found is None else found.offset_ms


def _curve(points: list[tuple[float, float]]) -> Curve:
    columns = np.array(points, dtype=np.float64).reshape(-1, 2)
    return Curve(columns[:, 0], columns[:, 1])
