"""The arithmetic of a phase as machine code: what the phonemes ask of mouths, and what faces look like.

`core.speech.coarticulation`, `core.avatar` and `edge.easing` say in numpy what is computed; here it is once more, a
face at a time, so that a phase is a few calls instead of two hundred array operations, whose code and data would have
to be fetched into the caches again after every sleep. A test compares the two.

Numba compiles each function once per machine and keeps the result beside this file (or where NUMBA_CACHE_DIR says). It
looks at the age of this file alone: a number that is defined elsewhere must come in as an argument, or a change of it
would go unnoticed.
"""

# Numba reads annotations of nothing; mypy cannot see what it makes of these functions.
from __future__ import annotations

import math
from typing import Any, Final

import numba
import numpy as np

__all__ = ["ask", "follow", "heed", "keep", "look_over", "notice", "recall", "serve", "show", "tell"]

_OPTIONS: Final[dict[str, Any]] = {
    "error_model": "numpy",
    "fastmath": {"contract", "nsz", "reassoc"},  # a NaN stays one
    "nogil": False,
}
_F32_1, _F32_2, _F32_3 = "float32[::1]", "float32[:,::1]", "float32[:,:,::1]"
_F64_1, _F64_2, _F64_3 = "float64[::1]", "float64[:,::1]", "float64[:,:,::1]"
_INTS, _BOOLS = "int64[::1]", "boolean[::1]"

# Rows of `channels`, places in `numbers` and `columns`.
_BASE, _YIELDS, _STEP_MAX = range(3)
_EASE_HZ, _LID_DOWN, _LID_UP, _PUFF_GAIN, _JAW_OFFSET, _JAW_PART, _JAW_MOST, _TICKS_HZ = range(8)
_OWNED, _ATTENTION, _LISTEN, _SPEAK, _BLINK, _PROMPT_FROM, _PROMPT_TO, _JAW, _CLOSE, _PUFF, _PUFF_FROM = range(11)
_BROW_INNER, _BROWS_OUTER, _NOD, _YAWS, _PITCHES, _BLINKS, _WIDES = 11, 12, 14, 15, 17, 19, 21
_ZERO, _ONE, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
_INFINITE = np.float32(1e38)
"""From here on; `math.isfinite` is always true of numbers that may be reordered."""
_PER_LN2 = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)


def _compiled(*arguments: str, gives: str = "void") -> Any:
    signature = f"{gives}({', '.join(arguments)})"

    def compile_now(function: Any) -> Any:
        try:
            return numba.njit(signature, cache=True, **_OPTIONS)(function)
        except RuntimeError:  # nowhere to keep it
            return numba.njit(signature, **_OPTIONS)(function)

    return compile_now


def _inlined(function: Any) -> Any:
    return numba.njit(**_OPTIONS)(function)


@_inlined
def _exp_near_0(x):  # type: ignore[no-untyped-def]
    """exp(x) for |x| < 0.35, to a float32's last digit."""
    high = np.float32(1 / 720) + x * np.float32(1 / 5040)
    high = np.float32(1 / 6) + x * (np.float32(1 / 24) + x * (np.float32(1 / 120) + x * high))
    return _ONE + x * (_ONE + x * (_HALF + x * high))


@_inlined
def _smooth(x):  # type: ignore[no-untyped-def]
    x = min(max(x, _ZERO), _ONE)
    return x * (x * (np.float32(3.0) - np.float32(2.0) * x))


@_compiled(_INTS, _F64_1, _F64_2, _F32_3, _F32_3, _F32_2, _F32_1, _F32_2, _INTS, _F32_2)
def ask(slots, seconds, begins, shapes, pulls, per, curve, belongs, groups, asked):  # type: ignore[no-untyped-def]
    """What sounds ask of mouths: `core.speech.coarticulation.SoundTable.sample` and `resolve`.

    Args:
        slots, seconds: int64[n], float64[n]: which mouths, where in their utterances.
        begins, shapes, pulls: of the table.
        per: float32[2, 4], 1/s, how quickly dominance rises before and falls after a sound, per group.
        curve, belongs: `core.speech.coarticulation.CURVE`, `OF_GROUP`.
        groups: int64[articulators].
        asked: float32[n, articulators + 4], written: `core.speech.student_layout.PLAN`.
    """
    reach, softness, faintest, rest, per_shut, per_rise, per_fall = curve
    far = reach + _ONE
    sounds, count, kinds = begins.shape[1], len(groups), per.shape[1]
    sums = np.empty(16, np.float32)
    since = np.empty(sounds, np.float32)
    shut = np.empty(sounds, np.float32)
    stress = np.empty(sounds, np.float32)
    heights = np.empty((kinds, sounds), np.float32)
    scales = np.empty((kinds, sounds), np.int32)
    scales_f = scales.view(np.float32)
    for row in range(len(slots)):
        slot, now = slots[row], seconds[row]
        shape = shapes[slot]
        for sound in range(sounds):
            gone = np.float32(now - begins[slot, sound])
            since[sound] = gone
            shut[sound] = min((gone - shape[3, sound]) * per_shut, (shape[4, sound] - gone) * shape[5, sound]) + _ONE
            stress[sound] = min(gone * per_rise + _ONE, _ONE - gone * per_fall)
        for kind in range(kinds):
            for sound in range(sounds):
                before = per[0, kind] * ((shape[0, sound] - since[sound]) * shape[2, sound])
                after = per[1, kind] * ((since[sound] - shape[1, sound]) * shape[2, sound])
                apart = min(max(max(before, after), _ZERO), far)
                power = softness - np.sqrt(apart * apart + softness * softness)
                # exp(power), power <= 0, in arithmetic that is done for all sounds at once.
                halves = np.int32(power * _PER_LN2 - _HALF)
                rest_f = power - np.float32(halves) * _LN2_HIGH - np.float32(halves) * _LN2_LOW
                heights[kind, sound] = _exp_near_0(rest_f)
                scales[kind, sound] = (halves + np.int32(127)) << np.int32(23)
        lips = teeth = beat = _ZERO
        sums[:] = _ZERO
        for sound in range(sounds):
            lips = max(lips, _smooth(shut[sound]) * shape[6, sound])
            teeth = max(teeth, _smooth(shut[sound]) * shape[7, sound])
            beat = max(beat, _smooth(stress[sound]) * shape[8, sound])
            counts = False
            for kind in range(kinds):
                height = max(heights[kind, sound] * scales_f[kind, sound] - faintest, _ZERO)
                heights[kind, sound] = height
                counts |= height > _ZERO
            if counts:
                first, second = heights[0, sound], heights[1, sound]
                third, fourth = heights[2, sound], heights[3, sound]
                for column in range(16):
                    weight = first * belongs[0, column] + second * belongs[1, column]
                    weight += third * belongs[2, column] + fourth * belongs[3, column]
                    sums[column] += weight * pulls[slot, sound, column]
        for column in range(count):
            asked[row, column] = sums[column] / (rest + sums[count + groups[column]])
        asked[row, count], asked[row, count + 1], asked[row, count + 2], asked[row, count + 3] = lips, teeth, _ONE, beat


@_inlined
def _ease(held, wanted, switched, elapsed_s, hz, columns):  # type: ignore[no-untyped-def]
    shown, apart, speed = held[0], held[1], held[2]
    time_s = np.float32(min(elapsed_s, 1.0))
    fade = np.float32(math.exp(-time_s * hz))
    if switched:
        apart[:] = shown - wanted
    for column in range(len(wanted)):
        swing = (speed[column] + apart[column] * hz) * time_s
        speed[column] = (speed[column] - swing * hz) * fade
        apart[column] = (apart[column] + swing) * fade
    for column in range(columns[_PROMPT_FROM], columns[_PROMPT_TO]):
        apart[column] = max(apart[column], _ZERO)
    for column in range(len(wanted)):
        shown[column] = wanted[column] + apart[column]


@_inlined
def _exp_near_0_f64(x):  # type: ignore[no-untyped-def]
    """exp(x) for |x| < 0.35, to 13 digits."""
    high = 1 / 5040 + x * (1 / 40320 + x * (1 / 362880 + x * (1 / 3628800)))
    high = 1 / 6 + x * (1 / 24 + x * (1 / 120 + x * (1 / 720 + x * high)))
    return 1.0 + x * (1.0 + x * (0.5 + x * high))


@_inlined
def _drive(easing, gestures, waves, now, elapsed_s, rates, speak, drivers, fades, near):  # type: ignore[no-untyped-def]
    value, velocity, target = easing[0], easing[1], easing[2]
    first, second = len(rates), len(rates) + gestures.shape[1]
    fades_f = fades.view(np.float64)
    for index in range(first):
        # exp(-decay), in arithmetic that is done for all of them at once.
        decay = rates[index] * elapsed_s
        halves = np.int64(-decay * 1.4426950408889634 - 0.5)
        fades[index] = (halves + 1023) << 52
        near[index] = _exp_near_0_f64(-decay - halves * 0.6931471805599453)
    for index in range(first):
        decay = rates[index] * elapsed_s
        away = value[index] - target[index]
        swing = velocity[index] * elapsed_s + away * decay
        fade = near[index] * fades_f[index]
        velocity[index] = (velocity[index] - rates[index] * swing) * fade
        value[index] = target[index] + (away + swing) * fade
        drivers[index] = value[index]
    for index in range(gestures.shape[1]):
        done = (now - gestures[0, index]) * gestures[1, index]
        shape = min(max(min(done * gestures[2, index], (1.0 - done) * gestures[3, index]), 0.0), 1.0)
        drivers[first + index] = shape * shape * (3.0 - 2.0 * shape) * gestures[4, index]
    more = _ONE + np.float32(0.5) * drivers[speak]
    for index in range(waves.shape[1]):
        drivers[second + index] = math.sin(waves[0, index] * now + waves[1, index]) * waves[2, index]
        if index:
            drivers[second + index] *= more


@_inlined
def _look(pose, gaze, now, blink, looks, gains, looked, numbers, columns):  # type: ignore[no-untyped-def]
    shift = min(max((now - gaze[4]) * gaze[5], 0.0), 1.0)
    shift *= shift * (3.0 - 2.0 * shift)
    yaw = np.float32(gaze[0] + (gaze[2] - gaze[0]) * shift)
    pitch = np.float32(gaze[1] + (gaze[3] - gaze[1]) * shift)
    for side in range(2):
        pose[columns[_YAWS + side]] += yaw
        pose[columns[_PITCHES + side]] += pitch
    half = len(gains) // 2
    for index in range(len(gains)):
        looked[index] = min(max(pose[looks[len(gains) + index]] * gains[index], _ZERO), _ONE)
    for index in range(len(gains)):
        pose[looks[index]] = looked[index]
    open_lids = _ONE - min(blink, _ONE)
    for side in range(2):
        pose[columns[_BLINKS + side]] += looked[half * side] * numbers[_LID_DOWN]
        wide = columns[_WIDES + side]
        pose[wide] = (pose[wide] + looked[half * side + half - 1] * numbers[_LID_UP]) * open_lids


@_inlined
def _lay(pose, shown, mouth, seals, numbers, columns):  # type: ignore[no-untyped-def]
    articulators, blends = mouth.shape
    for articulator in range(articulators):
        much = shown[articulator]
        if much != _ZERO:
            for column in range(blends):
                pose[column] += much * mouth[articulator, column]
    lips, teeth = shown[articulators], shown[articulators + 1]
    for column in range(blends):
        bitten = pose[column] * (_ONE - teeth * seals[0, column]) + teeth * seals[1, column]
        pose[column] = bitten * (_ONE - lips * seals[2, column]) + lips * seals[3, column]
    jaw, close = pose[columns[_JAW]], pose[columns[_CLOSE]]
    left = min(numbers[_JAW_OFFSET] + numbers[_JAW_PART] * max(jaw, _ZERO), numbers[_JAW_MOST])
    pose[columns[_JAW]] = jaw + (left - jaw) * lips
    pose[columns[_CLOSE]] = close + (left - close) * lips
    pose[columns[_PUFF]] += shown[columns[_PUFF_FROM]] * lips * numbers[_PUFF_GAIN]
    # What a student adds to brows and head; the rules leave it 0.
    further = articulators + 2
    pose[columns[_BROW_INNER]] += shown[further]
    pose[columns[_BROWS_OUTER]] += shown[further + 1]
    pose[columns[_BROWS_OUTER + 1]] += shown[further + 1]
    pose[columns[_NOD]] += shown[further + 2]


@_inlined
def _limit(pose, former, elapsed_s, step_max, ticks_hz, blends):  # type: ignore[no-untyped-def]
    for column in range(blends):
        pose[column] = min(max(pose[column], _ZERO), _ONE)
    ticks = np.float32(elapsed_s * ticks_hz)
    if ticks < _INFINITE:
        for column in range(len(pose)):
            step = step_max[column] * ticks
            pose[column] = former[column] + min(max(pose[column] - former[column], -step), step)
    former[:] = pose


@_inlined
def _turn(turns, joints):  # type: ignore[no-untyped-def]
    for joint in range(len(joints)):
        x, y, z = turns[3 * joint], turns[3 * joint + 1], turns[3 * joint + 2]
        w = _ONE / np.float32(math.sqrt((x * x + y * y + z * z) * np.float32(0.25) + _ONE))
        half = np.float32(0.5) * w
        joints[joint, 0], joints[joint, 1], joints[joint, 2], joints[joint, 3] = x * half, y * half, z * half, w


@_compiled(
    _INTS, _F64_1, _F64_1, _F64_1, _F64_1, _F64_1, _BOOLS, _F32_2,
    _F32_3, _F64_3, _F64_3, _F64_2, _F64_3, _F32_2,
    _F64_1, _F32_2, _F32_2, _F32_2, _F32_2, _F32_1, _INTS, _F32_1, _INTS,
    _F32_2, _F32_3,
)  # fmt: skip
def show(  # type: ignore[no-untyped-def]
    slots, times, elapsed, lived, levels, speaking, switched, wanted,
    held, easing, gestures, gaze, oscillators, poses,
    rates, expression, channels, mouth, seals, numbers, looks, gains, columns,
    weights, joints,
):  # fmt: skip
    """Faces, from where the mouths ought to be: `edge.easing.Easing.ease`, `core.avatar.behaviour.Behaviours.pose`,
    `core.avatar.blend.layer_mouth` and `limit_steps`, `core.avatar.rotation.quaternions`.

    Args:
        slots, times, elapsed, lived, levels, speaking, switched: [n], as in those; `lived`: elapsed for behaviours.
        wanted: float32[n, eased].
        held ... poses: tables of the easing, the behaviours and the poses shown last.
        rates ... columns: the constants of `edge.compiled`.
        weights, joints: float32[n, 52] and float32[n, 7, 4], written.
    """
    pose = np.empty(poses.shape[1], np.float32)
    drivers = np.empty(expression.shape[0], np.float32)
    fades, near = np.empty(len(rates), np.int64), np.empty(len(rates), np.float64)
    looked = np.empty(len(gains), np.float32)
    for row in range(len(slots)):
        slot, now = slots[row], times[row]
        shown = held[slot, 0]
        _ease(held[slot], wanted[row], switched[row], elapsed[row], numbers[_EASE_HZ], columns)
        target = easing[slot, 2]
        target[columns[_OWNED]] = speaking[row]
        target[columns[_ATTENTION]] = levels[row] * target[columns[_LISTEN]]
        _drive(
            easing[slot],
            gestures[slot],
            oscillators[slot],
            now,
            lived[row],
            rates,
            columns[_SPEAK],
            drivers,
            fades,
            near,
        )
        pose[:] = channels[_BASE]
        for driver in range(len(drivers)):
            much = drivers[driver]
            if much != _ZERO:
                pose += much * expression[driver]
        _look(pose, gaze[slot], now, drivers[columns[_BLINK]], looks, gains, looked, numbers, columns)
        owned = drivers[columns[_OWNED]]
        for column in range(weights.shape[1]):
            pose[column] *= _ONE - owned * channels[_YIELDS, column]
        _lay(pose, shown, mouth, seals, numbers, columns)
        _limit(pose, poses[slot], elapsed[row], channels[_STEP_MAX], numbers[_TICKS_HZ], weights.shape[1])
        weights[row] = pose[: weights.shape[1]]
        _turn(pose[weights.shape[1] :], joints[row])


@_compiled(_INTS, _F32_3, "int8[::1]", "int64[:,::1]", _F32_3, _F32_2, _F32_2)
def recall(slots, states, clocks, places, past, ears, heard):  # type: ignore[no-untyped-def]
    """What a student is given of what it remembers: `edge.student_memory.StudentMemory.recall`.

    Args:
        states, clocks: of all slots. places: int64[clock, recalled], rows of a state.
        past, ears, heard: float32[recalled, n, width], [n, bands], [n, 1], written.
    """
    # Written out: Numba's own copies of slices are several times slower.
    count, width, bands = past.shape[0], past.shape[2], ears.shape[1]
    for row in range(len(slots)):
        slot = slots[row]
        clock = clocks[slot]
        for index in range(count):
            place = places[clock, index]
            for column in range(width):
                past[index, row, column] = states[slot, place, column]
        for column in range(bands):
            ears[row, column] = states[slot, 0, column]
        heard[row, 0] = states[slot, 0, bands]


@_compiled(_INTS, _F32_3, "int8[::1]", "int64[:,::1]", _F32_2, _F32_2, _F32_2, _F32_2, _F32_2, _F32_2)
def keep(slots, states, clocks, places, ears, heard, first, second, third, fourth):  # type: ignore[no-untyped-def]
    """What a student remembers from now on: `edge.student_memory.StudentMemory.keep`.

    Args:
        states, clocks: of all slots, written. places: int64[clock, blocks], rows of a state that are the oldest.
        ears, heard: [n, bands], [n, 1]. first, second, third, fourth: [n, width], each block's newest input.
    """
    bands, width = ears.shape[1], first.shape[1]
    for row in range(len(slots)):
        slot = slots[row]
        clock = clocks[slot]
        for column in range(bands):
            states[slot, 0, column] = ears[row, column]
        states[slot, 0, bands] = heard[row, 0]
        one, two, three, four = places[clock, 0], places[clock, 1], places[clock, 2], places[clock, 3]
        for column in range(width):
            states[slot, one, column] = first[row, column]
            states[slot, two, column] = second[row, column]
            states[slot, three, column] = third[row, column]
            states[slot, four, column] = fourth[row, column]
        clocks[slot] = (clock + 1) % places.shape[0]


@_compiled(_INTS, _INTS, _INTS, _BOOLS, _INTS, _INTS, _INTS, _INTS, _BOOLS, _BOOLS, gives="UniTuple(int64, 3)")
def follow(slots, ticks, sources, opened, cut_through, source, due_ticks, followed, switched, due):  # type: ignore[no-untyped-def]
    """What mouths follow now: `edge.mouths.Mouths.follow`.

    Args:
        opened, cut_through, source, due_ticks: tables of the mouths.
        followed, switched, due: int64[n], bool[n], bool[n], written: sources but for those that were cut; another than
            before; a sound or beat is due (true only as long as none has switched).
    Returns: how many are not open, have switched, are due.
    """
    closed = changed = arrived = 0
    for row in range(len(slots)):
        slot = slots[row]
        closed += not opened[slot]
        now = sources[row] if sources[row] > cut_through[slot] else 0
        followed[row] = now
        switched[row] = now != source[slot]
        due[row] = due_ticks[slot] <= ticks[row]
        changed += switched[row]
        arrived += due[row]
    return closed, changed, arrived


@_compiled(_INTS, _F64_1, _F64_1, _F64_1, _F64_1, "float64", _F64_1)
def notice(slots, times, speaking, last_times, activity, per_s, elapsed):  # type: ignore[no-untyped-def]
    """How long ago the frame before was, and how much each session speaks: `edge.animator.Animator.animate`.

    Args:
        last_times, activity: tables, written. per_s: 1 / time constant of the activity.
        elapsed: float64[n], written.
    """
    for row in range(len(slots)):
        slot = slots[row]
        since = max(times[row] - last_times[slot], 0.0)
        last_times[slot] = times[row]
        elapsed[row] = since
        activity[slot] += (speaking[row] - activity[slot]) * (1.0 - math.exp(-since * per_s))


@_compiled(_INTS, _F64_1, "int8[::1]", "int8", _BOOLS, "int16[::1]", _BOOLS, _INTS, gives="UniTuple(int64, 2)")
def serve(slots, speaking, tiers, rules, swapped, unsettled, swapped_rows, served):  # type: ignore[no-untyped-def]
    """Who is served by a student: `edge.student_faces.StudentFaces.answer`.

    Args:
        tiers, swapped, unsettled: tables; `swapped` is written. rules: the tier without a student.
        swapped_rows, served: bool[n], int64[n], written: rows whose mover is another; rows that speak and are served.
    Returns: how many are served, and how many others still settle.
    """
    count = settling = 0
    for row in range(len(slots)):
        slot = slots[row]
        swapped_rows[row] = swapped[slot]
        swapped[slot] = False
        if tiers[slot] < rules:
            if speaking[row] > 0.0:
                served[count] = row
                count += 1
            elif unsettled[slot] > 0:
                settling += 1
    return count, settling


@_compiled(_INTS, _INTS, "Array(uint8, 2, 'C', readonly=True)", _F32_2, _F32_2, _F32_2)
def tell(rows, slots, bands, wishes, moods, inputs):  # type: ignore[no-untyped-def]
    """What a student is told: `edge.student_faces.StudentFaces`.

    Args:
        rows, slots: int64[k]: of the rows that are told something, and their slots. bands: uint8[k, bands].
        wishes: float32[n, plan]. moods: a table. inputs: float32[k, inputs], written.
    """
    heard, planned, felt = bands.shape[1], wishes.shape[1], moods.shape[1]
    for index in range(len(rows)):
        row, slot = rows[index], slots[index]
        for column in range(heard):
            inputs[index, column] = np.float32(bands[index, column]) * np.float32(1.0 / 255.0)
        for column in range(planned):
            inputs[index, heard + column] = wishes[row, column]
        for column in range(felt):
            inputs[index, heard + planned + column] = moods[slot, column]


@_compiled(_INTS, _F32_2, _BOOLS, _INTS, _F32_1, _F32_2, _F32_1, _BOOLS, gives="int64")
def heed(slots, answers, welcomed, columns, edges, positions, sync, blinks):  # type: ignore[no-untyped-def]
    """What a student's answers come to: `edge.student_faces.StudentFaces`.

    Args:
        slots: int64[k]. answers: of all slots. welcomed: a table, written.
        columns: mouth outputs, the blink's and the sync's place. edges: from where a blink is welcome, until where.
        positions, sync, blinks: float32[k, eased], float32[k], bool[k], written.
    Returns: how many blinks are welcome.
    """
    mouth, blink, agrees = columns[0], columns[1], columns[2]
    invited = 0
    for row in range(len(slots)):
        slot = slots[row]
        for column in range(positions.shape[1]):
            positions[row, column] = answers[slot, column]
        for column in range(mouth):
            positions[row, column] = min(max(positions[row, column], _ZERO), _ONE)
        sync[row] = min(max(answers[slot, agrees], _ZERO), _ONE)
        told = welcomed[slot]
        blinks[row] = answers[slot, blink] > edges[0] and not told
        welcomed[slot] = answers[slot, blink] > edges[1] if told else blinks[row]
        invited += blinks[row]
    return invited


@_compiled(_INTS, _F32_2, "int8[::1]", "int16[::1]", "int8[::1]", gives="UniTuple(boolean, 4)")
def look_over(slots, inputs, fidelity, character, style_left):  # type: ignore[no-untyped-def]
    """Whether sessions can run as one: `edge.student.Student.run`.

    Args: fidelity, character, style_left: tables.
    Returns: their inputs are finite, they have one fidelity, they have one character, some become another one.
    """
    one_fidelity = one_character = True
    moving, wrong = False, 0
    for row in range(len(slots)):
        slot = slots[row]
        for column in range(inputs.shape[1]):
            wrong += not abs(inputs[row, column]) < _INFINITE
        one_fidelity &= fidelity[slot] == fidelity[slots[0]]
        one_character &= character[slot] == character[slots[0]]
        moving |= style_left[slot] > 0
    return wrong == 0, one_fidelity, one_character, moving
