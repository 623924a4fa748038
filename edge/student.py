"""The student animator for many sessions: one run per fidelity, every session's memory in one arena, no reset ever.

A session has a slot. Its state is the same whatever fidelity, precision or character it has, so all of them may change
between two frames; a new character comes in over `STYLE_EASE_FRAMES`, so that no swap is seen as a jump. Nothing here
knows media time: one call is one frame of 20 ms of every session named in it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, LocalProtocolError
from core.limits import LOG_MEL_BANDS
from core.speech.student_layout import (
    FIDELITIES,
    INPUTS,
    LAYOUT_VERSION,
    OUTPUTS,
    STATE_ROWS,
    STYLE_WIDTH,
    TRUNK_WIDTH,
)
from edge.inference import Model, load_model
from edge.student_memory import KEEP, RECALL, StudentMemory

if TYPE_CHECKING:  # what numba needs is a matter of who wants it
    from edge.compiled import CompiledFaces

__all__ = ["PRECISIONS", "STYLE_EASE_FRAMES", "Student", "StudentFiles", "find_student_files", "load_student"]

PRECISIONS: Final = ("fp32", "int8")
STYLE_EASE_FRAMES: Final = 6
"""Frames over which one character becomes another: 120 ms, a syllable."""
_MANIFEST: Final = "student.json"
_RACE_ROWS: Final = 64
_RACE_ROUNDS: Final = 15
_MEMORY_WIDTHS: Final = dict.fromkeys((*RECALL, *KEEP), TRUNK_WIDTH) | {
    "ear_mean": LOG_MEL_BANDS, "ear_heard": 1, "ear_after": LOG_MEL_BANDS, "heard": 1,
}  # fmt: skip
_STATE_MAX: Final = 1e4
"""Beyond anything that training knows: such a state is damaged."""


class StudentFiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The manifest beside the models.

    Attributes:
        layout: core.speech.student_layout.LAYOUT_VERSION of the training.
        models: precision → fidelity → file. styles: character → file (float32[STYLE_WIDTH], .npy).
        sha256: file → hexadecimal digits.
    """

    layout: int
    models: dict[str, dict[str, str]]
    styles: dict[str, str]
    sha256: dict[str, str]


def find_student_files(folder: Path | None = None) -> tuple[Path, StudentFiles]:
    """The manifest of a folder; None: of edge/models.

    Raises: ConfigError: it is missing, unreadable or of another layout.
    """
    folder = folder if folder is not None else Path(__file__).parent / "models"
    path = folder / _MANIFEST
    try:
        files = msgspec.json.decode(path.read_bytes(), type=StudentFiles)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path} does not name a student: {error}") from error
    if files.layout != LAYOUT_VERSION:
        raise ConfigError(f"{path} is of layout {files.layout}, this POP speaks {LAYOUT_VERSION}: train again")
    return folder, files


def load_student(
    folder: Path | None, *, precision: str | None, capacity: int, compiled: CompiledFaces | None = None
) -> tuple[Student | None, str]:
    """The student, or why there is none: a damaged file must not keep a POP from serving.

    Args: as for `Student`.
    Returns: the student and "", or None and one sentence.
    """
    try:
        return Student(folder, precision=precision, capacity=capacity, compiled=compiled), ""
    except ConfigError as error:
        return None, " ".join(str(error).split())


class Student:
    """All sessions of a POP.

    Args:
        folder: of the manifest; None: edge/models.
        precision: of PRECISIONS; None: whichever is faster on this machine now.
        capacity: slots to begin with; doubles when it is used up.
        compiled: moves what is remembered; None: numpy does.

    Attributes:
        precision: in use.
        mended: sessions whose inputs or state were not finite and that began anew.

    Raises: ConfigError: a file is missing, damaged (its SHA-256 is not the manifest's) or of another shape.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        precision: str | None = None,
        capacity: int = 64,
        compiled: CompiledFaces | None = None,
    ) -> None:
        folder, files = find_student_files(folder)
        self._styles = {name: _read_style(folder, files, name) for name in files.styles}
        self._styles.setdefault("neutral", np.zeros(STYLE_WIDTH, np.float32))
        self._style_names = list(self._styles)
        self._free = list(range(capacity - 1, -1, -1))
        self._open = np.zeros(capacity, dtype=np.bool_)
        self._compiled = compiled
        self._memory = StudentMemory(capacity, compiled)
        self._fidelity = np.zeros(capacity, dtype=np.int8)
        self._character = np.zeros(capacity, dtype=np.int16)
        """Index of the character that each session is, or is becoming."""
        self._style = np.zeros((capacity, STYLE_WIDTH), dtype=np.float32)
        self._style_step = np.zeros((capacity, STYLE_WIDTH), dtype=np.float32)
        self._style_left = np.zeros(capacity, dtype=np.int8)
        self.mended = 0
        wanted = PRECISIONS if precision is None else (precision,)
        loaded = {name: _load_models(folder, files, name) for name in wanted if name in files.models}
        if not loaded:
            raise ConfigError(f"{folder / _MANIFEST} names no {' or '.join(wanted)} models")
        self.precision = min(loaded, key=lambda name: _race(loaded[name][0])) if len(loaded) > 1 else next(iter(loaded))
        self._models = loaded[self.precision]

    @property
    def characters(self) -> tuple[str, ...]:
        """Names for `set_character`."""
        return tuple(self._style_names)

    # --- sessions ------------------------------------------------------------------------------------------------

    def open(self, *, character: str = "neutral", fidelity: str = "high") -> int:
        """A slot for a session that has heard nothing."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self._open[slot] = True
        self._memory.forget(slot)
        self._style[slot] = self._style_of(character)
        self._style_left[slot] = 0
        self._character[slot] = self._style_names.index(character)
        self.set_fidelity(slot, fidelity)
        return slot

    def close(self, slot: int) -> None:
        """Free a slot. Raises: LocalProtocolError: it is not open (also for all methods below)."""
        self._check(slot)
        self._open[slot] = False
        self._free.append(slot)

    def set_fidelity(self, slot: int, fidelity: str) -> None:
        """Change how much a session's frames cost, from the next one on. Raises: LocalProtocolError: no such one."""
        self._check(slot)
        if fidelity not in FIDELITIES:
            raise LocalProtocolError(f"there is no fidelity {fidelity!r}, only {', '.join(FIDELITIES)}")
        self._fidelity[slot] = FIDELITIES.index(fidelity)

    def set_character(self, slot: int, character: str) -> None:
        """Become another character within STYLE_EASE_FRAMES. Raises: LocalProtocolError: nobody of that name."""
        self._check(slot)
        self._style_step[slot] = (self._style_of(character) - self._style[slot]) / STYLE_EASE_FRAMES
        self._style_left[slot] = STYLE_EASE_FRAMES
        self._character[slot] = self._style_names.index(character)

    def _style_of(self, character: str) -> NDArray[np.float32]:
        style = self._styles.get(character)
        if style is None:
            raise LocalProtocolError(f"there is no character {character!r}, only {', '.join(self._style_names)}")
        return style

    def _check(self, slot: int) -> None:
        if not (0 <= slot < len(self._open) and self._open[slot]):
            raise LocalProtocolError(f"student slot {slot} is not open")

    def _grow(self) -> None:
        old = len(self._open)
        self._free = list(range(2 * old - 1, old - 1, -1))
        self._memory.grow(2 * old)
        for name in ("_open", "_fidelity", "_character", "_style", "_style_step", "_style_left"):
            table = getattr(self, name)
            setattr(self, name, np.concatenate([table, np.zeros_like(table)]))

    def memory(self, slot: int) -> bytes:
        """What a session's student remembers, float16: a third of a kilobyte per row, and no mouth shows the rest."""
        self._check(slot)
        return bytes(self._memory.state(slot).astype(np.float16).tobytes())

    def remember(self, slot: int, memory: bytes) -> None:
        """Go on with what another student remembered; of another layout, or not finite, it is silence."""
        self._check(slot)
        if len(memory) == 2 * STATE_ROWS * TRUNK_WIDTH:
            state = np.frombuffer(memory, dtype=np.float16).reshape(STATE_ROWS, TRUNK_WIDTH)
            if np.isfinite(state).all():
                self._memory.set_state(slot, state)

    # --- frames --------------------------------------------------------------------------------------------------

    def run(self, slots: NDArray[np.intp], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """One frame of some sessions.

        Args:
            slots: intp[n], open, each at most once.
            inputs: float32[n, INPUTS]; a row that is not finite is taken as silence, and that session begins anew.
        Returns: float32[n, len(OUTPUTS)] for the frames LOOKAHEAD_FRAMES earlier; mouth outputs may leave [0, 1] a
            little and are to be clipped.
        """
        if inputs.shape != (len(slots), INPUTS):
            raise LocalProtocolError(f"a student wants inputs of {INPUTS} numbers per slot, not shape {inputs.shape}")
        if not len(slots):
            return np.zeros((0, len(OUTPUTS)), np.float32)
        slots, inputs = np.ascontiguousarray(slots, dtype=np.intp), np.ascontiguousarray(inputs, dtype=np.float32)
        finite, one_fidelity, one_character, moving = self._look_over(slots, inputs)
        if not finite:
            inputs = self._mend(slots, inputs)
        if moving:
            self._ease_styles(slots)
        # One row of style stands for all who are of one character.
        styled = slots[:1] if one_character and not moving else None
        if one_fidelity:
            return self._run_one(int(self._fidelity[slots[0]]), slots, inputs, styled)
        answers, fidelities = np.empty((len(slots), len(OUTPUTS)), dtype=np.float32), self._fidelity[slots]
        for fidelity in np.unique(fidelities).tolist():
            rows = np.flatnonzero(fidelities == fidelity)
            answers[rows] = self._run_one(fidelity, slots[rows], inputs[rows], styled)
        return answers

    def _run_one(
        self, fidelity: int, slots: NDArray[np.intp], inputs: NDArray[np.float32], styled: NDArray[np.intp] | None
    ) -> NDArray[np.float32]:
        style = self._style[slots if styled is None else styled]
        feed = {"inputs": inputs, "style": style, **self._memory.recall(slots)}
        answers, *kept = self._models[fidelity].run(None, feed)
        self._memory.keep(slots, kept)
        # What is wrong in a state shows in an answer at the latest when it is used; then one number per session tells.
        if np.abs(answers).max() < _STATE_MAX:
            return answers
        sound = self._memory.largest(slots) + np.abs(answers).max(axis=1) < _STATE_MAX
        self.mended += int((~sound).sum())
        self._memory.forget(slots[~sound])
        answers[~sound] = 0.0
        return answers

    def _look_over(self, slots: NDArray[np.intp], inputs: NDArray[np.float32]) -> tuple[bool, bool, bool, bool]:
        """Whether inputs are finite, sessions have one fidelity, and one character, and some become another one."""
        if self._compiled is not None:
            return self._compiled.look_over(slots, inputs, self._fidelity, self._character, self._style_left)
        fidelity, character = self._fidelity[slots], self._character[slots]
        return (
            bool(np.isfinite(inputs.sum(axis=1)).all()),
            bool((fidelity == fidelity[0]).all()),
            bool((character == character[0]).all()),
            bool(self._style_left[slots].any()),
        )

    def _mend(self, slots: NDArray[np.intp], inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        good = np.isfinite(inputs.sum(axis=1))
        self.mended += int((~good).sum())
        self._memory.forget(slots[~good])
        mended = inputs.copy()
        mended[~good] = 0.0
        return mended

    def _ease_styles(self, slots: NDArray[np.intp]) -> None:
        moving = slots[self._style_left[slots] > 0]
        self._style[moving] += self._style_step[moving]
        self._style_left[moving] -= 1
        for slot in moving[self._style_left[moving] == 0].tolist():  # exactly: sessions of a character may share it
            self._style[slot] = self._style_of(self._style_names[self._character[slot]])


def _checked(folder: Path, files: StudentFiles, name: str) -> Path:
    path = folder / name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(data).hexdigest() != files.sha256.get(name):
        raise ConfigError(f"{path} is damaged: its SHA-256 is not the manifest's")
    return path


def _read_style(folder: Path, files: StudentFiles, character: str) -> NDArray[np.float32]:
    path = _checked(folder, files, files.styles[character])
    try:
        style = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ConfigError(f"{path} is no character: {error}") from error
    if style.shape != (STYLE_WIDTH,) or style.dtype != np.float32 or not np.isfinite(style).all():
        raise ConfigError(f"{path} is no character of this student: float32[{STYLE_WIDTH}] is wanted")
    return np.asarray(style, dtype=np.float32)


def _load_models(folder: Path, files: StudentFiles, precision: str) -> Sequence[Model]:
    """In the order of FIDELITIES."""
    models = []
    for fidelity in FIDELITIES:
        name = files.models[precision].get(fidelity)
        if name is None:
            raise ConfigError(f"{folder / _MANIFEST} names no {precision} model of fidelity {fidelity}")
        model = load_model(_checked(folder, files, name), "the student")
        shapes = {value.name: value.shape[1:] for value in (*model.get_inputs(), *model.get_outputs())}
        wanted = {
            "inputs": [INPUTS], "style": [STYLE_WIDTH], "answers": [len(OUTPUTS)],
            **{name: [width] for name, width in _MEMORY_WIDTHS.items()},
        }  # fmt: skip
        if shapes != wanted or [value.name for value in model.get_outputs()] != ["answers", *KEEP]:
            raise ConfigError(f"{folder / name} is no student of this layout: it has {json.dumps(shapes)}")
        try:
            _feed_one(model)
        except Exception as error:  # onnxruntime has no common base class of its errors
            raise ConfigError(f"{folder / name} is a student that cannot be run: {error}") from error
        models.append(model)
    return models


def _silence(rows: int) -> dict[str, NDArray[np.float32]]:
    return {
        "inputs": np.zeros((rows, INPUTS), np.float32),
        "style": np.zeros((rows, STYLE_WIDTH), np.float32),
        **{name: np.zeros((rows, _MEMORY_WIDTHS[name]), np.float32) for name in RECALL},
    }


def _feed_one(model: Model) -> None:
    """Raises: whatever running it raises; ValueError: what it says of silence is not finite."""
    if not all(np.isfinite(output).all() for output in model.run(None, _silence(1))):
        raise ValueError("what it says of silence is not finite")


def _race(model: Model) -> float:
    """Seconds of its fastest run of a full batch."""
    feed = _silence(_RACE_ROWS)
    best = float("inf")
    for _ in range(_RACE_ROUNDS):
        began = time.perf_counter()
        model.run(None, feed)
        best = min(best, time.perf_counter() - began)
    return best
