"""Model cards: for every artefact one page of Markdown, generated: it says what was measured and nothing else."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from core.speech.student_layout import LAYOUT_VERSION
from origin.distill.examine import Examined
from origin.distill.marks import MOUTH_CHANNELS
from origin.distill.measure import Measured, Row
from origin.distill.ship import style_name

__all__ = ["CARDS", "card_name", "write_adapted_card", "write_cards"]

CARDS: Final = "cards"
"""Folder beside the models."""
_LICENCE: Final = (
    "Apache-2.0, as the rest of Visavis. The speech it learnt from was made by espeak-ng (GPL-3.0, a program of its "
    "own; its output is not under its licence), by flite's voices (CMU, BSD-like), and varied by the spectra of "
    "PocketSphinx's acoustic model (CMU, BSD-like)."
)
_LIMITS: Final = (
    "Made for lip-synced faces of synthetic characters. English only. It animates a voice; it neither recognises words "
    "nor speakers. Its teacher is a set of rules, not a filmed person."
)


def card_name(file: str) -> str:
    """The card of a file of the manifest."""
    return f"{CARDS}/{Path(file).stem}.md"


def write_cards(
    models: Path, manifest: Mapping[str, Any], record: Mapping[str, Any], measured: Measured,
    characters: Mapping[str, Examined],
) -> None:  # fmt: skip
    """Write a card for every file of the manifest; cards of lost files leave, those of adapted characters stay.

    Args:
        models: folder of the manifest.
        record: of the training.
        measured: marks and costs of all models.
        characters: name → marks with phonemes.
    """
    folder = models / CARDS
    folder.mkdir(exist_ok=True)
    kept = {Path(card_name(style_name(name))).name for name in set(manifest["styles"]) - set(characters)}
    for old in folder.glob("*.md"):
        if old.name not in kept:
            old.unlink()
    for precision, files in manifest["models"].items():
        for fidelity, file in files.items():
            title = f"Student animator, fidelity {fidelity}, {precision}"
            _write(models, manifest, record, file, title, _accuracy(measured.rows[file]), _cost(measured.rows[file]))
    for name, marks in characters.items():
        _write(models, manifest, record, style_name(name), f"Character {name}", _table({"with phonemes": marks}), [])


def write_adapted_card(
    models: Path, manifest: Mapping[str, Any], record: Mapping[str, Any], name: str, score: Mapping[str, Any]
) -> None:
    """Write the card of a character that was fitted to recordings.

    Args:
        score: of `origin.distill.school.adapt_and_ship`.
    """
    (models / CARDS).mkdir(exist_ok=True)
    told = [
        f"Fitted, seed {score['seed']}, to {score['material_s']} s of recordings of which {score['held_out_s']} s were "
        "held out; whoever gave them decides about the licence of this file. There the mean absolute error of the "
        f"mouth's weights is {score['error_after']}; the neutral character's is {score['error_before']}."
    ]
    _write(models, manifest, record, style_name(name), f"Character {name}", told, [])


def _write(
    models: Path, manifest: Mapping[str, Any], record: Mapping[str, Any], file: str, title: str, accuracy: list[str],
    cost: list[str],
) -> None:  # fmt: skip
    corpus, training = record.get("corpus", {}), record.get("training", {})
    lines = [
        f"# {title}",
        "",
        "| | |", "|---|---|",
        f"| file | `{file}` |",
        f"| SHA-256 | `{manifest['sha256'][file]}` |",
        f"| size | {(models / file).stat().st_size:,} bytes |",
        f"| layout | {LAYOUT_VERSION}, ONNX opset {training.get('opset', 'unknown')} |",
        f"| data | {corpus.get('minutes')} min of synthesised English speech, {corpus.get('clips')} utterances, "
        f"{corpus.get('voices')} voices, {corpus.get('part_by_people')} of it by voices learnt from people, each also "
        f"as {corpus.get('recordings_of_each')} other microphones and speakers hear and say it; "
        f"SHA-256 `{corpus.get('sha256')}` |",
        f"| training | seed {training.get('seed')}, {training.get('steps')} steps of {training.get('batch')} x "
        f"{training.get('frames')} frames, PyTorch {training.get('torch')}, {training.get('threads')} threads, "
        f"{training.get('seconds')} s |",
        *cost,
        f"| licence | {_LICENCE} |",
        f"| for what | {_LIMITS} |",
        "",
        "## Accuracy",
        "Against the teacher, on voices and sentences that were never trained on.",
        "",
        *accuracy,
    ]  # fmt: skip
    (models / card_name(file)).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cost(row: Row) -> list[str]:
    costs = ", ".join(f"{cost:.1f} µs at batch {batch}" for batch, cost in row.us_per_frame.items())
    return [f"| cost per frame | {costs}; the model alone, one thread of {_processor()} |"]


def _accuracy(row: Row) -> list[str]:
    return _table({"with phonemes": row.examined["phonemes"], "by ear": row.examined["audio"]})


def _table(columns: Mapping[str, Examined]) -> list[str]:
    heads = [f"{title}: {what}" for title in columns for what in ("r", "MAE")]
    lines = ["| channel | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name in MOUTH_CHANNELS:
        cells = [f"{each.marks.r[name]:.3f} | {each.marks.mae[name]:.4f}" for each in columns.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    recalls = [f"{each.closures.recall:.3f} | " for each in columns.values()]
    return [*lines, "| closures found | " + " | ".join(recalls) + " |"]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
