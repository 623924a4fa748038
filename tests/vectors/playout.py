"""Vectors of playout: what core.stream.playout draws and core.stream.jitter_buffer plays; the browser must do the same.

`python -m tests.vectors.playout` writes them. They are samples of an algorithm in floating point, not bytes: readers
compare with a tolerance.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from core.avatar.frame import REST_FRAME, AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX, JOINT_INDEX
from core.stream.jitter_buffer import JitterBuffer
from core.stream.playout import MotionFrame, MotionTimeline

__all__ = ["PATH", "TOLERANCE", "document", "render"]

PATH: Final = Path(__file__).parent / "playout.json"
TOLERANCE: Final = 0.0002
_WEIGHTS: Final = ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft", "browInnerUp")
_JOINT: Final = "head"

Event = dict[str, Any]


def face(jaw: float, nod: float) -> AnimationFrame:
    """A face with an open jaw and a turned head; the rest at rest."""
    weights, joints = REST_FRAME.weights.copy(), REST_FRAME.joints.copy()
    weights[BLENDSHAPE_INDEX["jawOpen"]] = jaw
    joints[JOINT_INDEX["head"]] = (nod, 0.0, 0.0, math.sqrt(1.0 - nod * nod))
    return AnimationFrame(weights=weights, joints=joints)


def _push(media_ms: int, arrival_ms: float, *, speech: bool, jaw: float | None = None) -> Event:
    opened = 0.5 - 0.5 * math.cos(2 * math.pi * media_ms / 500) if jaw is None else jaw
    return {
        "event": "push", "ticks": media_ms * 48, "sequenceNumber": media_ms // 20 & 0xFFFF, "speech": speech,
        "arrivalMs": arrival_ms, "jaw": round(opened * 1024) / 1024, "nod": round(opened * 200) / 1024,
    }  # fmt: skip


def _track(
    medias: list[int],
    until_ms: float,
    *,
    speech: Callable[[int], bool],
    late: Callable[[int], float],
    audible: Callable[[float], float | None],
    extra: list[tuple[float, Event]] | None = None,
) -> list[Event]:
    timed = [(1_000 + media + late(media), _push(media, 1_000 + media + late(media), speech=speech(media)))
             for media in medias]  # fmt: skip
    timed += extra or []
    now = 1_030.0
    while now < until_ms:
        heard = audible(now)
        ticks = None if heard is None else round(heard * 48)
        timed.append((now + 0.001, {"event": "sample", "nowMs": now, "audibleTicks": ticks}))
        now += 16.0
    return [event for _, event in sorted(timed, key=lambda one: one[0])]


def _answer(events: list[Event]) -> list[Event]:
    timeline = MotionTimeline()
    for event in events:
        if event["event"] == "push":
            dropped = timeline.push(
                MotionFrame(
                    ticks=event["ticks"],
                    frame=face(event["jaw"], event["nod"]),
                    sequence_number=event["sequenceNumber"],
                    speech=event["speech"],
                    arrival_ms=event["arrivalMs"],
                )
            )
            event["dropped"] = None if dropped is None else dropped.reason
        elif event["event"] == "cut":
            timeline.cut(event["ticks"], event["nowMs"])
        elif event["event"] == "reset":
            timeline.reset(event["nowMs"])
        else:
            sample = timeline.sample(event["nowMs"], event["audibleTicks"])
            event["source"] = sample.source.value
            event["ticks"] = None if sample.ticks is None else round(sample.ticks, 3)
            event["sequenceNumber"] = sample.sequence_number
            event["idle"] = round(sample.idle, 6)
            drawn = [*(sample.pose.weights[BLENDSHAPE_INDEX[name]] for name in _WEIGHTS),
                     *sample.pose.joints[JOINT_INDEX[_JOINT]]]  # fmt: skip
            event["drawn"] = [round(float(np.float32(value)), 6) for value in drawn]
    return events


def _cases() -> list[tuple[str, list[Event]]]:
    random = Random(1)
    jitter = [random.randrange(40) for _ in range(200)]
    steady = list(range(0, 1_200, 20))
    behind = lambda now: now - 1_100.0  # noqa: E731
    return [
        ("speech is drawn when it is audible", _track(
            steady, 2_200, speech=lambda _: True, late=lambda media: 30 + jitter[media // 20] / 2, audible=behind)),
        ("silence is drawn on arrival", _track(
            steady, 2_200, speech=lambda _: False, late=lambda media: 30 + jitter[media // 20], audible=behind)),
        ("nobody knows what is audible", _track(
            steady, 2_200, speech=lambda media: media > 400, late=lambda _: 30, audible=lambda _: None)),
        ("losses, single and in bursts", _track(
            [media for media in steady if media // 20 not in (11, 20, 21, 30, 31, 32, *range(40, 47))], 2_200,
            speech=lambda _: True, late=lambda _: 30, audible=lambda now: now - 1_050.0)),
        ("an outage of a second becomes the idle layer, and the truth is joined", _track(
            [media for media in range(0, 3_000, 20) if not 600 <= media < 1_600], 4_000,
            speech=lambda _: True, late=lambda _: 30, audible=behind)),
        ("an idle track of 80 ms packets after speech", _track(
            [*range(0, 600, 20), *range(600, 2_200, 80)], 3_100, speech=lambda media: media < 500,
            late=lambda _: 30, audible=behind)),
        ("the voice is cut", _track(
            steady, 2_200, speech=lambda media: media < 600, late=lambda _: 30, audible=lambda now: now - 1_250.0,
            extra=[(1_640.0, {"event": "cut", "ticks": 600 * 48, "nowMs": 1_640.0})])),
        ("late, double and absurd frames; then a new clock that insists", _track(
            [media for media in steady if media != 200], 2_400, speech=lambda _: False, late=lambda _: 30,
            audible=lambda _: None,
            extra=[(1_600.5, _push(200, 1_600.5, speech=False)), (1_600.6, _push(540, 1_600.6, speech=False)),
                   (1_600.7, _push(90_000, 1_600.7, speech=False)),
                   *((2_241.0 + n, _push(50_000 + n * 20, 2_241.0 + n, speech=False)) for n in range(6))])),
        ("a new connection", _track(
            steady[:30], 2_000, speech=lambda _: False, late=lambda _: 30, audible=lambda _: None,
            extra=[(1_700.0, {"event": "reset", "nowMs": 1_700.0})])),
    ]  # fmt: skip


def _time_of(event: Event) -> float:
    return float(event["arrivalMs"] if event["event"] == "push" else event["nowMs"])


def _sound_cases() -> list[tuple[str, list[Event]]]:
    random = Random(2)
    numbers = list(range(120))

    def track(late: Callable[[int], float | None], *, span: int = 1, silent: bool = False) -> list[Event]:
        pushes = [{"event": "push", "ticks": n * 960 * span, "durationTicks": 960 * span, "silent": silent,
                   "arrivalMs": n * 20.0 * span + lateness, "repaired": lateness > 90.0}
                  for n in numbers if (lateness := late(n)) is not None]  # fmt: skip
        times = [{"event": "advance", "nowMs": 15.0 * n} for n in range(160 * span)]
        return sorted([*pushes, *times], key=_time_of)

    jitter = [random.uniform(0.0, 60.0) for _ in numbers]
    return [
        ("a steady voice", track(lambda _: 10.0)),
        ("a voice with jitter", track(lambda n: jitter[n])),
        ("silence with jitter", track(lambda n: jitter[n], silent=True)),
        ("losses, some of them repaired", track(lambda n: None if n % 13 == 0 else 110.0 if n % 7 == 0 else 10.0)),
        ("repairs, one of them late", track(lambda n: 125.0 if n == 35 else 95.0 if n % 11 == 0 else 10.0)),
        ("an outage", track(lambda n: None if 40 <= n < 80 else 10.0)),
        ("a path that becomes slower for good", track(lambda n: 10.0 if n < 50 else 400.0)),
        ("80 ms packets", track(lambda n: jitter[n] / 4, span=4, silent=True)),
    ]


def _sound_answer(events: list[Event]) -> list[Event]:
    buffer = JitterBuffer()
    for event in events:
        if event["event"] == "push":
            dropped = buffer.push(
                b"x",
                event["ticks"],
                event["durationTicks"],
                silent=event["silent"],
                arrival_ms=event["arrivalMs"],
                repaired=event["repaired"],
            )
            event["dropped"] = None if dropped is None else dropped.reason
        else:
            blocks = buffer.advance(event["nowMs"])
            event["blocks"] = [
                [
                    round(block.at_ms, 6),
                    block.ticks,
                    block.duration_ticks,
                    round(block.length_ms, 6),
                    bool(block.payload),
                ]
                for block in blocks
            ]
            position = buffer.position(event["nowMs"])
            event["position"] = None if position is None else round(position, 3)
    return events


def document() -> dict[str, Any]:
    """Everything, as JSON can say it."""
    return {
        "suite": "playout",
        "generator": "python -m tests.vectors.playout",
        "tolerance": TOLERANCE,
        "drawn": [*_WEIGHTS, *(f"{_JOINT}.{axis}" for axis in "xyzw")],
        "tests": [
            {"id": number, "comment": comment, "events": _answer(events)}
            for number, (comment, events) in enumerate(_cases(), 1)
        ],
        "soundTests": [
            {"id": number, "comment": comment, "events": _sound_answer(events)}
            for number, (comment, events) in enumerate(_sound_cases(), 1)
        ],
    }


def render() -> str:
    """The file's text: one event a line, so that changes can be read."""
    text = json.dumps(document(), separators=(",", ":"))
    return text.replace('{"id":', '\n{"id":').replace('{"event":', '\n{"event":') + "\n"


def main() -> int:
    """Entry point."""
    argparse.ArgumentParser(prog="python -m tests.vectors.playout", description=__doc__).parse_args()
    PATH.write_text(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
