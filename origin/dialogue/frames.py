"""The frames that our own processors add to Pipecat's."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipecat.frames.frames import DataFrame, InterruptionFrame, SystemFrame

from core.speech.messages import PhonemeSpan, WordSpan
from origin.dialogue.answer import Answer
from origin.dialogue.character import Feeling
from origin.dialogue.live_times import LiveTimes

__all__ = [
    "AnswerFrame",
    "BargeInFrame",
    "ClauseTimesFrame",
    "FaultFrame",
    "GuessDroppedFrame",
    "MoodFrame",
    "ResumeFrame",
    "TurnEndedFrame",
    "TypedTextFrame",
    "ViewerOpenedFrame",
]


@dataclass
class AnswerFrame(DataFrame):
    """Everything after it, up to the next one, belongs to this answer."""

    answer: Answer = field(default_factory=Answer)


@dataclass
class GuessDroppedFrame(InterruptionFrame):
    """Empties the stages of an answer that nobody has heard; what the viewer still hears of an earlier one goes on."""


@dataclass
class ClauseTimesFrame(DataFrame):
    """A clause whose sound follows: its text, and its words and phonemes on its own 48 kHz clock.

    Comes before the clause's first TTSAudioRawFrame, from services that know the times in advance.

    Attributes:
        live: in place of words and phonemes, where they become better while the sound comes in.
    """

    text: str = ""
    words: tuple[WordSpan, ...] = ()
    phonemes: tuple[PhonemeSpan, ...] = ()
    live: LiveTimes | None = None


@dataclass
class MoodFrame(DataFrame):
    """How the character feels from the next clause on."""

    feeling: Feeling = field(default_factory=lambda: Feeling(label="neutral", valence=0.0, arousal=0.0))


@dataclass
class FaultFrame(SystemFrame):
    """Something failed in a way the viewer should know of.

    Attributes:
        code: "stt-failed", "tts-failed", "llm-failed", "llm-slow" …
        message: for people; holds neither secrets nor what was said.
    """

    code: str = ""
    message: str = ""


@dataclass
class BargeInFrame(SystemFrame):
    """The viewer has interrupted; `heard_until` in ticks of the utterance (0: nothing was playing)."""

    utterance_id: int = 0
    heard_until: int = 0


@dataclass
class TurnEndedFrame(DataFrame):
    """The user's turn is over. Pipecat's own UserStoppedSpeakingFrame overtakes the transcript; this one follows it."""


@dataclass
class TypedTextFrame(SystemFrame):
    """The viewer has typed something."""

    text: str = ""


@dataclass
class ViewerOpenedFrame(SystemFrame):
    """The viewer is there: the character may greet."""


@dataclass
class ResumeFrame(SystemFrame):
    """Another process was answering; the viewer waits.

    Attributes:
        heard: what of the answer was heard.
        rest: what is left of it; empty: ask the language model again.
    """

    heard: str = ""
    rest: str = ""
