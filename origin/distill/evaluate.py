"""The examination of what is shipped: a report with pictures, and a card for every artefact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from core.errors import ConfigError
from core.speech.student_layout import FIDELITIES
from origin.distill.cards import write_cards
from origin.distill.examine import Examined, answer, examine, lessons_of, open_model
from origin.distill.measure import Measured, exam, measure, measure_character
from origin.distill.recordings import load_recordings
from origin.distill.report import page
from origin.distill.ship import MANIFEST, model_name, read_manifest, read_record, write_record
from origin.distill.teacher import load_styles

__all__ = ["evaluate", "natural_speech", "trial_files"]

_MINUTES: Final = 3.0
_SEED: Final = 3
"""Neither the corpus's own nor the benchmark's."""
_TRIED: Final = ("pruned", "int4")


def evaluate(
    models: Path, folder: Path, *, natural: Path | None = None, trials: Path | None = None, plain: Path | None = None,
    cards: bool = False, minutes: float = _MINUTES, progress: Callable[[float, str], None] = lambda done, note: None,
) -> Path:  # fmt: skip
    """Examine the shipped models on unheard voices and write `student.html`.

    Args:
        models: folder with the manifest. folder: where to write.
        natural: folder of recordings with texts.
        trials: folder of what `quantize` only tried; marked where it is there.
        plain: folder of a training without augmentation; compared on `natural` where both are there.
        minutes: of speech to examine on.
        cards: also write the cards and the findings into the training's record, beside the models.
        progress: called with the part that is done and a note.
    Returns: the report.
    Raises: ConfigError: there are no models, or the recordings cannot be read.
    """
    manifest, record = read_manifest(models), read_record(models)
    clips, lessons = exam(minutes, seed=_SEED)
    progress(0.1, "exam")
    measured = measure(models, manifest["models"], clips, lessons)
    progress(0.5, "models")
    if trials is not None and (tried := trial_files(trials)):
        record["compression"] = _compression(measured, manifest, measure(trials, tried, clips, lessons))
    progress(0.6, "trials")
    high = models / manifest["models"]["fp32"]["high"]
    characters = {}
    for style in load_styles():
        if style.name in manifest["styles"]:
            film = np.load(models / manifest["styles"][style.name], allow_pickle=False)
            characters[style.name] = measure_character(high, style, film, clips)
    progress(0.8, "characters")
    people: dict[str, Examined] = {}
    if natural is not None:
        people["after"] = natural_speech(natural, high)
        if plain is not None and (plain / MANIFEST).is_file():
            people["before"] = natural_speech(natural, plain / read_manifest(plain)["models"]["fp32"]["high"])
            record["augmentation"] = _augmentation(people, read_record(plain))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "student.html"
    path.write_text(page(measured, manifest, record, characters, people), encoding="utf-8")
    if cards:
        write_record(models, record)
        write_cards(models, manifest, record, measured, characters)
    progress(1.0, "")
    return path


def trial_files(folder: Path) -> dict[str, dict[str, str]]:
    """What `quantize` left in a folder of trials: precision → fidelity → file."""
    found = {precision: model_name(precision, "high") for precision in _TRIED}
    return {precision: {"high": name} for precision, name in found.items() if (folder / name).is_file()}


def natural_speech(folder: Path, model: Path) -> Examined:
    """People's recordings, by ear alone; the reference is the teacher on a forced alignment.

    Raises: ConfigError: no recording has a text.
    """
    clips = [clip for clip in load_recordings(folder) if clip.weights is None]
    if not clips:
        raise ConfigError(f"{folder} holds no recording with a text")
    return examine(answer(open_model(model), [clip.clean for clip in clips], None), lessons_of(clips))


def _compression(measured: Measured, manifest: Mapping[str, Any], tried: Measured) -> list[dict[str, Any]]:
    """One line per step, of the high fidelity, and of the smaller ones that were trained small from the beginning."""
    files = manifest["models"]
    wanted = [("fp32 " + fidelity, files["fp32"][fidelity], measured) for fidelity in FIDELITIES]
    wanted += [("int8 " + fidelity, name, measured) for fidelity, name in files.get("int8", {}).items()]
    wanted += [(f"{precision} high", model_name(precision, "high"), tried) for precision in _TRIED]
    lines = []
    for step, name, source in wanted:
        if name not in source.rows:
            continue
        row = source.rows[name]
        phonemes, audio = row.examined["phonemes"].marks, row.examined["audio"].marks
        lines.append(
            {
                "step": step, "size_bytes": row.size_bytes,
                "mae_phonemes": round(phonemes.mae_mouth, 5), "mae_audio": round(audio.mae_mouth, 5),
                "r_min_phonemes": round(phonemes.r_min_mouth, 4), "r_mean_audio": round(audio.r_mean_mouth, 4),
                "us_per_frame_b1": round(row.us_per_frame[1], 1), "us_per_frame_b64": round(row.us_per_frame[64], 2),
            }
        )  # fmt: skip
    return lines


def _augmentation(people: Mapping[str, Examined], plain: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "plain_steps": plain.get("training", {}).get("steps"),
        **{
            f"r_natural_{when}": {name: round(value, 3) for name, value in people[when].marks.r.items()}
            for when in ("before", "after")
        },
    }
