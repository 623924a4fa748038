"""What every session is going to say: the phonemes of its utterances, and what they ask of each mouth now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.avatar.behaviour import Behaviours
from core.avatar.slot_tables import load_rows, save_rows
from core.errors import LocalProtocolError
from core.limits import MEDIA_CLOCK_HZ, UTTERANCES_PER_SLOT_MAX
from core.speech.coarticulation import BEAT_COLUMN, BEFORE_S, NEVER, Sound, SoundTable, Utterance, resolve
from core.speech.messages import PhonemeSpan
from core.speech.student_layout import MOUTH, PLAN

if TYPE_CHECKING:  # what numba needs is a matter of who wants it
    from edge.compiled import CompiledFaces

__all__ = ["MouthState", "Mouths", "Plans"]

_BEAT_AHEAD_TICKS: Final = 5_760
"""Head beats are prepared 120 ms before their syllable."""
_SPANS_BEHIND_TICKS: Final = 24_000
"""Phonemes that ended half a second ago bend nothing any more."""
_BEAT_STRENGTH: Final = (0.0, 0.55, 1.0)
_PLANNED: Final = PLAN.index("planned")
_BEAT: Final = PLAN.index("beat")
_BEFORE_TICKS: Final = round(-BEFORE_S * MEDIA_CLOCK_HZ)
"""Where a mouth is before the first frame of its utterance."""


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

    __slots__ = ("by_rules", "source", "utterances")

    def __init__(self) -> None:
        self.source = 0
        """As `Mouths` has it for all, but quicker to read."""
        self.utterances: dict[int, Utterance] = {}
        self.by_rules = True
        """Beats become gestures of the behaviours; a student does them itself."""


class Mouths:
    """One slot per session.

    Args:
        behaviours: of the same slots; told the stressed syllables of mouths that go by the rules.
        compiled: does the arithmetic; None: numpy does.

    Attributes:
        unknown_phonemes: letters in phoneme symbols that no table knows (they look neutral).
        dropped_phonemes: spans refused because of impossible times, because too many wait, or of utterances that were
            cut.
    """

    def __init__(self, capacity: int, behaviours: Behaviours, compiled: CompiledFaces | None = None) -> None:
        self._compiled = compiled
        self._voices: list[_Voice | None] = [None] * capacity
        self._behaviours = behaviours
        self._sounds = SoundTable(capacity)
        self._open = np.zeros(capacity, dtype=np.bool_)
        self._cut_through = np.zeros(capacity, dtype=np.int64)
        self._source = np.zeros(capacity, dtype=np.int64)
        """The utterance each mouth follows now, 0 = none."""
        self._ticks = np.zeros(capacity, dtype=np.int64)
        """Where in it its last frame was."""
        self._known = np.zeros(capacity, dtype=np.bool_)
        """That utterance has phonemes."""
        self._due = np.full(capacity, NEVER)
        """The position at which one of its sounds or beats is due."""
        self._wishes = np.zeros((capacity, len(MOUTH)), dtype=np.float32)
        """What the phonemes asked of each mouth last."""
        self.unknown_phonemes = 0
        self.dropped_phonemes = 0

    def grow(self, capacity: int) -> None:
        """Make room; sessions keep their slots."""
        extra = capacity - len(self._voices)
        self._voices += [None] * extra
        self._sounds.grow(capacity)
        for name in ("_open", "_cut_through", "_source", "_ticks", "_known", "_due", "_wishes"):
            table = getattr(self, name)
            setattr(self, name, np.concatenate([table, np.zeros((extra, *table.shape[1:]), dtype=table.dtype)]))

    def open(self, slot: int) -> None:
        """A session that has nothing to say yet."""
        self._voices[slot] = _Voice()
        self._open[slot] = True
        self._sounds.clear(slot)
        for table in (self._cut_through, self._source, self._ticks, self._known, self._wishes):
            table[slot] = 0
        self._due[slot] = NEVER

    def close(self, slot: int) -> None:
        """Forget a session. Raises: LocalProtocolError: the slot is not open (also for all methods below)."""
        self.check(slot)
        self._voices[slot] = None
        self._open[slot] = False

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
        voice = self._voice(slot)
        voice.by_rules = by_rules
        self._due[slot] = self._next_due(voice, int(self._source[slot]))

    def speech_start(self, slot: int, utterance_id: int) -> None:
        """An utterance is announced. A silent face breathes in and looks at the viewer."""
        self._utterance(slot, self._voice(slot), utterance_id)
        if self._source[slot] == 0:
            self._behaviours.expect_speech(slot)

    def speech_phonemes(self, slot: int, utterance_id: int, spans: Sequence[PhonemeSpan]) -> None:
        """Phonemes of an utterance; see `Animator.speech_phonemes`."""
        if not spans:
            return
        voice = self._voice(slot)
        utterance = voice.utterances.get(utterance_id) or self._utterance(slot, voice, utterance_id)
        if utterance is None:
            self.dropped_phonemes += len(spans)
            return
        now = utterance_id == voice.source
        unknown, dropped, due = utterance.unknown, utterance.dropped, utterance.due_ticks
        utterance.add(spans, int(self._ticks[slot]) if now else _BEFORE_TICKS)
        self.unknown_phonemes += utterance.unknown - unknown
        self.dropped_phonemes += utterance.dropped - dropped
        if now and (voice.by_rules or utterance.due_ticks != due):
            self._due[slot] = self._next_due(voice, utterance_id)

    def save(self, slot: int) -> MouthState:
        """A mouth, for another process that goes on with it."""
        voice, source, ticks = self._voice(slot), int(self._source[slot]), int(self._ticks[slot])
        spans = [
            (utterance_id, [span for span in utterance.spans if span.end > ticks - _SPANS_BEHIND_TICKS])
            for utterance_id, utterance in voice.utterances.items()
            if utterance_id >= source
        ]
        wishes = save_rows((self._wishes,), slot)[0]
        return MouthState(source, ticks, int(self._cut_through[slot]), wishes, spans)

    def load(self, slot: int, state: MouthState) -> None:
        """Go on with a mouth. Raises: RemoteProtocolError: `bad-state`."""
        voice = self._voice(slot)
        load_rows((self._wishes,), slot, [state.wishes])
        self._switch(slot, state.source)
        self._ticks[slot], self._cut_through[slot] = state.ticks, state.cut_through
        for utterance_id, spans in state.spans:
            utterance = self._utterance(slot, voice, utterance_id)
            if utterance is None:
                continue
            utterance.add(spans, state.ticks if utterance_id == state.source else _BEFORE_TICKS)
            if utterance_id == state.source:
                utterance.beats[:] = [beat for beat in utterance.beats if beat[0] - state.ticks > _BEAT_AHEAD_TICKS]
        self._due[slot] = self._next_due(voice, state.source)

    def speech_cut(self, slot: int) -> None:
        """Everything announced so far is forgotten."""
        voice = self._voice(slot)
        self._cut_through[slot] = max(int(self._cut_through[slot]), int(self._source[slot]), *voice.utterances, 0)
        voice.utterances.clear()
        self._due[slot] = NEVER

    def _utterance(self, slot: int, voice: _Voice, utterance_id: int) -> Utterance | None:
        """An utterance, begun if need be; None if it was cut or is none."""
        utterance = voice.utterances.get(utterance_id)
        if utterance is None and utterance_id > self._cut_through[slot]:
            utterance = voice.utterances[utterance_id] = Utterance()
            if utterance_id == self._source[slot]:
                self._known[slot] = True
            if len(voice.utterances) > UTTERANCES_PER_SLOT_MAX:
                del voice.utterances[min(voice.utterances)]
        return utterance

    @staticmethod
    def _next_due(voice: _Voice, source: int) -> int:
        utterance = voice.utterances.get(source)
        if utterance is None:
            return NEVER
        if voice.by_rules and utterance.beats:
            return min(utterance.due_ticks, utterance.beats[0][0] - _BEAT_AHEAD_TICKS)
        return utterance.due_ticks

    # --- frames --------------------------------------------------------------------------------------------------

    def follow(
        self,
        slots: NDArray[np.intp],
        times: NDArray[np.float64],
        sources: NDArray[np.int64],
        ticks: NDArray[np.int64],
    ) -> Plans:
        """Where every mouth ought to be now.

        Args:
            slots: intp[n], each at most once.
            times: float64[n], media seconds.
            sources: int64[n], the utterances whose sound their frames accompany, 0 = silence.
            ticks: int64[n], the positions of the frames in them.
        """
        if self._compiled is not None:
            sources, switched, due, (closed, changed, arrived) = self._compiled.follow(
                slots, ticks, sources, self._open, self._cut_through, self._source, self._due
            )
        else:
            closed = not self._open[slots].all()
            sources = np.where(sources > self._cut_through[slots], sources, 0)
            switched = sources != self._source[slots]
            due = self._due[slots] <= ticks
            changed = arrived = True
        if closed:
            raise LocalProtocolError("an animator slot is not open")
        if changed:
            for index in np.flatnonzero(switched).tolist():
                self._switch(int(slots[index]), int(sources[index]))
            due = self._due[slots] <= ticks
        corrected = self._arrive(slots, times, ticks, np.flatnonzero(due)) if changed or arrived else []
        self._ticks[slots] = ticks
        speaking = sources != 0
        planned = speaking & self._known[slots]
        if planned.all():  # the usual case
            wishes = self._ask(slots, ticks)
        else:
            wishes = np.zeros((len(slots), len(PLAN)), dtype=np.float32)
            if planned.any():
                wishes[planned] = self._ask(slots[planned], ticks[planned])
        self._wishes[slots] = wishes[:, : len(MOUTH)]
        return Plans(wishes, speaking.astype(np.float64), switched, corrected)

    def _ask(self, slots: NDArray[np.intp], ticks: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the phonemes want of mouths that have some: float32[n, len(PLAN)]."""
        wishes = np.empty((len(slots), len(PLAN)), dtype=np.float32)
        if self._compiled is not None:
            self._compiled.ask(self._sounds, slots, ticks, wishes)
            return wishes
        rows = self._sounds.sample(slots, ticks.astype(np.float64) / MEDIA_CLOCK_HZ)
        articulators, seals = resolve(rows)
        wishes[:, : articulators.shape[1]] = articulators
        wishes[:, articulators.shape[1] : len(MOUTH)] = seals
        wishes[:, _PLANNED] = 1.0
        wishes[:, _BEAT] = rows[:, BEAT_COLUMN]
        return wishes

    def _switch(self, slot: int, source: int) -> None:
        """The mouth follows another utterance, or none any more."""
        voice = self._voice(slot)
        self._source[slot] = voice.source = source
        self._ticks[slot] = _BEFORE_TICKS
        self._sounds.clear(slot)
        for old in [key for key in voice.utterances if source and key < source]:
            del voice.utterances[old]
        self._known[slot] = source in voice.utterances
        self._due[slot] = self._next_due(voice, source)

    def _arrive(
        self, slots: NDArray[np.intp], times: NDArray[np.float64], ticks: NDArray[np.int64], due: NDArray[np.intp]
    ) -> list[tuple[int, NDArray[np.float32]]]:
        """Sounds and beats whose time has come: in the rows `due`. Returns: see `Plans.corrected`."""
        where: list[int] = []
        sounds: list[Sound] = []
        late: list[int] = []
        ours, next_due = slots[due], []
        for index, slot, now, former in zip(
            due.tolist(), ours.tolist(), ticks[due].tolist(), self._ticks[ours].tolist(), strict=True
        ):
            voice = self._voice(slot)
            source = voice.source
            utterance = voice.utterances[source]
            if utterance.due_ticks <= now:
                taken = utterance.take(now)
                where += [slot] * len(taken)
                sounds += taken
                if taken[0].counts_from * MEDIA_CLOCK_HZ <= former:
                    late.append(index)
            if utterance.beats:
                self._beat(slot, now, voice.by_rules, utterance.beats, float(times[index]))
            next_due.append(self._next_due(voice, source))
        self._due[ours] = next_due
        self._sounds.put(where, sounds)
        if not late:
            return []
        # A late phoneme has bent the curve under the mouth: what it asked before, less what it asks now.
        moved = self._wishes[slots[late]] - self._ask(slots[late], self._ticks[slots[late]])[:, : len(MOUTH)]
        return list(zip(late, moved, strict=True))

    def _beat(self, slot: int, ticks: int, by_rules: bool, beats: list[tuple[int, int]], now_s: float) -> None:
        """Hand on the stressed syllables that are near, and forget them and those that have passed. A mouth that does
        not go by the rules keeps those that are still to come: it may do so soon."""
        done = 0
        for tick, stress in beats:
            ahead = tick - ticks
            if ahead > (_BEAT_AHEAD_TICKS if by_rules else -1):
                break
            done += 1
            if ahead >= 0:
                self._behaviours.beat(slot, now_s, now_s + ahead / MEDIA_CLOCK_HZ, _BEAT_STRENGTH[stress])
        del beats[:done]
