"""What every session is going to say: the phonemes of its utterances as curves, and where each mouth is on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.avatar.behaviour import Behaviours
from core.avatar.slot_tables import load_rows, save_rows
from core.errors import LocalProtocolError
from core.limits import MEDIA_CLOCK_HZ, UTTERANCES_PER_SLOT_MAX
from core.speech.coarticulation import BEAT_COLUMN, CURVE_COLUMNS, REST_ROW, MouthCurve, draw, resolve
from core.speech.messages import PhonemeSpan
from core.speech.student_layout import MOUTH, PLAN
from edge.animator_row import AnimatorRow

__all__ = ["MouthState", "Mouths", "Plans"]

_BEAT_AHEAD_TICKS: Final = 5_760
"""Head beats are prepared 120 ms before their syllable."""
_SPANS_BEHIND_TICKS: Final = 24_000
"""Phonemes that ended half a second ago bend nothing any more."""
_BEAT_STRENGTH: Final = (0.0, 0.55, 1.0)
_PLANNED: Final = PLAN.index("planned")
_BEAT: Final = PLAN.index("beat")


@dataclass(slots=True)
class Plans:
    """What the phonemes ask for, in the order of the rows.

    Attributes:
        wishes: float32[n, len(PLAN)], see core.speech.student_layout; all 0 where nothing is known.
        speaking: float64[n], 1 where speech owns the mouth, else 0.
        switched: bool[n]: the mouth follows another utterance than in its frame before, or none any more.
        corrected: (row, float32[len(MOUTH)]): how far late phonemes have moved the wish under a mouth.
    """

    wishes: NDArray[np.float32]
    speaking: NDArray[np.float64]
    switched: NDArray[np.bool_]
    corrected: list[tuple[int, NDArray[np.float32]]]


class MouthState(msgspec.Struct, frozen=True, array_like=True):
    """What one mouth does: the utterance it follows and where, what was cut, the wishes it had last (float32 bytes),
    and the phonemes that still matter, by utterance."""

    source: int
    ticks: int
    cut_through: int
    wishes: bytes
    spans: list[tuple[int, list[PhonemeSpan]]]


class _Voice:
    """What one session is going to say."""

    __slots__ = ("beats_done", "by_rules", "curves", "cut_through", "source", "ticks")

    def __init__(self) -> None:
        self.curves: dict[int, MouthCurve] = {}
        self.cut_through = 0
        self.source = 0
        """The utterance the mouth follows now, 0 = none."""
        self.ticks = 0
        self.beats_done = 0
        self.by_rules = True
        """Beats become gestures of the behaviours; a student does them itself."""


class Mouths:
    """One slot per session.

    Args:
        behaviours: of the same slots; told the stressed syllables of mouths that go by the rules.

    Attributes:
        unknown_phonemes: letters in phoneme symbols that no table knows (they look neutral).
        dropped_phonemes: spans refused because of impossible times, or of utterances that were cut.
    """

    def __init__(self, capacity: int, behaviours: Behaviours) -> None:
        self._voices: list[_Voice | None] = [None] * capacity
        self._behaviours = behaviours
        self._wishes = np.zeros((capacity, len(MOUTH)), dtype=np.float32)
        """What the phonemes asked of each mouth last."""
        self.unknown_phonemes = 0
        self.dropped_phonemes = 0

    def grow(self, capacity: int) -> None:
        """Make room; sessions keep their slots."""
        extra = capacity - len(self._voices)
        self._voices += [None] * extra
        self._wishes = np.concatenate([self._wishes, np.zeros((extra, len(MOUTH)), dtype=np.float32)])

    def open(self, slot: int) -> None:
        """A session that has nothing to say yet."""
        self._voices[slot] = _Voice()
        self._wishes[slot] = 0.0

    def close(self, slot: int) -> None:
        """Forget a session. Raises: LocalProtocolError: the slot is not open (also for all methods below)."""
        self.check(slot)
        self._voices[slot] = None

    def check(self, slot: int) -> None:
        """See `close`."""
        self._voice(slot)

    def _voice(self, slot: int) -> _Voice:
        voice = self._voices[slot] if 0 <= slot < len(self._voices) else None
        if voice is None:
            raise LocalProtocolError(f"animator slot {slot} is not open")
        return voice

    # --- what happens to a session -------------------------------------------------------------------------------

    def go_by_rules(self, slot: int, by_rules: bool) -> None:
        """Whether stressed syllables become gestures of the behaviours."""
        self._voice(slot).by_rules = by_rules

    def speech_start(self, slot: int, utterance_id: int) -> None:
        """An utterance is announced. A silent face breathes in and looks at the viewer."""
        voice = self._voice(slot)
        self._curve(voice, utterance_id)
        if voice.source == 0:
            self._behaviours.expect_speech(slot)

    def speech_phonemes(self, slot: int, utterance_id: int, spans: Sequence[PhonemeSpan]) -> None:
        """Phonemes of an utterance; see `Animator.speech_phonemes`."""
        if not spans:
            return
        curve = self._curve(self._voice(slot), utterance_id)
        if curve is None:
            self.dropped_phonemes += len(spans)
            return
        unknown, dropped = curve.unknown, curve.dropped
        curve.add(spans)
        self.unknown_phonemes += curve.unknown - unknown
        self.dropped_phonemes += curve.dropped - dropped

    def save(self, slot: int) -> MouthState:
        """A mouth, for another process that goes on with it."""
        voice = self._voice(slot)
        spans = [
            (utterance_id, [span for span in curve.spans if span.end > voice.ticks - _SPANS_BEHIND_TICKS])
            for utterance_id, curve in voice.curves.items()
            if utterance_id >= voice.source
        ]
        wishes = save_rows((self._wishes,), slot)[0]
        return MouthState(voice.source, voice.ticks, voice.cut_through, wishes, spans)

    def load(self, slot: int, state: MouthState) -> None:
        """Go on with a mouth. Raises: RemoteProtocolError: `bad-state`."""
        voice = self._voice(slot)
        load_rows((self._wishes,), slot, [state.wishes])
        voice.source, voice.ticks, voice.cut_through = state.source, state.ticks, state.cut_through
        for utterance_id, spans in state.spans:
            curve = self._curve(voice, utterance_id)
            if curve is None:
                continue
            if utterance_id == state.source:
                curve.at(state.ticks)  # its past is not drawn again
            curve.add(spans)
            curve.disturbed = False
            if utterance_id == state.source:
                voice.beats_done = sum(tick - state.ticks <= _BEAT_AHEAD_TICKS for tick, _ in curve.beats)

    def speech_cut(self, slot: int) -> None:
        """Everything announced so far is forgotten."""
        voice = self._voice(slot)
        voice.cut_through = max(voice.cut_through, voice.source, *voice.curves, 0)
        voice.curves.clear()

    @staticmethod
    def _curve(voice: _Voice, utterance_id: int) -> MouthCurve | None:
        """An utterance's curve, begun if need be; None if it was cut or is no utterance."""
        curve = voice.curves.get(utterance_id)
        if curve is None and utterance_id > voice.cut_through:
            curve = voice.curves[utterance_id] = MouthCurve()
            if len(voice.curves) > UTTERANCES_PER_SLOT_MAX:
                del voice.curves[min(voice.curves)]
        return curve

    # --- frames --------------------------------------------------------------------------------------------------

    def follow(self, rows: Sequence[AnimatorRow], slots: NDArray[np.intp], times: NDArray[np.float64]) -> Plans:
        """Where every mouth ought to be now.

        Args:
            slots: intp[n], of the rows. times: float64[n], media seconds.
        """
        count = len(rows)
        seen = [REST_ROW] * count
        plans = Plans(
            np.zeros((count, len(PLAN)), dtype=np.float32), np.zeros(count), np.zeros(count, dtype=np.bool_), []
        )
        speaking: list[int] = []
        planned: list[int] = []
        due: list[tuple[int, AnimatorRow, _Voice, MouthCurve]] = []
        voices = self._voices
        for index, row in enumerate(rows):
            voice = voices[row.slot]
            if voice is None:
                raise LocalProtocolError(f"animator slot {row.slot} is not open")
            source, curve = row.utterance_id, None
            if source:
                if source <= voice.cut_through:
                    source = 0
                else:
                    speaking.append(index)
                    curve = voice.curves.get(source)
            if source != voice.source:
                self._switch(voice, source)
                plans.switched[index] = True
            if curve is not None:
                planned.append(index)
                ticks = row.utterance_ticks
                if curve.due_ticks <= ticks or curve.disturbed:
                    due.append((index, row, voice, curve))
                else:
                    voice.ticks = ticks
                    seen[index] = curve.at(ticks)
                if voice.by_rules and voice.beats_done < len(curve.beats):
                    self._beat(row, voice, curve, float(times[index]))
        if due:
            draw([curve for *_, curve in due])
        for index, row, voice, curve in due:
            if curve.disturbed:
                plans.corrected.append((index, self._correct(row.slot, voice, curve)))
            voice.ticks = row.utterance_ticks
            seen[index] = curve.at(row.utterance_ticks)
        grid = np.concatenate(seen).reshape(count, CURVE_COLUMNS) if seen else np.empty((0, CURVE_COLUMNS), np.float32)
        wishes = plans.wishes
        articulators, seals = resolve(grid)
        wishes[:, : articulators.shape[1]] = articulators
        wishes[:, articulators.shape[1] : len(MOUTH)] = seals
        wishes[planned, _PLANNED] = 1.0
        wishes[:, _BEAT] = grid[:, BEAT_COLUMN]
        self._wishes[slots] = wishes[:, : len(MOUTH)]
        plans.speaking[speaking] = 1.0
        return plans

    @staticmethod
    def _switch(voice: _Voice, source: int) -> None:
        voice.source = source
        voice.beats_done = 0
        for old in [key for key in voice.curves if source and key < source]:
            del voice.curves[old]

    def _correct(self, slot: int, voice: _Voice, curve: MouthCurve) -> NDArray[np.float32]:
        """A late phoneme has bent the curve under the mouth. Returns: what it asked before, less what it asks now."""
        curve.disturbed = False
        there = np.concatenate(resolve(curve.at(voice.ticks)[None]), axis=1)[0]
        moved: NDArray[np.float32] = self._wishes[slot] - there
        return moved

    def _beat(self, row: AnimatorRow, voice: _Voice, curve: MouthCurve, now_s: float) -> None:
        """Hand on the stressed syllables that are near; those that have passed are skipped."""
        while voice.beats_done < len(curve.beats):
            tick, stress = curve.beats[voice.beats_done]
            ahead = tick - row.utterance_ticks
            if ahead > _BEAT_AHEAD_TICKS:
                return
            voice.beats_done += 1
            if ahead >= 0:
                strength = _BEAT_STRENGTH[stress]
                self._behaviours.beat(row.slot, now_s, now_s + ahead / MEDIA_CLOCK_HZ, strength)
