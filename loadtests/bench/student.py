"""The student animator: how near it comes to its teacher on voices and sentences it never heard, and what it costs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.limits import LOG_MEL_BANDS
from core.speech.coarticulation import BEAT_COLUMN, SoundTable, Utterance, resolve
from core.speech.features import log_mel, window_samples
from core.speech.messages import PhonemeSpan
from core.speech.student_layout import FIDELITIES, INPUTS, MOUTH, PLAN
from edge.student import PRECISIONS, Student, StudentFiles, find_student_files
from loadtests.bench.harness import Result
from origin.distill.evaluate import natural_speech, trial_files
from origin.distill.examine import Examined, answer, examine, open_model
from origin.distill.measure import HEARD, Measured, exam, measure, measure_character
from origin.distill.ship import read_record
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
    parser.add_argument("--trials", type=Path, help="folder of what `visavis distill quantize` only tried")
    parser.add_argument("--models", type=Path, help="folder of the student (default: edge/models)")


def run(options: argparse.Namespace) -> Result:
    """Measure."""
    folder, files = find_student_files(options.models)
    clips, lessons = exam(_MINUTES_QUICK if options.quick else _MINUTES, seed=_SEED)
    measured = measure(folder, files.models, clips, lessons, _BATCHES)
    table: dict[str, dict[str, Any]] = {"rules, phonemes": _row(measured.rules)}
    for precision, names in files.models.items():
        for fidelity, name in names.items():
            for heard in HEARD:
                table[f"{precision} {fidelity}, {heard}"] = _row(measured.rows[name].examined[heard])
    high = folder / files.models["fp32"]["high"]
    for style in load_styles():
        if style.name in files.styles:
            film = np.load(folder / files.styles[style.name], allow_pickle=False)
            table[f"fp32 high, phonemes, {style.name}"] = _row(measure_character(high, style, film, clips))
    heard_again = answer(open_model(high), [clip.heard[0] for clip in clips], None)
    table["fp32 high, audio, recorded"] = _row(examine(heard_again, lessons))
    figures = _figures(folder, files, measured)
    costs = _costs(folder, list(PRECISIONS), 30 if options.quick else 150)
    figures["us_per_frame_b64"] = min(costs[f"{precision} high"]["64"] for precision in PRECISIONS)
    figures["us_per_frame_b64_with_features"] = _with_features(folder, 30 if options.quick else 100)
    if options.natural is not None:
        natural = natural_speech(options.natural, high)
        table["fp32 high, audio, natural"] = _row(natural)
        figures["r_jaw_natural"] = natural.marks.r["jaw"]
        figures["r_mean_mouth_natural"] = natural.marks.r_mean_mouth
    details = {"marks": table, "us_per_frame": costs, "clips": len(clips), "record": read_record(folder)}
    details["steps"] = _steps(measured, files.models)
    if options.trials is not None:
        tried = trial_files(options.trials)
        details["trials"] = _steps(measure(options.trials, tried, clips, lessons, _BATCHES), tried)
    return Result(figures=figures, details=details)


def _figures(folder: Path, files: StudentFiles, measured: Measured) -> dict[str, float]:
    """Of the marks and sizes; "high" where nothing else is said."""

    def marks(precision: str, heard: str) -> Examined:
        return measured.rows[files.models[precision]["high"]].examined[heard]

    with_phonemes, audio = marks("fp32", "phonemes"), marks("fp32", "audio")
    figures = {
        "mae_phonemes": with_phonemes.marks.mae_mouth,
        "mae_max_phonemes": max(with_phonemes.marks.mae.values()),
        "r_min_mouth_phonemes": with_phonemes.marks.r_min_mouth,
        "r_min_mouth_rules": measured.rules.marks.r_min_mouth,
        "r_min_mouth_audio": audio.marks.r_min_mouth,
        "r_mean_mouth_audio": audio.marks.r_mean_mouth,
        "closure_recall": with_phonemes.closures.recall,
        "closure_recall_audio": audio.closures.recall,
        "size_bytes_all": float(sum((folder / name).stat().st_size for name in files.sha256)),
    }
    if "int8" in files.models:
        apart = [marks("int8", heard).marks.mae_mouth - marks("fp32", heard).marks.mae_mouth for heard in HEARD]
        sizes = [(folder / name).stat().st_size for name in files.models["int8"].values()]
        figures |= {"int8_mae_delta": max(apart), "size_bytes_int8": float(sum(sizes))}
    return figures


def _steps(measured: Measured, files: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """What each step of compression costs and saves; the model alone, one thread."""
    rows = {}
    for precision, names in files.items():
        for fidelity, name in names.items():
            row = measured.rows[name]
            rows[f"{precision} {fidelity}"] = {
                "size_bytes": row.size_bytes,
                "us_per_frame": {str(batch): round(cost, 2) for batch, cost in row.us_per_frame.items()},
                **{f"mae_{heard}": round(row.examined[heard].marks.mae_mouth, 5) for heard in HEARD},
                **{f"r_min_mouth_{heard}": round(row.examined[heard].marks.r_min_mouth, 4) for heard in HEARD},
            }
    return rows


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
    table, mouths = SoundTable(count), np.arange(count)
    utterance = Utterance()
    utterance.add([PhonemeSpan("ɑ", k * 4_800, (k + 1) * 4_800) for k in range(8)])
    sounds = utterance.take(9_600)
    for mouth in range(count):
        table.put([mouth] * len(sounds), sounds)
    times = np.full(count, 0.2)
    inputs = np.zeros((count, INPUTS), np.float32)
    plan = inputs[:, LOG_MEL_BANDS : LOG_MEL_BANDS + len(PLAN)]
    plan[:, PLAN.index("planned")] = 1.0

    def tick() -> None:
        np.multiply(log_mel(windows, _FEATURE_RATE_HZ), np.float32(1.0 / 255.0), out=inputs[:, :LOG_MEL_BANDS])
        rows = table.sample(mouths, times)
        mouth, seals = resolve(rows)
        plan[:, : mouth.shape[1]] = mouth
        plan[:, mouth.shape[1] : len(MOUTH)] = seals
        plan[:, PLAN.index("beat")] = rows[:, BEAT_COLUMN]
        student.run(slots, inputs)

    return _median_us(tick, rounds) / count
