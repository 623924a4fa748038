"""The student animator: how near it comes to its teacher on voices and sentences it never heard, and what it costs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import LOG_MEL_BANDS
from core.speech.coarticulation import BEAT_COLUMN, CURVE_COLUMNS, MouthCurve, resolve
from core.speech.features import log_mel, window_samples
from core.speech.messages import PhonemeSpan
from core.speech.student_layout import FIDELITIES, INPUTS, MOUTH, PLAN
from edge.student import Student, find_student_files
from loadtests.bench.harness import Result
from origin.distill.corpus import Clip, build
from origin.distill.examine import Examined, answer, examine, lessons_of, open_model, rules
from origin.distill.recordings import load_recordings
from origin.distill.teacher import load_styles

__all__ = ["DESCRIPTION", "add_arguments", "run"]

DESCRIPTION = "The student animator against its teacher on unheard voices, and its cost per frame"

_MINUTES: Final = 4.0
_MINUTES_QUICK: Final = 1.0
_SEED: Final = 2
"""Not the corpus's own."""
_BATCHES: Final = (1, 16, 64, 256)
_FEATURE_RATE_HZ: Final = 16_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The benchmark's own flags."""
    parser.add_argument(
        "--natural", type=Path, help="folder of recordings (WAV with text) to judge the audio-only face by"
    )
    parser.add_argument("--models", type=Path, help="folder of the student (default: edge/models)")


def run(options: argparse.Namespace) -> Result:
    """Measure."""
    folder, files = find_student_files(options.models)
    clips = build(_MINUTES_QUICK if options.quick else _MINUTES, seed=_SEED, held_out=True, situations=1)
    lessons = lessons_of(clips)
    table: dict[str, dict[str, Any]] = {"rules, phonemes": _row(examine(rules(lessons), lessons))}
    best: dict[str, Examined] = {}
    for precision in files.models:
        for fidelity in FIDELITIES:
            model = open_model(folder / files.models[precision][fidelity])
            for name, plans in (("phonemes", [lesson.plan for lesson in lessons]), ("audio", None)):
                examined = examine(answer(model, [clip.clean for clip in clips], plans), lessons)
                table[f"{precision} {fidelity}, {name}"] = _row(examined)
                best[f"{precision} {fidelity} {name}"] = examined
    table.update(_characters(folder, files.models, files.styles, clips))
    heard = answer(open_model(folder / files.models["fp32"]["high"]), [clip.heard[0] for clip in clips], None)
    table["fp32 high, audio, recorded"] = _row(examine(heard, lessons))
    with_phonemes, audio = best["fp32 high phonemes"], best["fp32 high audio"]
    figures = {
        "mae_phonemes": with_phonemes.marks.mae_mouth,
        "mae_max_phonemes": max(with_phonemes.marks.mae.values()),
        "r_min_mouth_phonemes": with_phonemes.marks.r_min_mouth,
        "r_min_mouth_audio": audio.marks.r_min_mouth,
        "r_mean_mouth_audio": audio.marks.r_mean_mouth,
        "closure_recall": with_phonemes.closures.recall,
        "closure_recall_audio": audio.closures.recall,
    }
    if "int8" in files.models:
        apart = [
            best[f"int8 high {name}"].marks.mae_mouth - best[f"fp32 high {name}"].marks.mae_mouth
            for name in ("phonemes", "audio")
        ]
        figures["int8_mae_delta"] = max(apart)
        figures["size_bytes_int8"] = float(
            sum((folder / name).stat().st_size for name in files.models["int8"].values())
        )
    figures["size_bytes_all"] = float(sum((folder / name).stat().st_size for name in files.sha256))
    costs = _costs(folder, list(files.models), 30 if options.quick else 150)
    figures["us_per_frame_b64"] = min(costs[f"{precision} high"]["64"] for precision in files.models)
    figures["us_per_frame_b64_with_features"] = _with_features(folder, 30 if options.quick else 100)
    if options.natural is not None:
        natural = _natural(options.natural, folder / files.models["fp32"]["high"])
        table["fp32 high, audio, natural"] = _row(natural)
        figures["r_jaw_natural"] = natural.marks.r["jaw"]
        figures["r_mean_mouth_natural"] = natural.marks.r_mean_mouth
    return Result(figures=figures, details={"marks": table, "us_per_frame": costs, "clips": len(clips)})


def _row(examined: Examined) -> dict[str, Any]:
    closures = examined.closures
    return {
        "r": {name: round(value, 4) for name, value in examined.marks.r.items()},
        "mae": {name: round(value, 5) for name, value in examined.marks.mae.items()},
        "closures": {
            "recall": round(closures.recall, 4),
            "precision": round(closures.precision, 4),
            "count": closures.count,
        },
    }


def _characters(
    folder: Path, models: dict[str, dict[str, str]], styles: dict[str, str], clips: list[Clip]
) -> dict[str, dict[str, Any]]:
    """Every character that the teacher knows, with phonemes."""
    model = open_model(folder / models["fp32"]["high"])
    rows = {}
    for style in load_styles():
        if style.name in styles:
            lessons = lessons_of(clips, style)
            film = np.load(folder / styles[style.name], allow_pickle=False)
            said = answer(model, [clip.clean for clip in clips], [lesson.plan for lesson in lessons], film)
            rows[f"fp32 high, phonemes, {style.name}"] = _row(examine(said, lessons))
    return rows


def _natural(folder: Path, model: Path) -> Examined:
    """Recordings of people, without phonemes; the reference is the teacher on a forced alignment."""
    clips = [clip for clip in load_recordings(folder) if clip.weights is None]
    if not clips:
        raise ConfigError(f"{folder} holds no recording with a text")
    lessons = lessons_of(clips)
    return examine(answer(open_model(model), [clip.clean for clip in clips], None), lessons)


def _costs(folder: Path, precisions: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Median microseconds per frame of the runner (gathering and scattering of states included), one thread."""
    costs: dict[str, dict[str, float]] = {}
    for precision in precisions:
        student = Student(folder, precision=precision, capacity=max(_BATCHES))
        slots = np.array([student.open() for _ in range(max(_BATCHES))], dtype=np.intp)
        for fidelity in FIDELITIES:
            for slot in slots.tolist():
                student.set_fidelity(slot, fidelity)
            costs[f"{precision} {fidelity}"] = {
                str(batch): round(_cost_us(student, slots[:batch], rounds) / batch, 2) for batch in _BATCHES
            }
    return costs


def _cost_us(student: Student, slots: NDArray[np.intp], rounds: int) -> float:
    inputs = np.random.default_rng(len(slots)).random((len(slots), INPUTS), dtype=np.float32)
    return _median_us(lambda: student.run(slots, inputs), rounds)


def _median_us(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times) * 1e6)


def _with_features(folder: Path, rounds: int) -> float:
    """A tick of 64 sessions from sound and phonemes to answers, per frame.

    Log-mel of 16 kHz sound of all of them in one batch, the phonemes' mouth at the answered frame, the model.
    """
    count = 64
    student = Student(folder, capacity=count)
    slots = np.array([student.open() for _ in range(count)], dtype=np.intp)
    rng = np.random.default_rng(0)
    windows = (0.1 * rng.standard_normal((count, window_samples(_FEATURE_RATE_HZ)[1]))).astype(np.float32)
    curves = []
    for _ in range(count):
        curve = MouthCurve()
        curve.add([PhonemeSpan("ɑ", k * 4_800, (k + 1) * 4_800) for k in range(8)])
        curves.append(curve)
    inputs = np.zeros((count, INPUTS), np.float32)
    plan = inputs[:, LOG_MEL_BANDS : LOG_MEL_BANDS + len(PLAN)]
    plan[:, PLAN.index("planned")] = 1.0

    def tick() -> None:
        np.multiply(log_mel(windows, _FEATURE_RATE_HZ), np.float32(1.0 / 255.0), out=inputs[:, :LOG_MEL_BANDS])
        rows = np.concatenate([curve.at(9_600) for curve in curves]).reshape(count, CURVE_COLUMNS)
        mouth, seals = resolve(rows)
        plan[:, : mouth.shape[1]] = mouth
        plan[:, mouth.shape[1] : len(MOUTH)] = seals
        plan[:, PLAN.index("beat")] = rows[:, BEAT_COLUMN]
        student.run(slots, inputs)

    return _median_us(tick, rounds) / count
