"""What training leaves for a POP: models, characters, the manifest with every file's SHA-256."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.speech.student_layout import FIDELITIES, LAYOUT_VERSION

__all__ = [
    "MANIFEST", "RECORD", "model_name", "read_manifest", "read_record", "style_name",
    "write_manifest", "write_record", "write_styles",
]  # fmt: skip

MANIFEST = "student.json"
RECORD = "student_training.json"
"""How the weights were made; not read by a POP."""


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


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a folder's manifest names: "layout", "models", "styles", "sha256".

    Raises: ConfigError: there is none, or it names no fp32 models.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not all(name in manifest["models"]["fp32"] for name in FIDELITIES):
            raise ValueError("fp32 models of some fidelities are missing")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} does not name a student: {error}") from None
    return manifest


def read_record(folder: Path) -> dict[str, Any]:
    """How a folder's weights were made; empty where nobody wrote it down."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write down how a folder's weights were made."""
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


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
