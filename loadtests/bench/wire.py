"""What a frame costs on the wire: bytes, error and time, on the motion that a POP really sends, beside other framings.

espeak-ng speaks sentences (in a process of its own: `python -m loadtests.bench.wire --speak`), the POP's animator moves
the face to them, and every frame of speech is encoded against the one that a viewer acknowledged five frames before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import AnimationFrame
from core.errors import ConfigError
from core.limits import MEDIA_CLOCK_HZ, TICK_SAMPLES
from core.session.state import FaceState
from core.speech.messages import PhonemeSpan
from core.wire.access_unit import AccessUnit, AccessUnitFlags, encode_access_unit
from core.wire.frame_codec import FrameDecoder, FrameEncoder
from core.wire.opus_padding import silence
from edge.animator import Animator, AnimatorRow
from loadtests.bench._wire_formats import compare_formats
from loadtests.bench.harness import Result, percentile

DESCRIPTION = "bytes, error and time of a frame in speech"

LAG: Final = 5
"""Frames between sending a frame and knowing that the viewer has it (100 ms)."""
_LAGS: Final = (1, 5, 12)
_GAP_FRAMES: Final = 40
_VOICES: Final = (("en-us", 150), ("en-us+m3", 165), ("en-us+f2", 175))
_SENTENCES: Final = (
    "Hello! I am so glad that you found your way under the stars tonight.",
    "Jupiter is the largest planet of them all; every other one would fit inside it, with room to spare.",
    "Before people had maps, they found their way home by the very same lights that you see above us.",
    "If you could fold the whole Milky Way onto this table, our sun would be smaller than a grain of flour.",
    "Mars has a volcano three times as high as Mount Everest, and a valley as wide as a continent.",
    "No, I have never been there myself, but I know somebody who built a robot that has.",
    "Would you like to see the moon from up close, or shall we move on to the moving pictures of Saturn?",
    "Please wait a moment while the big telescope warms up; it is rather old, and fairly proud of it.",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--seed", type=int, default=1, help="of the face's behaviours (default 1)")


@dataclass(frozen=True, slots=True)
class _Utterance:
    phonemes: list[PhonemeSpan]
    log_mel: list[bytes]


@dataclass(frozen=True, slots=True)
class _Motion:
    """Frames of a track and which of them are speech."""

    frames: list[AnimationFrame]
    speech: NDArray[np.bool_]


@dataclass(slots=True)
class _Measured:
    frame_bytes: list[int]
    weight_bits: list[int]
    joint_bits: list[int]
    header_bits: list[int]
    squared_error: float
    joint_error_deg_max: float
    encode_s: list[float]
    decode_s: list[float]
    encoded: list[bytes]


def run(options: argparse.Namespace) -> Result:
    """Measure."""
    voices = _VOICES[:1] if options.quick else _VOICES
    motion = _animate(_spoken(len(voices)), options.seed)
    main = _measure(motion, LAG)
    speech_frames = [frame for frame, speaks in zip(motion.frames, motion.speech, strict=True) if speaks]
    others = compare_formats(speech_frames)
    count = len(main.frame_bytes)
    passes = [main, *(_measure(motion, LAG) for _ in range(2))]
    mean = statistics.fmean(main.frame_bytes)
    unit = AccessUnit(
        epoch=1, sequence_number=1, flags=AccessUnitFlags.SPEECH, state=FaceState.SPEAKING, frame=bytes(round(mean))
    )
    figures = {
        "mean_weight_bytes": statistics.fmean(main.weight_bits) / 8,
        "mean_frame_bytes": mean,
        "rmse": (main.squared_error / (52 * count)) ** 0.5,
        "encode_us": _undisturbed_us([p.encode_s for p in passes]),
        "decode_us": _undisturbed_us([p.decode_s for p in passes]),
    } | {f"ratio_bytes_vs_{name}": other.mean_bytes / mean for name, other in others.items()}
    details = {
        "motion": "espeak-ng speech, moved by edge.animator (coarticulation and behaviours), 50 frames/s",
        "voices": [name for name, _ in voices],
        "speech_frames": count,
        "speech_s": count * TICK_SAMPLES / MEDIA_CLOCK_HZ,
        "acknowledgement_lag_frames": LAG,
        "frame_bytes": {f"p{q}": percentile(main.frame_bytes, q) for q in (5, 50, 95, 99)}
        | {"max": max(main.frame_bytes)},
        "mean_bytes_by_part": {
            "checksum_baseline_score": statistics.fmean(main.header_bits) / 8,
            "weights": statistics.fmean(main.weight_bits) / 8,
            "joints": statistics.fmean(main.joint_bits) / 8,
        },
        "joint_error_deg_max": main.joint_error_deg_max,
        "access_unit_overhead_bytes": len(encode_access_unit(unit, silence())) - len(silence()) - round(mean),
        "formats": {
            "visavis": {"mean_bytes": mean, "encode_us": figures["encode_us"], "decode_us": figures["decode_us"]}
        }
        | {name: asdict(other) for name, other in others.items()},
        "by_lag": {str(lag): _summary(_measure(motion, lag)) for lag in _LAGS},
        "all_from_rest_pose": _summary(_measure(motion, None)),
    }
    return Result(figures=figures, details=details)


def _undisturbed_us(passes: list[list[float]]) -> float:
    """Mean over all frames of each frame's fastest pass: what others do on the machine meanwhile does not count."""
    return statistics.fmean(map(min, zip(*passes, strict=True))) * 1e6


def _summary(measured: _Measured) -> dict[str, float]:
    return {
        "mean_weight_bytes": round(statistics.fmean(measured.weight_bits) / 8, 2),
        "mean_frame_bytes": round(statistics.fmean(measured.frame_bytes), 2),
        "rmse": round((measured.squared_error / (52 * len(measured.frame_bytes))) ** 0.5, 5),
    }


def _measure(motion: _Motion, lag: int | None) -> _Measured:
    """Encode and decode the whole track, count the frames of speech. lag None: nothing is ever acknowledged."""
    encoder, decoder = FrameEncoder(), FrameDecoder()
    result = _Measured([], [], [], [], 0.0, 0.0, [], [], [])
    for number, frame in enumerate(motion.frames):
        if lag is not None and number >= lag:
            encoder.acknowledge((number - lag) & 0xFFFF)
        started = time.perf_counter()
        data = encoder.encode(frame, number & 0xFFFF)
        encoded = time.perf_counter()
        decoded = decoder.decode(data, number & 0xFFFF)
        result.decode_s.append(time.perf_counter() - encoded)
        result.encode_s.append(encoded - started)
        result.encoded.append(data)
        if not isinstance(decoded, AnimationFrame):
            raise AssertionError(f"frame {number} lost its baseline")
        if not motion.speech[number]:
            continue
        parts = encoder.parts
        result.frame_bytes.append(len(data))
        result.header_bits.append(parts.header)
        result.weight_bits.append(parts.weights)
        result.joint_bits.append(parts.joints)
        result.squared_error += float(np.square(decoded.weights - frame.weights, dtype=np.float64).sum())
        cosine = np.abs((decoded.joints.astype(np.float64) * frame.joints).sum(axis=1))
        sine = np.linalg.norm(decoded.joints - frame.joints, axis=1).max()
        if cosine.min() > 0.5:
            result.joint_error_deg_max = max(result.joint_error_deg_max, float(np.degrees(2.0 * sine)))
    return result


def _animate(utterances: list[_Utterance], seed: int) -> _Motion:
    """One session: utterances with pauses between them, exactly as the POP would draw them."""
    animator = Animator(capacity=1)
    slot = animator.open(seed=seed)
    frames: list[AnimationFrame] = []
    speech: list[bool] = []

    def draw(row: AnimatorRow, speaks: bool) -> None:
        row.media_time = len(frames) * TICK_SAMPLES
        frames.append(animator.animate([row]).frames()[0])
        speech.append(speaks)

    for utterance_id, utterance in enumerate(utterances, 1):
        animator.speech_start(slot, utterance_id)
        animator.speech_phonemes(slot, utterance_id, utterance.phonemes)
        for before in range(-_GAP_FRAMES, 0):
            state = FaceState.LISTENING if before < -_GAP_FRAMES // 2 else FaceState.THINKING
            draw(AnimatorRow(slot=slot, media_time=0, state=state), speaks=False)
        for index, log_mel in enumerate(utterance.log_mel):
            row = AnimatorRow(
                slot=slot, media_time=0, state=FaceState.SPEAKING, utterance_id=utterance_id,
                utterance_ticks=index * TICK_SAMPLES, log_mel=log_mel,
            )  # fmt: skip
            draw(row, speaks=True)
    return _Motion(frames, np.array(speech))


def _spoken(voices: int) -> list[_Utterance]:
    """Have the sentences spoken; espeak-ng is never loaded into this process."""
    command = [sys.executable, "-m", "loadtests.bench.wire", "--speak", str(voices)]
    process = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own module
    if process.returncode != 0:
        reason = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError(f"espeak-ng could not speak ({reason}); install the extra: pip install 'visavis[espeak]'")
    return [
        _Utterance(
            [PhonemeSpan(*span) for span in spoken["phonemes"]],
            [b64decode(frame) for frame in spoken["log_mel"]],
        )
        for spoken in json.loads(process.stdout)
    ]


def _speak(voices: int) -> None:
    """The other process: print phonemes on the media clock and log-mel frames as JSON."""
    from core.speech.features import log_mel_frames
    from origin.dialogue.espeak import Espeak, VoiceSettings

    espeak = Espeak()
    rate = espeak.sample_rate_hz
    result: list[dict[str, object]] = []
    for name, words_per_minute in _VOICES[:voices]:
        espeak.set_voice(VoiceSettings(name=name, rate_wpm=words_per_minute, pitch=50, range=50))
        for sentence in _SENTENCES:
            spoken = espeak.speak(sentence)
            if spoken is None:
                raise AssertionError("nobody cancelled")
            spans = [
                (symbol, start * MEDIA_CLOCK_HZ // rate, end * MEDIA_CLOCK_HZ // rate, stress)
                for symbol, start, end, stress in spoken.phonemes
            ]
            log_mel = [b64encode(frame.tobytes()).decode() for frame in log_mel_frames(spoken.pcm, rate)]
            result.append({"phonemes": spans, "log_mel": log_mel})
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    if sys.argv[1:2] != ["--speak"]:
        sys.exit("run this as: python -m loadtests.bench wire")
    _speak(int(sys.argv[2]))
