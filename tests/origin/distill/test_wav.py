from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import ConfigError
from origin.distill.wav import check_recording, read_wav
from tests.origin.distill.test_recordings import write_wav

TONE = 0.3 * np.sin(np.arange(32_000) * 0.1)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_of_pcm_is_read(tmp_path: Path, width: int) -> None:
    write_wav(tmp_path / "a.wav", np.repeat(TONE, 2), width=width, channels=2)
    samples, rate = read_wav(tmp_path / "a.wav")
    assert rate == 16_000
    assert np.abs(samples - TONE).max() < 0.02


@pytest.mark.parametrize(
    ("spoil", "rate", "reason"),
    [
        (lambda tone: tone, 8_000, "8000 Hz; 16000 Hz or more"),
        (lambda tone: tone * 0.0, 16_000, "is silent"),
        (lambda tone: np.clip(tone * 20.0, -1.0, 1.0), 16_000, "is clipped"),
        (lambda tone: tone + 0.3, 16_000, r"offset of \+30%"),
    ],
    ids=["8 kHz", "silence", "clipping", "DC"],
)
def test_sound_that_nothing_can_be_learnt_from_is_refused_by_name(spoil, rate, reason, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "bad.wav"
    with pytest.raises(ConfigError, match=rf"bad\.wav .*{reason}"):
        check_recording(path, spoil(TONE).astype(np.float32), rate)


def test_good_sound_passes() -> None:
    check_recording(Path("good.wav"), TONE.astype(np.float32), 16_000)
