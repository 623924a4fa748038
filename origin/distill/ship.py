"""What training leaves for a POP: models, characters, the manifest with every file's SHA-256."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.speech.student_layout import FIDELITIES, LAYOUT_VERSION

__all__ = ["MANIFEST", "model_name", "style_name", "write_manifest", "write_styles"]

MANIFEST = "student.json"


def model_name(precision: str, fidelity: str) -> str:
    """File name of a model."""
    return f"student_{fidelity}_{precision}.onnx"


def style_name(character: str) -> str:
    """File name of a character."""
    return f"student_style_{character}.npy"


def write_styles(folder: Path, styles: dict[str, NDArray[np.float32]]) -> None:
    """Write characters, float32[STYLE_WIDTH] each."""
    for name, style in styles.items():
        np.save(folder / style_name(name), style.astype(np.float32), allow_pickle=False)


def write_manifest(folder: Path) -> dict[str, object]:
    """Name everything of the student that lies in a folder, with its checksum. Returns what was written."""
    models: dict[str, dict[str, str]] = {}
    for precision in ("fp32", "int8"):
        names = {fidelity: model_name(precision, fidelity) for fidelity in FIDELITIES}
        if all((folder / name).is_file() for name in names.values()):
            models[precision] = names
    prefix, suffix = style_name("|").split("|")
    styles = {
        path.name.removeprefix(prefix).removesuffix(suffix): path.name
        for path in sorted(folder.glob(f"{prefix}*{suffix}"))
    }
    files = [*(name for names in models.values() for name in names.values()), *styles.values()]
    manifest: dict[str, object] = {
        "layout": LAYOUT_VERSION,
        "models": models,
        "styles": styles,
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest
