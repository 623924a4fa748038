"""What answers in a session: its processors from the microphone to the voice, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_turn_processor import UserTurnProcessor
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from core.limits import MEDIA_CLOCK_HZ
from core.session.speculation import Outcome
from origin.dialogue.character import Character
from origin.dialogue.clause_cutter import ClauseCutter
from origin.dialogue.detector import SharedSileroAnalyzer
from origin.dialogue.frames import TurnEndedFrame
from origin.dialogue.microphone import SAMPLE_RATE_HZ, Microphone
from origin.dialogue.services import Shared
from origin.dialogue.state import DialogueState
from origin.dialogue.turns import Conversation, EndingStopStrategy
from origin.dialogue.voice_output import VoiceOutput

__all__ = ["make_pipeline"]

_DETECTOR_CONFIDENCE: Final = 0.6
_DETECTOR_START_S: Final = 0.1


def make_pipeline(
    state: DialogueState,
    microphone: Microphone,
    voice: VoiceOutput,
    character: Character,
    shared: Shared,
    on_guess: Callable[[Outcome], None],
) -> PipelineWorker:
    """A session's pipeline. Args: on_guess: told what became of every answer that was begun early."""
    config = shared.config
    params = VADParams(
        confidence=_DETECTOR_CONFIDENCE,
        start_secs=_DETECTOR_START_S,
        stop_secs=config.turn.detector_stop_s,
        min_volume=0.0,
    )
    judge = shared.ending
    sounds_finished = None if judge is None else lambda seconds: judge.probability(microphone.recent.last(seconds))
    stop = EndingStopStrategy(config.turn, shared.matchers[character.id].completeness, sounds_finished)
    strategies = UserTurnStrategies(start=[VADUserTurnStartStrategy(enable_interruptions=False)], stop=[stop])
    turns = UserTurnProcessor(user_turn_strategies=strategies)

    async def on_turn_stopped(processor: UserTurnProcessor, *_: object) -> None:
        await processor.push_frame(TurnEndedFrame())

    turns.add_event_handler("on_user_turn_stopped", on_turn_stopped)
    speaker = shared.service("tts", character)
    pipeline = Pipeline(
        [
            microphone,
            VADProcessor(vad_analyzer=SharedSileroAnalyzer(params)),
            shared.service("stt", character),
            turns,
            Conversation(
                state,
                microphone.levels,
                voice.silence,
                greet=config.greet,
                speculate=config.turn.speculate,
                on_guess=on_guess,
            ),
            shared.service("llm", character),
            ClauseCutter(state),
            speaker,
            *shared.timing(speaker, character),
            voice,
        ]
    )
    return PipelineWorker(
        pipeline,
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE_HZ, audio_out_sample_rate=MEDIA_CLOCK_HZ),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
        check_dangling_tasks=False,
    )
