"""What the frames of a POP's stacks belong to: rules that turn samples into a table of parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from loadtests.bench.flame import Stack

__all__ = ["part_of", "parts"]

_RULES: Final[tuple[tuple[str, str], ...]] = (
    ("edge/conductor.py", "conductor"),
    ("edge/session", "session"),
    ("edge/sessions.py:Sessions._listen", "fabric in"),
    ("edge/mouths.py", "animate: mouth"),
    ("edge/easing.py", "animate: mouth"),
    ("edge/student_faces.py", "animate: student"),
    ("edge/student.py", "animate: student"),
    ("edge/live_voices.py", "live voices"),
    ("edge/mirror.py", "live voices"),
    ("edge/overload.py", "conductor"),
    ("core/session/tick_budget.py", "conductor"),
    ("edge/animator.py:Animator._hear", "animate: loudness"),
    ("edge/animator.py:Animator.animate", "animate: rest"),
    ("edge/animator.py:Animator.speech", "animate: mouth"),
    ("core/speech/coarticulation.py", "animate: mouth"),
    ("core/avatar/behaviour.py", "animate: behaviour"),
    ("core/avatar/chance.py", "animate: behaviour"),
    ("core/avatar/expression.py", "animate: behaviour"),
    ("core/avatar/blend.py", "animate: blend"),
    ("core/avatar/rotation.py", "animate: rest"),
    ("core/stream/sender.py", "pack"),
    ("core/wire/access_unit.py", "pack"),
    ("core/wire/frame_codec.py", "frame encode"),
    ("core/stream/fec", "FEC"),
    ("core/stream/galois.py", "FEC"),
    ("core/wire/feedback.py", "feedback"),
    ("core/stream/reception.py", "feedback"),
    ("core/stream/rate_control.py", "feedback"),
    ("core/stream/delay_gradient.py", "feedback"),
    ("core/stream/playout_position.py", "feedback"),
    ("core/stream/speech_track.py", "speech track"),
    ("edge/transports/webrtc.py:WebRtcLink.send_packet", "RTP out"),
    ("edge/transports/webrtc.py:WebRtcLink.send_control", "control channel"),
    ("edge/transports/webrtc.py:WebRtcLink._tick", "RTCP"),
    ("edge/transports/peer.py:Peer._send", "sendto"),
    ("pylibsrtp/__init__.py:Session.protect", "SRTP protect"),
    ("edge/transports/peer.py:Peer._follow_socket", "microphone: socket, RTP"),
    ("edge/transports/webrtc.py:WebRtcLink._rtcp_received", "RTCP"),
    ("pylibsrtp/__init__.py:Session.unprotect", "microphone: SRTP"),
    ("edge/hearing.py", "ear: gate"),
    ("edge/ear.py", "ear: judge"),
    ("edge/ear_sound.py:MicrophoneDecoder", "ear: Opus decode"),
    ("edge/ear_echo.py", "ear: echo"),
    ("edge/ear_ending.py", "ear: end of speech"),
    ("edge/inference.py", "ear: VAD"),
    ("edge/uplink.py", "fabric out"),
    ("core/fabric/", "fabric in"),
    ("edge/narrator.py", "control channel"),
    ("aiortc/rtcsctptransport.py", "control channel"),
    ("aiortc/rtcdatachannel.py", "control channel"),
    ("aioice/", "ICE"),
    ("aiortc/rtcdtlstransport.py", "control channel"),
    ("prometheus_client/", "metrics"),
    ("edge/metrics.py", "metrics"),
    ("uvicorn/", "HTTP"),
    ("starlette/", "HTTP"),
)
_STICKY: Final = ("fabric out", "control channel", "metrics")
"""What lies below belongs to it, whatever it is."""
_REST: Final = "event loop"


def part_of(stack: Stack) -> str:
    """The part that the innermost frame with a rule belongs to."""
    part = _REST
    for frame in stack:
        found = _rule(frame)
        if found is not None:
            part = found
        if part in _STICKY:
            return part
    return part


def _rule(frame: str) -> str | None:
    best = None
    for prefix, part in _RULES:
        if frame.startswith(prefix) and (best is None or len(prefix) > len(best[0])):
            best = prefix, part
    return None if best is None else best[1]


def parts(stacks: Mapping[Stack, int]) -> dict[str, float]:
    """Share of all samples per part, largest first."""
    counts: Counter[str] = Counter()
    for stack, count in stacks.items():
        counts[part_of(stack)] += count
    total = max(1, sum(counts.values()))
    return {part: count / total for part, count in counts.most_common()}
