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
from loadtests.recording import Heard, Recording, Spoken
from loadtests.signals import envelope, lag, loud_from, resample_at
from loadtests.viewer import Viewer

__all__ = ["AUDIBLE_DBFS", "Turn", "ask", "av_offset_ms", "measure", "settle"]

AUDIBLE_DBFS: Final = -45.0
"""Sound above this is heard; the character's voice is some 20 dB above it."""
_QUIET_S: Final = 0.8
"""An answer is over when the face has stopped speaking and nothing was heard for this long."""
_STEP_S: Final = 0.005
_JAW: Final = BLENDSHAPE_INDEX["jawOpen"]
_REACTED: Final = frozenset({FaceState.THINKING, FaceState.SPEAKING})
_AV_CORRELATION_MIN: Final = 0.8
"""Below this two curves are not the same movement, and a lag between them means nothing."""


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
    on_change: Callable[[Viewer], None] | None = None,
) -> Turn:
    """Ask one question by voice or by typing and wait until the answer is over.

    Args:
        samples: float32[n], mono, 48 kHz.
        text: typed instead.
        timeout_s: how long the answer may take to begin after the question's end, and then to end.
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
        await viewer.wait_until(over, max(60.0, timeout_s))
    return measure(viewer.recording, question_end=question_end, spoken=spoken)


def measure(recording: Recording, *, question_end: float, spoken: Spoken | None) -> Turn:
    """What a recording says about the turn whose question ended at `question_end` (monotonic seconds)."""
    reacted = next((a.at for a in recording.arrivals if a.at >= question_end and a.state in _REACTED), None)
    reply = [block for block in recording.heard if block.voice and block.at + 0.020 > question_end]
    first_sound = _first_sound(reply, question_end)
    speaking = [a.frame_bytes for a in recording.arrivals if a.state is FaceState.SPEAKING]
    stages, edge_added = _stages(recording)
    if first_sound is not None and "playout" not in stages:
        stages["playout"] = _playout_ms(recording, first_sound)
    return Turn(
        transcript=_texts(recording, "user-transcription", final_only=True),
        reply_text=_texts(recording, "bot-transcription"),
        first_motion_ms=None if reacted is None else (reacted - question_end) * 1e3,
        first_audio_ms=None if first_sound is None else (first_sound - question_end) * 1e3,
        edge_added_ms_p99=edge_added,
        av_offset_ms=av_offset_ms(recording, reply),
        frames=len(recording.arrivals),
        mean_frame_bytes=float(np.mean(speaking)) if speaking else None,
        stages=stages,
        false_reactions=_false_reactions(recording, spoken) if spoken is not None else 0,
        speech_s=spoken.speech_until - spoken.speech_from if spoken is not None else 0.0,
        faults=_faults(recording),
        reply_audio=_on_clock(reply, lambda block: block.at, lambda block: block.samples)[1],
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


def _stages(recording: Recording) -> tuple[dict[str, float], float | None]:
    stages: dict[str, float] = {}
    edge_added: list[float] = []
    for data in _server_messages(recording, "stages"):
        for name, value in (data.get("stages") or {}).items():
            if isinstance(value, (int, float)):
                stages[str(name)] = float(value)
        if isinstance(value := data.get("edge_added_ms_p99"), (int, float)):
            edge_added.append(float(value))
    return stages, max(edge_added, default=None)


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


def _on_clock(
    blocks: list[Heard], at: Callable[[Heard], float], samples: Callable[[Heard], NDArray[np.float32]]
) -> tuple[float, NDArray[np.float32]]:
    """The blocks' sound on one clock. Returns: when it begins, and float32[n] at 48 kHz."""
    if not blocks:
        return 0.0, np.empty(0, dtype=np.float32)
    start = at(blocks[0])
    length = round((at(blocks[-1]) - start) * MEDIA_CLOCK_HZ) + samples(blocks[-1]).size
    sound = np.zeros(length, dtype=np.float32)
    for block in blocks:
        offset = round((at(block) - start) * MEDIA_CLOCK_HZ)
        piece = samples(block)[: max(0, length - offset)]
        sound[offset : offset + piece.size] = piece
    return start, sound


def av_offset_ms(recording: Recording, reply: list[Heard]) -> float | None:
    """Lag of the drawn jaw against what is heard, minus the same lag between sent jaw and sent voice.

    Written as (drawn jaw behind sent jaw) - (heard voice behind sent voice), which is the same number, because each
    pair holds the same movement twice and correlates near 1, where jaw and loudness only resemble each other.

    Args:
        reply: the blocks with the character's voice, in order.
    Returns: None when the answer is too short, or a pair does not correlate.
    """
    sent = [(a.media_time / MEDIA_CLOCK_HZ, float(a.frame.weights[_JAW])) for a in recording.arrivals if a.frame]
    if len(reply) < 25 or len(sent) < 25 or len(recording.drawn) < 25:
        return None
    # One constant moves media time near monotonic time; it is in both pairs and falls out.
    shift = reply[0].at - reply[0].media_time / MEDIA_CLOCK_HZ
    heard_at, heard = _on_clock(reply, lambda block: block.at, lambda block: block.samples)
    sent_at, voice = _on_clock(
        reply, lambda block: block.media_time / MEDIA_CLOCK_HZ + shift, lambda block: block.source
    )
    times = np.arange(min(heard_at, sent_at) - 0.3, max(reply[-1].at, heard_at) + 0.3, _STEP_S)
    heard_curve, voice_curve = _loudness(heard_at, heard, times), _loudness(sent_at, voice, times)
    drawn = np.array([(d.at, d.jaw_open) for d in recording.drawn])
    sent_jaw = np.array(sent)
    sent_jaw = sent_jaw[np.argsort(sent_jaw[:, 0], kind="stable")]
    drawn_curve = resample_at(drawn[:, 0], drawn[:, 1], times, hold=True)
    sent_curve = resample_at(sent_jaw[:, 0] + shift, sent_jaw[:, 1], times)
    motion = lag(sent_curve, drawn_curve, step_s=_STEP_S)
    sound = lag(voice_curve, heard_curve, step_s=_STEP_S)
    if motion is None or sound is None or min(motion.correlation, sound.correlation) < _AV_CORRELATION_MIN:
        return None
    return (motion.seconds - sound.seconds) * 1e3


def _loudness(start: float, sound: NDArray[np.float32], times: NDArray[np.float64]) -> NDArray[np.float64]:
    curve = envelope(sound, MEDIA_CLOCK_HZ, hop_s=_STEP_S)
    curve_times = start + np.arange(curve.size) * _STEP_S
    return np.asarray(np.interp(times, curve_times, curve, left=0.0, right=0.0), dtype=np.float64)
