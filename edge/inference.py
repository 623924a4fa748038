"""The only importer of onnxruntime: loads models, and runs Silero's voice activity model for many sessions at once.

The model file lies in `edge/models` with its licence, so that a POP needs nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, cast

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from core.errors import ConfigError

__all__ = [
    "VAD_SAMPLE_RATE_HZ",
    "VAD_WINDOW_SAMPLES",
    "Model",
    "VadState",
    "VoiceActivity",
    "find_vad_model",
    "load_model",
]


class _Value(Protocol):
    name: str
    shape: list[int | str]


class Model(Protocol):
    """What of onnxruntime.InferenceSession is used."""

    def run(self, names: None, feed: Mapping[str, NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        """All outputs for these inputs, by name."""

    def get_inputs(self) -> Sequence[_Value]:
        """What it takes."""

    def get_outputs(self) -> Sequence[_Value]:
        """What it gives."""


VAD_SAMPLE_RATE_HZ: Final = 16_000
VAD_WINDOW_SAMPLES: Final = 512
"""32 ms: the model takes nothing else at 16 kHz."""
_CONTEXT_SAMPLES: Final = 64
_FILE: Final = "silero_vad.onnx"


class VadState:
    """What the model remembers of one session.

    Attributes:
        hidden: recurrent state, float32[2, 128].
        context: the last 64 samples, float32[64].
    """

    __slots__ = ("context", "hidden")

    def __init__(self) -> None:
        self.hidden = np.zeros((2, 128), np.float32)
        self.context = np.zeros(_CONTEXT_SAMPLES, np.float32)

    def reset(self) -> None:
        """Forget what was heard."""
        self.hidden[:] = 0.0
        self.context[:] = 0.0


class VoiceActivity:
    """Silero VAD, shared by all sessions of a process.

    Args:
        model: path of silero_vad.onnx; None: the one in edge/models.

    Raises: ConfigError: the model cannot be found or loaded.
    """

    def __init__(self, model: Path | None = None) -> None:
        path = model if model is not None else find_vad_model()
        self._session = load_model(path, "the voice activity model")
        self._rate = np.array(VAD_SAMPLE_RATE_HZ, np.int64)

    def run(self, states: Sequence[VadState], windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """One window of every session.

        Args:
            states: each session's memory, updated in place; no state twice.
            windows: 16 kHz sound in [-1, 1], float32[len(states), 512].

        Returns: probability of speech per session, float32[len(states)].
        """
        context = np.stack([state.context for state in states])
        hidden = np.stack([state.hidden for state in states], axis=1)
        sound = np.concatenate((context, windows), axis=1)
        output, following = self._session.run(None, {"input": sound, "state": hidden, "sr": self._rate})
        for row, state in enumerate(states):
            state.hidden[:] = following[:, row]
            state.context[:] = windows[row, -_CONTEXT_SAMPLES:]
        probabilities: NDArray[np.float32] = output[:, 0]
        return probabilities


def load_model(path: Path, what: str) -> Model:
    """An ONNX model, ready to run on one thread.

    Args:
        what: it is, for the error.
    Raises: ConfigError: it cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1  # the tick shares its core with nobody's thread pool
    options.log_severity_level = 3
    try:
        return cast("Model", onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
    except Exception as error:  # onnxruntime has no common base class of its errors
        raise ConfigError(f"{what} {path} cannot be loaded: {error}") from error


def find_vad_model() -> Path:
    """Where silero_vad.onnx is.

    Raises: ConfigError: the file is missing: the installation is damaged.
    """
    path = Path(__file__).parent / "models" / _FILE
    if not path.is_file():
        raise ConfigError(f"{path} is missing: install the package again")
    return path
