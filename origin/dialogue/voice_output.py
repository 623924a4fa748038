"""The pipeline's last processor: what the answer's frames mean for the voice and for the conversation.

One answer is one utterance: its clauses follow each other without a gap in the packet indices, so that the POP places
it once on the track. How sound becomes packets is `outgoing_voice.py`'s.
"""

from __future__ import annotations

from typing import Any, Final

from pipecat.frames.frames import (
    AggregatedTextFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    TTSAudioRawFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from core.speech.messages import Fault, Mood, PhonemeSpan, WordSpan
from origin.dialogue.answer import Answer
from origin.dialogue.frames import AnswerFrame, ClauseTimesFrame, FaultFrame, GuessDroppedFrame, MoodFrame
from origin.dialogue.heard import SpokenUtterance
from origin.dialogue.live_times import LiveTimes
from origin.dialogue.opus_voice import VoiceEncoding
from origin.dialogue.outgoing_voice import OutgoingVoice
from origin.dialogue.state import DialogueState

__all__ = ["VoiceOutput"]

_OF_AN_ANSWER: Final = (
    TTSAudioRawFrame,
    ClauseTimesFrame,
    AggregatedTextFrame,
    MoodFrame,
    LLMFullResponseEndFrame,
)
"""What may be seen or heard; waits here while its answer is a guess."""


class VoiceOutput(FrameProcessor):
    """See the module. Nothing of a guess gets past it before the guess is confirmed.

    Args:
        state: shared with the conversation; it learns here what was said and heard.
        bitrate_bps: of the Opus voice, where the link does not ask for less.
    """

    def __init__(self, state: DialogueState, bitrate_bps: int) -> None:
        super().__init__()
        self._state = state
        self._voice = OutgoingVoice(
            state.utterances,
            lambda message: state.send(message),
            bitrate_bps,
            on_first_packet=self._audible,
            reached=lambda: state.reached(),
            now=lambda: state.now(),
        )
        self._answer = Answer()
        self._announced = ""
        self._silenced = False
        self._mood: tuple[str, float, float] | None = None
        self._messages: dict[int, dict[str, Any]] = {}

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See FrameProcessor."""
        await super().process_frame(frame, direction)
        if direction is FrameDirection.DOWNSTREAM:
            match frame:
                case AnswerFrame():
                    self._answer = frame.answer
                case _ if self._silenced and isinstance(frame, _OF_AN_ANSWER):
                    pass  # of the answer that was interrupted
                case _ if isinstance(frame, _OF_AN_ANSWER) and not await self._turn_has_come():
                    return
                case TTSAudioRawFrame():
                    await self._sound(frame)
                case ClauseTimesFrame():
                    self._clause(frame.text, frame.words, frame.phonemes, frame.live)
                case AggregatedTextFrame() if frame.will_be_spoken:
                    self._answer.clause_taken()
                    self._announced = frame.text
                case MoodFrame():
                    self._feel(frame)
                case FaultFrame():
                    self._state.send(Fault(code=frame.code, message=frame.message))
                case LLMFullResponseEndFrame():
                    await self._finish()
                case GuessDroppedFrame():
                    pass  # nothing of it came this far
                case InterruptionFrame():
                    self.silence()
                    self._silenced = False
                case _:
                    pass
        await self.push_frame(frame, direction)

    async def _turn_has_come(self) -> bool:
        """Waits until an answer is no guess any more, and somebody can hear it. Returns: False: nobody ever will."""
        if not await self._answer.admitted():
            return False
        await self._voice.wait_reached()
        return not self._silenced

    def follow(self, encoding: VoiceEncoding) -> None:
        """The viewer's link asks for this."""
        self._voice.follow(encoding)

    def _feel(self, frame: MoodFrame) -> None:
        feeling = frame.feeling
        mood = (feeling.label, feeling.valence, feeling.arousal)
        if mood != self._mood:
            self._mood = mood
            self._state.send(Mood(label=feeling.label, valence=feeling.valence, arousal=feeling.arousal))

    @property
    def spoken(self) -> SpokenUtterance | None:
        """The utterance that is being sent."""
        return self._voice.speaking

    # --- clauses and sound -------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._state.speaking = True
        self._voice.begin(self._state.turn_id)

    def _clause(
        self,
        text: str,
        words: tuple[WordSpan, ...],
        phonemes: tuple[PhonemeSpan, ...],
        live: LiveTimes | None = None,
    ) -> None:
        self._announced = ""
        self._begin()
        if live is None:
            self._voice.say(text, words, phonemes)
        else:
            self._voice.say_live(text, live)

    async def _sound(self, frame: TTSAudioRawFrame) -> None:
        if self._announced:
            self._clause(self._announced, (), ())
        self._begin()
        await self._voice.sound(frame.audio, frame.sample_rate, frame.num_channels)

    def _audible(self) -> None:
        self._answer.audible = True
        marks = self._state.marks
        marks.first_clause = marks.first_clause or self._answer.first_clause
        self._state.turn("speaking")
        self._state.first_packet()

    async def _finish(self) -> None:
        """The answer is complete."""
        self._answer.audible = True
        if self._voice.speaking is not None:
            spoken = await self._voice.finish()
            if spoken is None:
                return  # interrupted meanwhile
            self._state.speaking = False
            self._messages[spoken.id] = self._state.remember("assistant", spoken.text)
            self._trim()
        self._state.answer_over()
        self._state.turn("idle")

    # --- interruption ------------------------------------------------------------------------------------------

    def silence(self) -> None:
        """Everything that is not audible yet is forgotten; the conversation keeps the words that were heard.

        The conversation calls this at once; until its interruption has come through the pipeline, and has emptied the
        queues on its way, what still comes in is not spoken.
        """
        self._silenced = True
        self._announced = ""
        self._state.speaking = False
        utterance = self._voice.silence()
        if utterance is not None:
            self.settle(utterance)

    def settle(self, utterance: SpokenUtterance) -> None:
        """Write into the conversation what was heard of a cut utterance; again when a later position comes in."""
        heard = utterance.heard_text()
        message = self._messages.get(utterance.id)
        if message is not None:
            if heard:
                message["content"] = heard
            else:
                self._state.forget(message)
                del self._messages[utterance.id]
        elif heard:
            self._messages[utterance.id] = self._state.remember("assistant", heard)
            self._trim()

    def _trim(self) -> None:
        for number in [number for number in self._messages if self._state.utterances.get(number) is None]:
            del self._messages[number]
