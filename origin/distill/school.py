"""From a corpus to files that a POP can load."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.speech.student_layout import FIDELITIES
from origin.distill.corpus import load
from origin.distill.export import OPSET, export, weights_of
from origin.distill.lessons import prepare
from origin.distill.quantize import quantize
from origin.distill.ship import model_name, write_manifest, write_styles
from origin.distill.teacher import load_styles
from origin.distill.train import Trained, TrainingPlan, train

__all__ = ["quantize_and_ship", "ship", "train_and_ship"]

_RECORD = "student_training.json"


def train_and_ship(
    corpus: Path, models: Path, *, steps: int, seed: int, threads: int, progress: Callable[[float, str], None]
) -> None:
    """Train on a corpus and write the fp32 models, the characters and a record of how they were made.

    Args:
        threads: of the training; 0: one per core.
        progress: called with the part that is done and a note.
    Raises: ConfigError: there is no corpus.
    """
    torch.set_num_threads(threads or os.cpu_count() or 1)
    clips, styles = load(corpus), load_styles()
    lessons = prepare(clips, styles, seed=seed)
    began = time.monotonic()
    plan = TrainingPlan(steps=steps, seed=seed)
    trained = train(lessons, plan, progress=lambda done, loss: progress(done, f"loss {loss:.2f}"))
    progress(1.0, "")
    record = {
        "corpus_minutes": round(sum(len(clip.clean) for clip in clips) * 0.02 / 60.0, 1),
        "corpus_clips": len(clips),
        "corpus_sha256": hashlib.sha256(corpus.read_bytes()).hexdigest(),
        "seed": seed,
        "steps": steps,
        "training_s": round(time.monotonic() - began),
        "torch": torch.__version__,
        "opset": OPSET,
        "last_loss": round(trained.losses[-1], 3),
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
    (models / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    write_manifest(models)


def quantize_and_ship(corpus: Path, models: Path) -> None:
    """Make the INT8 models beside the fp32 ones. Raises: ConfigError: there is no corpus."""
    clips = load(corpus)
    for fidelity in FIDELITIES:
        quantize(models / model_name("fp32", fidelity), models / model_name("int8", fidelity), clips)
    write_manifest(models)
