"""Everything a living face does besides talking: blink, gaze, breath, sway, nods, listening, thinking, mood.

Batched: one `Behaviours` holds many faces in structure-of-arrays form, and `step` moves any subset of them with a fixed
number of numpy operations; only faces to which something *happens* (a blink begins, the state changes) cost a Python
call. Motion is a function of seed and media time, never of how often or with whom a face is stepped: events carry their
own times, easing uses the exact solution of its differential equation, oscillators are closed forms.

Sources: blink intervals are log-normal (Lenskiy & Paprocki 2016) and follow large gaze shifts (Evinger et al. 1994);
saccade durations follow the main sequence, 21 ms + 2.2 ms per degree (Carpenter 1988); gaze aversion marks thinking
(Glenberg et al. 1998); listeners look at speakers more than speakers at listeners (Argyle & Cook 1976) and nod where a
phrase ends (Dittmann & Llewellyn 1968).
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.avatar.chance import log_normal, uniform
from core.avatar.expression import (
    BASE,
    CHANNELS,
    DRIVERS,
    EXPRESSION,
    GESTURES,
    OSCILLATORS,
    PARAMETERS,
    YIELDS_TO_SPEECH,
    channel,
)
from core.avatar.slot_tables import load_rows, save_rows
from core.errors import RemoteProtocolError
from core.limits import BLENDSHAPE_COUNT
from core.session.state import FaceState

__all__ = ["LID_DOWN", "LID_UP", "LOOKS", "LOOK_GAINS", "LOOK_SOURCES", "RATES", "Behaviours"]

_P: Final = {name: index for index, name in enumerate(PARAMETERS)}
_BLINK, _NOD, _BEAT, _INHALE = range(len(GESTURES))
RATES: Final = np.array(
    [{"joy": 6.0, "sorrow": 5.0, "excitement": 9.0, "calm": 4.0, "listen": 12.0, "think": 32.0, "speak": 14.0,
      "roll": 7.0, "yaw": 11.0, "pitch": 11.0, "think_left": 32.0, "think_right": 32.0, "attention": 7.0,
      "mouth": 36.0}[name] for name in PARAMETERS]
)  # fmt: skip
"""1/s, natural frequency of each parameter's critically damped easing; 80 % of the way takes 3 of its periods."""

# Columns of the per-face tables.
_START, _SPEED, _RISE, _FALL, _SIZE = range(5)
"""Gesture: begins at (s), 1/duration, 1/fraction it rises, 1/fraction it falls, size."""
_FROM, _TO, _SHIFT_START, _SHIFT_SPEED = slice(0, 2), slice(2, 4), 4, 5
"""Gaze: (yaw, pitch) before and after the latest shift, when it began (s), 1/duration."""
_RATE, _PHASE, _REACH = range(3)
"""Oscillator: rad/s, rad, amplitude."""
_NEXT_BLINK, _NEXT_GAZE, _NEXT_NOD = range(3)
_DRAW_OPEN, _DRAW_BLINK, _DRAW_GAZE, _DRAW_STATE, _DRAW_NOD, _DRAW_BEAT, _DRAW_PAUSE = _STREAMS = range(7)
"""Streams of chance."""

_BLINK_MEDIAN_S: Final = {
    FaceState.IDLE: 3.4, FaceState.LISTENING: 3.9, FaceState.THINKING: 3.0, FaceState.SPEAKING: 2.6,
}  # fmt: skip
_FIXATION_MEDIAN_S: Final = {
    FaceState.IDLE: 1.7, FaceState.LISTENING: 1.5, FaceState.THINKING: 0.95, FaceState.SPEAKING: 1.2,
}  # fmt: skip
_AT_VIEWER: Final = {
    FaceState.IDLE: 0.70, FaceState.LISTENING: 0.94, FaceState.THINKING: 0.0, FaceState.SPEAKING: 0.80,
}  # fmt: skip
"""Share of fixations on the viewer."""
_LOOK_RANGE_RAD: Final = 0.52
"""Eye turn at which an eyeLook weight is 1 (30 degrees, ARKit's reach)."""
_BLINK_GAZE_RAD: Final = 0.20
"""Gaze shifts beyond this tend to bring a blink."""
_BLINK_REST_S: Final = 0.9
_BLINK_AT_PAUSE: Final = 0.6
_TALKING, _QUIET = 0.12, 0.06
"""User levels above which the user talks and below which a phrase has ended."""
_DIP_S: Final = 0.16
_PHRASE_S: Final = 0.7
_LONG_PHRASE_S: Final = 4.0
_CATCH_UP_S: Final = 1.0
"""Events missed by more than this (the face was not shown) are dropped, not replayed."""


def _columns(*names: str) -> slice:
    """Evenly spaced channels as a slice: a view costs a fifth of a gather."""
    columns = [channel(name) for name in names]
    step = columns[1] - columns[0]
    if columns != list(range(columns[0], columns[-1] + 1, step)):
        raise ValueError(f"{names} are not evenly spaced in the rig")
    return slice(columns[0], columns[-1] + 1, step)


_PITCHES: Final = _columns("leftEye.pitch", "rightEye.pitch")
_YAWS: Final = _columns("leftEye.yaw", "rightEye.yaw")
_LOOKS_LEFT: Final = _columns("eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft")
_LOOKS_RIGHT: Final = _columns("eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight")
LOOKS: Final = [*range(CHANNELS)[_LOOKS_LEFT], *range(CHANNELS)[_LOOKS_RIGHT]]
LOOK_SOURCES: Final = np.array(
    [channel(name) for name in ("leftEye.pitch", "leftEye.yaw", "leftEye.yaw", "leftEye.pitch",
                                "rightEye.pitch", "rightEye.yaw", "rightEye.yaw", "rightEye.pitch")]
)  # fmt: skip
LOOK_GAINS: Final = np.array([1, -1, 1, -1, 1, 1, -1, -1], dtype=np.float32) / np.float32(_LOOK_RANGE_RAD)
"""The eyeLook weights (down, in, out, up; left, then right), the turns that they follow, and how much."""
_BLINKS: Final = _columns("eyeBlinkLeft", "eyeBlinkRight")
_WIDES: Final = _columns("eyeWideLeft", "eyeWideRight")
LID_DOWN, LID_UP = np.float32(0.42), np.float32(0.22)
"""Lids follow vertical gaze: the upper lid covers nearly half the way down, opens a little on the way up."""


class Behaviours:
    """Faces in slots 0 … capacity - 1."""

    def __init__(self, capacity: int) -> None:
        self._seeds: list[int] = [0] * capacity
        self._draws: list[list[int]] = [[0] * len(_STREAMS) for _ in range(capacity)]
        self._expecting: set[int] = set()
        self._shown = np.zeros(capacity, dtype=np.bool_)
        self._times = np.zeros(capacity)
        self._states = np.zeros(capacity, dtype=np.int8)
        self._heard = np.zeros((capacity, 2))
        self._easing = np.zeros((capacity, 3, len(PARAMETERS)))
        """Value, velocity and target of each parameter."""
        self._gestures = np.zeros((capacity, 5, len(GESTURES)))
        self._gaze = np.zeros((capacity, 6))
        self._oscillators = np.zeros((capacity, 3, len(OSCILLATORS)))
        self._due = np.zeros((capacity, 3))

    def grow(self, capacity: int) -> None:
        """Make room; faces keep their slots."""
        extra = capacity - len(self._seeds)
        self._seeds += [0] * extra
        self._draws += [[0] * len(_STREAMS) for _ in range(extra)]
        for name in ("_shown", "_times", "_states", "_heard", "_easing", "_gestures", "_gaze", "_oscillators", "_due"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros((extra, *old.shape[1:]), dtype=old.dtype)]))

    # --- what happens to a face ----------------------------------------------------------------------------------

    def reset(self, slot: int, seed: int) -> None:
        """A new face in a slot: nothing of the former one remains. It is alive from its first frame on."""
        self._seeds[slot] = seed
        self._draws[slot] = [0] * len(_STREAMS)
        self._expecting.discard(slot)
        for table in (self._shown, self._times, self._states, self._heard, self._easing, self._gestures, self._gaze):
            table[slot] = 0
        self._due[slot] = np.inf
        self._gestures[slot, _START] = -np.inf
        self._gestures[slot, _SPEED:_SIZE] = 1.0
        self._gaze[slot, _SHIFT_SPEED] = 1.0
        draw = [uniform(seed, _DRAW_OPEN, k) for k in range(12)]
        sway = 1.05 + 0.15 * draw[0]
        turn = 2.0 * math.pi
        self._oscillators[slot] = np.array(
            [
                # A breath takes 3.6 to 4.6 s; the sway is an ellipse, so that it never rests.
                (turn / (3.6 + draw[1]), turn * draw[2], 1.0),
                (sway, turn * draw[3], 0.040),
                (sway, turn * draw[3] + turn / 4.0, 0.030),
                (0.61 + 0.2 * draw[4], turn * draw[5], 0.018),
                (0.37 + 0.1 * draw[6], turn * draw[7], 0.022),
                (0.29 + 0.1 * draw[8], turn * draw[9], 0.010),
            ]
        ).T

    def save(self, slot: int) -> tuple[int, list[int], list[bytes]]:
        """A face, for another process that goes on with it: seed, numbers of draws, rows."""
        return self._seeds[slot], list(self._draws[slot]), save_rows(self._tables(), slot)

    def load(self, slot: int, state: tuple[int, list[int], list[bytes]]) -> None:
        """Go on with a face. Raises: RemoteProtocolError: `bad-state`."""
        seed, draws, rows = state
        if len(draws) != len(_STREAMS):
            raise RemoteProtocolError("bad-state", f"{len(draws)} streams of chance, not {len(_STREAMS)}")
        self.reset(slot, seed)
        load_rows(self._tables(), slot, rows)
        self._draws[slot] = list(draws)

    def _tables(self) -> tuple[NDArray[Any], ...]:
        return (
            self._shown, self._times, self._states, self._heard, self._easing, self._gestures, self._gaze, self._due,
        )  # fmt: skip

    def set_mood(self, slot: int, valence: float, arousal: float) -> None:
        """How the character feels; both in [-1, 1], anything else is clipped, NaN is neutral."""
        valence, arousal = (min(max(value, -1.0), 1.0) if value == value else 0.0 for value in (valence, arousal))
        target = self._easing[slot, 2]
        target[_P["joy"]], target[_P["sorrow"]] = max(valence, 0.0), max(-valence, 0.0)
        target[_P["excitement"]], target[_P["calm"]] = max(arousal, 0.0), max(-arousal, 0.0)

    def expect_speech(self, slot: int) -> None:
        """The voice is about to come: at its next frame the face breathes in and its eyes return to the viewer."""
        self._expecting.add(slot)

    def beat(self, slot: int, now_s: float, time_s: float, strength: float) -> None:
        """A stressed syllable at `time_s`, at or after `now_s`: often a small nod with the brows, never two at once."""
        count = self._draw(slot, _DRAW_BEAT)
        seed = self._seeds[slot]
        rest = 0.45 + 0.7 * uniform(seed, _DRAW_BEAT, 2 * count)
        if time_s - self._gestures[slot, _START, _BEAT] >= rest:
            size = strength * (0.45 + 0.55 * uniform(seed, _DRAW_BEAT, 2 * count + 1))
            self._gesture(slot, _BEAT, max(now_s, time_s - 0.06), 0.36, 0.42, 0.58, size)

    def invite_blink(self, slot: int, time_s: float) -> None:
        """A phrase has ended: people tend to blink there, unless they just did."""
        count = self._draw(slot, _DRAW_PAUSE)
        rested = time_s - self._gestures[slot, _START, _BLINK] > _BLINK_REST_S
        if rested and uniform(self._seeds[slot], _DRAW_PAUSE, count) < _BLINK_AT_PAUSE:
            due = self._due[slot]
            due[_NEXT_BLINK] = min(due[_NEXT_BLINK], time_s)

    # --- one step ------------------------------------------------------------------------------------------------

    def step(
        self,
        slots: NDArray[np.intp],
        times: NDArray[np.float64],
        states: NDArray[np.int8],
        levels: NDArray[np.float64],
        mouth: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """Move some faces to their media times.

        Args:
            slots: intp[n], each at most once.
            times: float64[n], media seconds.
            states: int8[n], FaceState values.
            levels: float64[n], the user's speech energy in [0, 1].
            mouth: float64[n], 1 where speech owns the mouth, else 0.
        Returns: float32[n, CHANNELS]: weights (not yet clipped) and joint turns in radians.
        """
        return self.pose(slots, times, self.live(slots, times, states, levels), levels, mouth)

    def live(
        self,
        slots: NDArray[np.intp],
        times: NDArray[np.float64],
        states: NDArray[np.int8],
        levels: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The first half of a step: let happen what is due. Returns: float64[n], seconds that faces have to move on."""
        elapsed = np.minimum(np.maximum(times - self._times[slots], 0.0), _CATCH_UP_S)
        self._happen(slots, times, states, levels, elapsed)
        self._times[slots] = times
        return elapsed

    def pose(
        self,
        slots: NDArray[np.intp],
        times: NDArray[np.float64],
        elapsed: NDArray[np.float64],
        levels: NDArray[np.float64],
        mouth: NDArray[np.float64],
    ) -> NDArray[np.float32]:
        """The second half of a step: arithmetic alone, of `moving`. Args: see `step`; elapsed: from `live`."""
        drivers = np.empty((len(slots), len(DRIVERS)), dtype=np.float32)
        first, second = len(PARAMETERS), len(PARAMETERS) + len(GESTURES)
        easing = self._ease(slots, elapsed, levels, mouth)
        drivers[:, :first] = easing
        gestures = self._gestures[slots]
        u = (times[:, None] - gestures[:, _START]) * gestures[:, _SPEED]
        shape = np.minimum(u * gestures[:, _RISE], (1.0 - u) * gestures[:, _FALL])
        shape = np.minimum(np.maximum(shape, 0.0), 1.0)
        drivers[:, first:second] = shape * shape * (3.0 - 2.0 * shape) * gestures[:, _SIZE]
        waves = self._oscillators[slots]
        drivers[:, second:] = np.sin(waves[:, _RATE] * times[:, None] + waves[:, _PHASE]) * waves[:, _REACH]
        # Speakers move their heads more.
        drivers[:, second + 1 :] *= 1.0 + 0.5 * drivers[:, _P["speak"], None]
        pose: NDArray[np.float32] = np.einsum("nd,dc->nc", drivers, EXPRESSION)
        pose += BASE
        self._look(slots, times, pose, drivers[:, first + _BLINK])
        pose[:, :BLENDSHAPE_COUNT] *= 1.0 - drivers[:, _P["mouth"], None] * YIELDS_TO_SPEECH
        return pose

    def moving(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The tables that `pose` reads, for who does the same faster: easing (which it moves on), gestures, gaze and
        oscillators. They are others after `grow`."""
        return self._easing, self._gestures, self._gaze, self._oscillators

    def _ease(
        self,
        slots: NDArray[np.intp],
        elapsed: NDArray[np.float64],
        levels: NDArray[np.float64],
        mouth: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Critically damped, exact for any step: x'' = -2wx' - w²(x - target)."""
        easing = self._easing[slots]
        value, velocity, target = easing[:, 0], easing[:, 1], easing[:, 2]
        target[:, _P["mouth"]] = mouth
        target[:, _P["attention"]] = levels * target[:, _P["listen"]]
        decay = RATES * elapsed[:, None]
        away = value - target
        swing = velocity * elapsed[:, None] + away * decay
        fade = np.exp(-decay)
        velocity -= RATES * swing
        velocity *= fade
        np.add(target, (away + swing) * fade, out=value)
        self._easing[slots] = easing
        return value

    def _look(
        self, slots: NDArray[np.intp], times: NDArray[np.float64], pose: NDArray[np.float32], blink: NDArray[np.float32]
    ) -> None:
        """Turn the eyes, and let lids and eyeLook weights follow."""
        gaze = self._gaze[slots]
        shift = np.minimum(np.maximum((times - gaze[:, _SHIFT_START]) * gaze[:, _SHIFT_SPEED], 0.0), 1.0)
        shift *= shift * (3.0 - 2.0 * shift)
        angles = gaze[:, _FROM] + (gaze[:, _TO] - gaze[:, _FROM]) * shift[:, None]
        pose[:, _YAWS] += angles[:, :1]
        pose[:, _PITCHES] += angles[:, 1:]
        looks = pose.take(LOOK_SOURCES, axis=1)
        looks *= LOOK_GAINS
        np.minimum(np.maximum(looks, 0.0, out=looks), 1.0, out=looks)
        pose[:, _LOOKS_LEFT] = looks[:, :4]
        pose[:, _LOOKS_RIGHT] = looks[:, 4:]
        pose[:, _BLINKS] += looks[:, ::4] * LID_DOWN
        wides = pose[:, _WIDES]
        wides += looks[:, 3::4] * LID_UP
        wides *= 1.0 - np.minimum(blink, 1.0)[:, None]

    # --- events --------------------------------------------------------------------------------------------------

    def _happen(
        self,
        slots: NDArray[np.intp],
        times: NDArray[np.float64],
        states: NDArray[np.int8],
        levels: NDArray[np.float64],
        elapsed: NDArray[np.float64],
    ) -> None:
        changed = states != self._states[slots]
        changed |= ~self._shown[slots]
        if changed.any():
            for index in np.flatnonzero(changed).tolist():
                self._enter(int(slots[index]), FaceState(int(states[index])), float(times[index]), elapsed, index)
        due = self._due[slots].min(axis=1) <= times
        if due.any():
            for index in np.flatnonzero(due).tolist():
                self._run_due(int(slots[index]), float(times[index]))
        listening = states == FaceState.LISTENING
        if listening.any():
            self._follow_user(slots, times, levels, elapsed, listening)
        if self._expecting:
            for index, slot in enumerate(slots.tolist()):
                if slot in self._expecting:
                    self._expecting.discard(slot)
                    self._prepare_speech(slot, float(times[index]))

    def _enter(self, slot: int, state: FaceState, time_s: float, elapsed: NDArray[np.float64], index: int) -> None:
        seed, count = self._seeds[slot], self._draw(slot, _DRAW_STATE)
        side = 1.0 if uniform(seed, _DRAW_STATE, 2 * count) < 0.5 else -1.0
        much = uniform(seed, _DRAW_STATE, 2 * count + 1)
        thinking = state is FaceState.THINKING
        target = self._easing[slot, 2]
        target[_P["listen"]] = state is FaceState.LISTENING
        target[_P["think"]] = thinking
        target[_P["speak"]] = state is FaceState.SPEAKING
        target[_P["think_left"]] = thinking and side > 0
        target[_P["think_right"]] = thinking and side < 0
        target[_P["yaw"]] = side * (0.13 + 0.05 * much) if thinking else 0.0
        target[_P["pitch"]] = -0.06 if thinking else 0.0
        target[_P["roll"]] = side * {
            FaceState.IDLE: 0.01, FaceState.LISTENING: 0.045 + 0.035 * much, FaceState.THINKING: -0.05,
            FaceState.SPEAKING: 0.012,
        }[state]  # fmt: skip
        self._states[slot] = state
        if not self._shown[slot]:
            self._shown[slot] = True
            elapsed[index] = 0.0
            self._easing[slot, 0] = target
            self._due[slot, _NEXT_BLINK] = time_s + log_normal(seed, _DRAW_OPEN, 9, 1.6, 0.4)
        self._fixate(slot, time_s, at_viewer=not thinking)
        if thinking:
            # The turning away must be seen: no blink hides it.
            due = self._due[slot]
            due[_NEXT_BLINK] = max(due[_NEXT_BLINK], time_s + 0.4)

    def _run_due(self, slot: int, time_s: float) -> None:
        due = self._due[slot]
        if due.min() < time_s - _CATCH_UP_S:
            np.maximum(due, time_s - _CATCH_UP_S, out=due)
        while (gaze_s := float(due[_NEXT_GAZE])) <= time_s:
            self._fixate(slot, gaze_s)
        while (blink_s := float(due[_NEXT_BLINK])) <= time_s:
            self._blink(slot, blink_s)
        if (nod_s := float(due[_NEXT_NOD])) <= time_s:
            self._gesture(slot, _NOD, nod_s, 0.42, 0.42, 0.58, 0.045)
            due[_NEXT_NOD] = np.inf

    def _blink(self, slot: int, time_s: float) -> None:
        """One blink, sometimes half, sometimes the first of two."""
        seed, count = self._seeds[slot], self._draw(slot, _DRAW_BLINK)
        kind = uniform(seed, _DRAW_BLINK, 4 * count)
        duration = 0.20 + 0.05 * uniform(seed, _DRAW_BLINK, 4 * count + 1)
        size = 0.5 + 0.2 * uniform(seed, _DRAW_BLINK, 4 * count + 1) if kind < 0.10 else 1.0
        self._gesture(slot, _BLINK, time_s, duration, 0.36, 0.52, size)
        if kind > 0.88:
            interval = duration + 0.07
        else:
            median = _BLINK_MEDIAN_S[FaceState(int(self._states[slot]))]
            interval = max(0.7, log_normal(seed, _DRAW_BLINK, 2 * count + 1, median, 0.5))
        self._due[slot, _NEXT_BLINK] = time_s + interval

    def _fixate(self, slot: int, time_s: float, *, at_viewer: bool | None = None) -> None:
        """Look somewhere else, now."""
        seed, count = self._seeds[slot], self._draw(slot, _DRAW_GAZE)
        state = FaceState(int(self._states[slot]))
        where, across, up = (uniform(seed, _DRAW_GAZE, 8 * count + k) for k in range(3))
        if at_viewer is None:
            at_viewer = where < _AT_VIEWER[state]
        if at_viewer:
            # Viewers look at eyes and mouth in turn; the eyes make up for where the head points.
            yaw, pitch = self._head(slot, time_s + 0.15)
            yaw, pitch = -yaw + 0.022 * (2.0 * across - 1.0), -pitch + 0.024 * (up - 0.3)
        elif state is FaceState.THINKING:
            side = 1.0 if self._easing[slot, 2, _P["think_left"]] else -1.0
            yaw, pitch = side * (0.16 + 0.18 * across), -0.25 + 0.16 * up
        else:
            side = 1.0 if across < 0.5 else -1.0
            far = 0.12 if state is FaceState.SPEAKING else 0.22
            yaw, pitch = side * (0.09 + far * abs(2.0 * across - 1.0)), -0.08 + 0.22 * up
        self._shift_gaze(slot, time_s, yaw, pitch)
        median = _FIXATION_MEDIAN_S[state] * (1.0 if at_viewer or state is FaceState.THINKING else 0.5)
        self._due[slot, _NEXT_GAZE] = time_s + max(0.25, log_normal(seed, _DRAW_GAZE, 4 * count + 3, median, 0.45))

    def _shift_gaze(self, slot: int, time_s: float, yaw: float, pitch: float) -> None:
        # Plain numbers: the same on six numpy scalars takes several times as long.
        from_yaw, from_pitch, to_yaw, to_pitch, began_s, speed = self._gaze[slot].tolist()
        done = min(max((time_s - began_s) * speed, 0.0), 1.0)
        done *= done * (3.0 - 2.0 * done)
        from_yaw += (to_yaw - from_yaw) * done
        from_pitch += (to_pitch - from_pitch) * done
        size = math.hypot(yaw - from_yaw, pitch - from_pitch)
        speed = 1.0 / (0.021 + 0.0022 * math.degrees(size))
        self._gaze[slot] = from_yaw, from_pitch, yaw, pitch, time_s, speed
        rested = time_s - self._gestures[slot, _START, _BLINK] > 0.6
        if size > _BLINK_GAZE_RAD and rested and self._due[slot, _NEXT_BLINK] > time_s + 0.1:
            count = self._draws[slot][_DRAW_GAZE]
            if uniform(self._seeds[slot], _DRAW_GAZE, 8 * count + 5) < 0.4:
                self._due[slot, _NEXT_BLINK] = time_s

    def _head(self, slot: int, time_s: float) -> tuple[float, float]:
        """Where the head will point (yaw, pitch), near enough for the eyes to correct it."""
        rate, phase, reach = self._oscillators[slot].tolist()
        sway, pitch, yaw = (math.sin(rate[wave] * time_s + phase[wave]) * reach[wave] for wave in (1, 3, 4))
        target = self._easing[slot, 2].tolist()
        return target[_P["yaw"]] + sway + yaw, target[_P["pitch"]] + pitch + 0.055 * target[_P["listen"]]

    def _follow_user(
        self,
        slots: NDArray[np.intp],
        times: NDArray[np.float64],
        levels: NDArray[np.float64],
        elapsed: NDArray[np.float64],
        listening: NDArray[np.bool_],
    ) -> None:
        """Nod where the user's phrase ends, and now and then within a long one."""
        heard = self._heard[slots]
        talked, quiet = heard[:, 0], heard[:, 1]
        talked += elapsed * (levels > _TALKING)
        quiet += elapsed
        quiet *= levels < _QUIET
        talked *= listening
        nods = listening & (((talked > _PHRASE_S) & (quiet > _DIP_S)) | (talked > _LONG_PHRASE_S))
        for index in np.flatnonzero(nods).tolist():
            self._nod(int(slots[index]), float(times[index]), at_dip=bool(quiet[index] > _DIP_S))
            talked[index] = 0.0
        self._heard[slots] = heard

    def _nod(self, slot: int, time_s: float, *, at_dip: bool) -> None:
        seed, count = self._seeds[slot], self._draw(slot, _DRAW_NOD)
        chance, size = uniform(seed, _DRAW_NOD, 2 * count), uniform(seed, _DRAW_NOD, 2 * count + 1)
        busy = time_s - self._gestures[slot, _START, _NOD] < 1.2
        if busy or chance > (0.85 if at_dip else 0.6):
            return
        self._gesture(slot, _NOD, time_s, 0.52, 0.40, 0.60, (0.075 if at_dip else 0.045) + 0.03 * size)
        if chance < 0.35:
            self._due[slot, _NEXT_NOD] = time_s + 0.56

    def _prepare_speech(self, slot: int, time_s: float) -> None:
        if time_s - self._gestures[slot, _START, _INHALE] > 1.2:
            self._gesture(slot, _INHALE, time_s, 0.75, 0.35, 0.65, 1.0)
        if self._states[slot] != FaceState.LISTENING:
            self._easing[slot, 2, [_P["yaw"], _P["pitch"]]] = 0.0
            self._fixate(slot, time_s, at_viewer=True)

    def _gesture(
        self, slot: int, which: int, start_s: float, duration_s: float, rise: float, fall: float, size: float
    ) -> None:
        self._gestures[slot, :, which] = start_s, 1.0 / duration_s, 1.0 / rise, 1.0 / fall, size

    def _draw(self, slot: int, stream: int) -> int:
        """The number of this draw in its stream."""
        draws = self._draws[slot]
        draws[stream] += 1
        return draws[stream]
