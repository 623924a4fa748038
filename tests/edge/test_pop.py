"""A POP whose student is damaged: it says so in one sentence, everywhere somebody looks, and the rules serve."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest

from core.fabric.memory import MemoryBus, MemoryStore
from core.host.clock import SystemClock
from core.host.entropy import SeededEntropy
from edge.certificates import load_certificates
from edge.config import EdgeConfig
from edge.pop import _Parts, make_animator
from edge.student import find_student_files

FOLDER, FILES = find_student_files()
HIGH = FILES.models["fp32"]["high"]
STYLE = FILES.styles["mira"]


def models(tmp_path: Path, **replaced: bytes) -> Path:
    """The student's files with some of them replaced, their sums in the manifest made right."""
    folder = tmp_path / "models"
    folder.mkdir()
    for path in FOLDER.glob("student*"):
        shutil.copy(path, folder)
    manifest = json.loads((folder / "student.json").read_bytes())
    for name, data in replaced.items():
        file = {"high": HIGH, "style": STYLE}[name]
        (folder / file).write_bytes(data)
        manifest["sha256"][file] = hashlib.sha256(data).hexdigest()
    (folder / "student.json").write_text(json.dumps(manifest))
    return folder


def npy(array: np.ndarray, tmp_path: Path) -> bytes:
    np.save(tmp_path / "array.npy", array)
    return (tmp_path / "array.npy").read_bytes()


def damaged(kind: str, tmp_path: Path) -> Path:
    match kind:
        case "truncated":
            folder = models(tmp_path)
            (folder / HIGH).write_bytes((FOLDER / HIGH).read_bytes()[:1_000])
            return folder
        case "no onnx":
            return models(tmp_path, high=b"\x08\x07garbage" * 50)
        case "another network":
            return models(tmp_path, high=(FOLDER / "silero_vad.onnx").read_bytes())
        case "another rig":
            return models(tmp_path, style=npy(np.zeros(7, np.float32), tmp_path))
        case "no character":
            return models(tmp_path, style=b"PK")
        case "manifest":
            folder = models(tmp_path)
            (folder / "student.json").write_text('{"layout": "one"}')
            return folder
        case _:
            return tmp_path / "nowhere"


@pytest.mark.parametrize(
    "kind", ["truncated", "no onnx", "another network", "another rig", "no character", "manifest", "missing"]
)
def test_a_damaged_student_is_refused_by_name_and_the_rules_serve(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = EdgeConfig(animator_models=damaged(kind, tmp_path), animator_precision="fp32", capacity=2)
    animator, refusal = make_animator(config)
    assert animator.student is None
    assert animator.tier(animator.open(seed=1, character="mira")) == "rules"
    named = {"another rig": STYLE, "no character": STYLE, "manifest": "student.json", "missing": "student.json"}
    assert named.get(kind, HIGH) in refusal
    assert "\n" not in refusal
    [record] = [record for record in caplog.records if record.name == "edge.pop"]
    assert record.levelname == "ERROR"
    assert refusal in record.getMessage()


def test_a_pop_that_cannot_compile_serves_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge.pop.load_compiled", lambda: (None, "numba cannot be used here: no LLVM"))
    animator, refusal = make_animator(EdgeConfig(animator_precision="fp32", capacity=2))
    assert animator.student is not None and not animator.compiled
    assert not refusal
    assert "numba cannot be used here" in caplog.text
    animator, _ = make_animator(EdgeConfig(animator_precision="fp32", animator_compiled=False, capacity=2))
    assert not animator.compiled


def test_rules_may_be_asked_for_and_a_precision_too() -> None:
    animator, refusal = make_animator(EdgeConfig(animator="rules"))
    assert (animator.student, refusal) == (None, "")
    animator, refusal = make_animator(EdgeConfig(animator_precision="int8"))
    assert animator.student is not None
    assert (animator.student.precision, refusal) == ("int8", "")


async def looked_at(config: EdgeConfig) -> tuple[dict[str, object], str]:
    """What a whole POP says of its animator in /healthz and /metrics."""
    parts = _Parts(
        config, MemoryBus(), MemoryStore(), SystemClock(), SeededEntropy(1), None, load_certificates(None, None)
    )
    transport = httpx.ASGITransport(parts.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://pop") as client:
        health = await client.get("/healthz")
        assert health.status_code == 200
        metrics = await client.get("/metrics")
    await parts.transport.aclose()
    await asyncio.sleep(0)
    animator = health.json()["animator"]
    assert isinstance(animator, dict)
    return animator, metrics.text


async def test_health_and_metrics_tell_who_moves_the_faces(tmp_path: Path) -> None:
    health, metrics = await looked_at(EdgeConfig(port=0, animator_precision="fp32"))
    assert health == {
        "tier": "student",
        "precision": "fp32",
        "compiled": True,
        "sessions": {"high": 0, "medium": 0, "low": 0, "rules": 0},
    }
    assert 'edge_animator_student{state="fp32"} 1.0' in metrics
    assert 'edge_animator_sessions{tier="high"} 0.0' in metrics
    assert 'edge_phase_load{until="done"} 0.0' in metrics
    health, metrics = await looked_at(EdgeConfig(port=0, animator_models=damaged("truncated", tmp_path)))
    assert health["tier"] == "rules"
    assert HIGH in str(health["refused"])
    assert 'edge_animator_student{state="refused"} 1.0' in metrics
