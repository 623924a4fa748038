"""From a corpus to files that a POP can load."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.errors import ConfigError
from core.speech.student_layout import FIDELITIES, HIDDEN_WIDTHS
from origin.distill.adapt import adapt
from origin.distill.cards import write_adapted_card
from origin.distill.corpus import about, load
from origin.distill.export import OPSET, checksum, export, read_weights, weights_of
from origin.distill.lessons import prepare
from origin.distill.prune import prune
from origin.distill.quantize import quantize, quantize_four_bits
from origin.distill.recordings import load_recordings
from origin.distill.ship import (
    model_name,
    read_manifest,
    read_record,
    style_name,
    write_manifest,
    write_record,
    write_styles,
)
from origin.distill.student import Student
from origin.distill.teacher import NEUTRAL, load_styles
from origin.distill.train import Trained, TrainingPlan, train

__all__ = ["adapt_and_ship", "quantize_and_ship", "ship", "train_and_ship"]

_REPEATS = (
    "The same corpus file, seed, threads, PyTorch and kind of processor give the same bytes; another number of threads "
    "or another processor adds floating-point numbers in another order. The corpus itself repeats from its seed but "
    "for espeak-ng's flutter, which draws its own numbers."
)
_NAME = re.compile(r"[a-z0-9-]{1,32}")


def train_and_ship(
    corpus: Path, models: Path, plan: TrainingPlan, *, threads: int, progress: Callable[[float, str], None]
) -> None:
    """Train on a corpus and write the fp32 models, the characters and a record of how they were made.

    Args:
        models: folder to write to.
        plan: how.
        threads: of the training; 0: one per core.
        progress: called with the part that is done and a note.
    Raises: ConfigError: there is no corpus.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    clips, styles = load(corpus), load_styles()
    lessons = prepare(clips, styles, seed=plan.seed)
    began = time.monotonic()
    trained = train(lessons, plan, progress=lambda done, loss: progress(done, f"loss {loss:.2f}"))
    progress(1.0, "")
    record = {
        "corpus": {**about(clips), "sha256": checksum(corpus)},
        "training": {
            **dataclasses.asdict(plan),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "threads": torch.get_num_threads(),
            "seconds": round(time.monotonic() - began),
            "last_loss": round(trained.losses[-1], 3),
            "torch": torch.__version__,
            "opset": OPSET,
        },
        "repeats": _REPEATS,
    }
    ship(trained, [style.name for style in styles], models, record)


def ship(trained: Trained, names: list[str], models: Path, record: dict[str, Any]) -> None:
    """Write the models and characters of a training."""
    models.mkdir(parents=True, exist_ok=True)
    weights = weights_of(trained.student)
    for fidelity in FIDELITIES:
        export(models / model_name("fp32", fidelity), weights, fidelity)
        (models / model_name("int8", fidelity)).unlink(missing_ok=True)  # of an older training
    write_styles(models, {name: np.asarray(style) for name, style in zip(names, trained.styles, strict=True)})
    write_record(models, record)
    write_manifest(models)


def quantize_and_ship(
    corpus: Path, models: Path, trials: Path, plan: TrainingPlan, *, progress: Callable[[float, str], None]
) -> None:
    """Make the INT8 models beside the fp32 ones, and in a folder of its own what is only tried: 4 bits, pruned.

    Args:
        plan: how the pruned network learns to do without its units.
        progress: called with the part that is done and a note.
    Raises: ConfigError: there is no corpus, or no fp32 models.
    """
    clips = load(corpus)
    files = read_manifest(models)["models"]["fp32"]
    trials.mkdir(parents=True, exist_ok=True)
    for fidelity in FIDELITIES:
        quantize(models / files[fidelity], models / model_name("int8", fidelity), clips)
    write_manifest(models)
    high = models / files["high"]
    quantize_four_bits(high, trials / model_name("int4", "high"))
    lessons = prepare(clips, load_styles(), seed=plan.seed)
    names = [style.name for style in load_styles()]
    styles = np.stack([np.load(models / style_name(name), allow_pickle=False) for name in names])
    trained = Trained(Student.from_weights(read_weights(high)), styles, [])
    weights, widths = prune(
        lessons, trained, HIDDEN_WIDTHS["medium"], plan, progress=lambda done, loss: progress(done, f"loss {loss:.2f}")
    )
    export(trials / model_name("pruned", "high"), weights, "high", widths)


def adapt_and_ship(
    recordings: Path, models: Path, *, name: str, styles: Path | None, seed: int,
    progress: Callable[[float, str], None],
) -> dict[str, Any]:  # fmt: skip
    """Fit a character to recordings and put it beside the others.

    Returns: character, seed, file, error_before, error_after, material_s, held_out_s, lags_ms.
    Raises: ConfigError: the recordings, the styles, the models or the name are not usable; the text names the reason.
    """
    if not _NAME.fullmatch(name) or name == NEUTRAL.name:
        raise ConfigError(f"{name!r} is no name for a character: a-z, 0-9 and - (at most 32), and not {NEUTRAL.name}")
    clips = load_recordings(recordings)
    known = {style.name: style for style in load_styles(styles)}
    if name not in known and any(clip.weights is None for clip in clips):
        raise ConfigError(
            f"some recordings have only a text, and {name} is no style ({', '.join(known)}): see --styles"
        )
    fp32 = read_manifest(models)["models"]["fp32"]["high"]
    fitted = adapt(
        models, fp32, clips, style=known.get(name), seed=seed,
        progress=lambda done, loss: progress(done, f"loss {loss:.2f}"),
    )  # fmt: skip
    write_styles(models, {name: fitted.style})
    manifest = write_manifest(models)
    score = {
        "character": name,
        "seed": seed,
        "file": str(models / style_name(name)),
        "error_before": round(fitted.before, 5),
        "error_after": round(fitted.after, 5),
        "material_s": round(fitted.material_s, 2),
        "held_out_s": round(fitted.held_out_s, 2),
        "lags_ms": list(fitted.lags_ms),
    }
    write_adapted_card(models, manifest, read_record(models), name, score)
    return score
