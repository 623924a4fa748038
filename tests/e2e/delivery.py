"""What loss did to a conversation: faces that stood still, mouths that stood still while the voice went on, gaps.

Pure measures over recordings; `tests/e2e/test_delivery_measures.py` shows that they find what they are for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.avatar.rig import BLENDSHAPE_INDEX
from loadtests.lip_sync import STEP_S, Curve, loudness
from loadtests.recording import Recording
from loadtests.signals import Lag, lag, loud_from, resample_at

__all__ = [
    "AUDIBLE_RMS",
    "FREEZE_S",
    "Faces",
    "Fit",
    "Stretch",
    "Truth",
    "fits",
    "frozen_mouth",
    "mouth_error",
    "silences",
    "still",
    "truth_of",
]

Values = NDArray[np.float64]

FREEZE_S = 0.100
AUDIBLE_RMS = 0.01
_AUDIBLE_DBFS = -40.0
_STILL = 0.5 / 1023
"""Half a step of a mouth weight on the wire: less is no movement of a mouth."""
_SAME = 1e-5
"""A picture that stands does not change at all; a calm face that only breathes changes by some 4e-4 in 100 ms, and by a
few 1e-5 where its breath turns."""
_MOUTH_MOVED = 0.02
"""What the true jaw must do within a stillness for it to be called frozen: two per cent of its way."""
_WINDOW_S = 2.0
_REACH_S = 0.3
_CORRELATION_MIN = 0.7
"""Below this two curves are not the same movement, and a lag between them means nothing."""
_EDGE_S = 0.030
"""Drawn and true curves fit each other to about a frame: what is at a stillness' very edges is not judged."""
_JAW = BLENDSHAPE_INDEX["jawOpen"]
_MOUTH = np.array([index for name, index in BLENDSHAPE_INDEX.items() if name.startswith(("jaw", "mouth"))])


@dataclass(frozen=True, slots=True)
class Faces:
    """Drawn faces: seconds, increasing, float64[n]; 52 weights and 28 joint components each, float64[n, 80]."""

    at_s: Values
    values: Values

    def jaw(self) -> Curve:
        """How far the jaw was open."""
        return Curve(self.at_s, self.values[:, _JAW])

    def between(self, begin_s: float, end_s: float) -> Faces:
        """Only this stretch."""
        kept = (self.at_s >= begin_s) & (self.at_s < end_s)
        return Faces(self.at_s[kept], self.values[kept])


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time in seconds."""

    begin_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """From its begin to its end."""
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Truth:
    """One answer as it was sent, on its media clock in seconds.

    Attributes:
        text: what was said.
        faces: one per frame.
        voice_s: when the first packet with voice begins.
        sound: float32[n], 48 kHz, from then on.
    """

    text: str
    faces: Faces
    voice_s: float
    sound: NDArray[np.float32]

    def voice(self) -> Curve:
        """Loudness."""
        return loudness(self.voice_s, self.sound)

    @property
    def loud_s(self) -> float:
        """When something is first heard."""
        found = loud_from(self.sound, 48_000, _AUDIBLE_DBFS)
        assert found is not None, "the answer has a voice"
        return self.voice_s + found

    def shifted(self, seconds: float) -> Truth:
        """The same, later."""
        faces = Faces(self.faces.at_s + seconds, self.faces.values)
        return Truth(self.text, faces, self.voice_s + seconds, self.sound)


def truth_of(recording: Recording, text: str) -> Truth:
    """What a viewer on a perfect path was sent of the one answer in its recording."""
    arrivals = sorted((one for one in recording.arrivals if one.frame is not None), key=lambda one: one.media_time)
    rows = [np.concatenate([one.frame.weights, one.frame.joints.ravel()]) for one in arrivals if one.frame is not None]
    faces = Faces(np.array([one.media_time for one in arrivals]) / 48_000, np.array(rows, dtype=np.float64))
    voiced = sorted((block for block in recording.heard if block.voice), key=lambda block: block.media_time)
    begin = voiced[0].media_time
    sound = np.zeros(voiced[-1].media_time - begin + voiced[-1].source.size, dtype=np.float32)
    for block in voiced:
        offset = block.media_time - begin
        sound[offset : offset + block.source.size] = block.source
    return Truth(text, faces, begin / 48_000, sound)


def still(faces: Faces, *, channels: NDArray[np.intp] | None = None, longer_s: float = FREEZE_S) -> list[Stretch]:
    """Stretches in which nothing drawn changed for longer than this: no channel of a face, or not these of its mouth.

    Times at which nothing was drawn at all do not count as still: that is the machine, not the network.
    """
    values, change = (faces.values, _SAME) if channels is None else (faces.values[:, channels], _STILL)
    found: list[Stretch] = []
    start = 0
    for index in range(1, len(values) + 1):
        if index < len(values) and float(np.abs(values[index] - values[start]).max()) < change:
            continue
        stretch = Stretch(float(faces.at_s[start]), float(faces.at_s[index - 1]))
        if stretch.length_s > longer_s:
            found.append(stretch)
        start = index
    return found


@dataclass(frozen=True, slots=True)
class Fit:
    """How a window of what was drawn and heard lies against the truth; positive: later.

    Attributes:
        window: on the truth's clock.
        motion: the drawn jaw behind the true one.
        sound: the heard voice behind the true one.
    """

    window: Stretch
    motion: Lag
    sound: Lag

    @property
    def offset_ms(self) -> float:
        """Positive: the lips come later than the voice."""
        return (self.motion.seconds - self.sound.seconds) * 1e3


def fits(faces: Faces, heard: Curve, truth: Truth) -> list[Fit]:
    """Window by window, because a browser plays quicker and slower as its jitter buffer likes; see
    `loadtests.lip_sync.lip_sync` for why each is compared with its own truth. Windows in which a pair does not
    correlate are left out.

    Args:
        heard: loudness over time, when it leaves the loudspeaker.
        truth: on the same clock, to about 100 ms.
    """
    jaw, voice, drawn = truth.faces.jaw(), truth.voice(), faces.jaw()
    found = []
    for begin in np.arange(truth.loud_s, voice.times_s[-1] - _WINDOW_S / 2, _WINDOW_S / 2):
        times = np.arange(begin - _REACH_S, begin + _WINDOW_S + _REACH_S, STEP_S)
        motion = lag(
            resample_at(jaw.times_s, jaw.values, times),
            resample_at(drawn.times_s, drawn.values, times, hold=True),  # a picture stands until the next one
            step_s=STEP_S,
            lag_s_max=_REACH_S,
        )
        sound = lag(_level(voice, times), _level(heard, times), step_s=STEP_S, lag_s_max=_REACH_S)
        if motion is not None and sound is not None and min(motion.correlation, sound.correlation) >= _CORRELATION_MIN:
            found.append(Fit(Stretch(float(begin), float(begin + _WINDOW_S)), motion, sound))
    return found


def _level(voice: Curve, times: Values) -> Values:
    return np.asarray(np.interp(times, voice.times_s, voice.values, left=0.0, right=0.0), dtype=np.float64)


def _nearest(found: list[Fit], at_s: float) -> Fit:
    return min(found, key=lambda fit: abs((fit.window.begin_s + fit.window.end_s) / 2 - at_s))


def frozen_mouth(faces: Faces, truth: Truth, found: list[Fit]) -> list[Stretch]:
    """Stretches of over 100 ms in which the drawn mouth stood still while the true jaw moved; `found` from `fits`."""
    jaw = truth.faces.jaw()
    frozen = []
    for stretch in still(faces, channels=_MOUTH):
        behind_s = _nearest(found, stretch.begin_s).motion.seconds
        begin, end = stretch.begin_s + _EDGE_S - behind_s, stretch.end_s - _EDGE_S - behind_s
        if begin < jaw.times_s[0] or end > jaw.times_s[-1]:
            continue
        wanted = np.interp(np.linspace(begin, end, 20), jaw.times_s, jaw.values)
        if float(np.ptp(wanted)) > _MOUTH_MOVED:
            frozen.append(stretch)
    return frozen


def mouth_error(faces: Faces, truth: Truth, found: list[Fit]) -> float:
    """Root of the mean squared difference between drawn and true jaw while the answer lasts; `found` from `fits`."""
    jaw, drawn = truth.faces.jaw(), faces.jaw()
    kept = (drawn.times_s >= truth.voice_s) & (drawn.times_s <= truth.voice_s + truth.sound.size / 48_000)
    behind = np.array([_nearest(found, at).motion.seconds for at in drawn.times_s[kept]])
    wanted = np.interp(drawn.times_s[kept] - behind, jaw.times_s, jaw.values)
    return float(np.sqrt(np.mean(np.square(drawn.values[kept] - wanted))))


def silences(heard: Curve, truth: Truth, found: list[Fit]) -> list[Stretch]:
    """Stretches without a sound in which the voice ought to be heard for over 100 ms; `found` from `fits`."""
    voice = truth.voice()
    quiet = np.concatenate([[False], heard.values <= AUDIBLE_RMS / 4, [False]])
    edges = np.flatnonzero(np.diff(quiet.astype(np.int8)))
    silent = []
    for begin, end in zip(heard.times_s[edges[0::2]], heard.times_s[edges[1::2] - 1], strict=True):
        stretch = Stretch(float(begin), float(end))
        if stretch.length_s <= FREEZE_S:
            continue
        inside = np.arange(stretch.begin_s, stretch.end_s, STEP_S) - _nearest(found, stretch.begin_s).sound.seconds
        if float((_level(voice, inside) > AUDIBLE_RMS).sum()) * STEP_S > FREEZE_S:
            silent.append(stretch)
    return silent
