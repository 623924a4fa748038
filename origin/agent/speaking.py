"""An agent's half of the conversation: its messages and its sound become the character's utterances."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, assert_never

from core.errors import RemoteProtocolError
from core.limits import AGENT_PHONEMES_S_MAX, AGENT_STALL_S_MAX, AGENT_TEXT_S_MAX, MEDIA_CLOCK_HZ
from core.speech.agent_messages import (
    AgentEvent,
    AgentMessage,
    AgentMood,
    AgentState,
    AgentTranscript,
    Bye,
    ErrorEvent,
    Hello,
    Interrupt,
    Phonemes,
    Ping,
    Pong,
    Text,
    UtteranceBegin,
    UtteranceEnd,
    Words,
)
from core.speech.messages import DownMessage, Mood, PhonemeSpan, Transcript, TurnState, WordSpan
from origin.agent.incoming import Inbox, Incoming, Sound
from origin.agent.pronunciation import Pronunciation
from origin.dialogue.heard import Utterances
from origin.dialogue.opus_voice import MicrophoneDecoder, VoiceEncoding
from origin.dialogue.outgoing_voice import OutgoingVoice
from origin.dialogue.services import Shared

__all__ = ["AgentLeft", "Speaking"]

_NAMES_KEPT: Final = 8


class AgentLeft(Exception):  # noqa: N818 - no error
    """The agent has said goodbye."""


@dataclass(slots=True)
class _Said:
    """A text without times whose sound is coming in."""

    text: str
    start: int
    incoming: Incoming


class Speaking:
    """Of one session.

    Args:
        shared: what sessions share.
        send: publishes to the POP.
        tell: tells the agent, if it is there.
        turn_id: the current turn.
        stall_s: an utterance whose sound stops for so long is over.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        send: Callable[[DownMessage], None],
        tell: Callable[[AgentEvent], None],
        turn_id: Callable[[], int],
        stall_s: float = AGENT_STALL_S_MAX,
        reached: Callable[[], bool] = lambda: True,
    ) -> None:
        self._send = send
        self._tell = tell
        self._turn_id = turn_id
        self._stall_s = stall_s
        self._utterances = Utterances()
        self._voice = OutgoingVoice(
            self._utterances,
            send,
            shared.config.tts.bitrate_bps,
            on_first_packet=lambda: self._turn("speaking"),
            reached=reached,
        )
        self._pronunciation = Pronunciation(shared.phonemiser, lambda why: self._complain("no-phonemes", why))
        self._inbox = Inbox()
        self._hello = Hello(token="")
        self._decoder: MicrophoneDecoder | None = None
        self._spoken: dict[int, Incoming] = {}
        self._said: _Said | None = None
        self._unwanted = False

    # --- what the agent sends --------------------------------------------------------------------------------------

    def begin(self, hello: Hello) -> None:
        """An agent has connected that speaks like this."""
        self._hang_up_old()
        self._hello = hello
        self._decoder = MicrophoneDecoder(MEDIA_CLOCK_HZ) if hello.encoding == "opus" else None
        self._unwanted = False

    def hang_up(self) -> None:
        """It has gone: what came of its sentence is all there is."""
        self._hang_up_old()

    def _hang_up_old(self) -> None:
        self._close_text()
        self._inbox.end()

    def receive(self, message: AgentMessage) -> None:
        """One message.

        Raises:
            RemoteProtocolError: `flood` (fatal), or a code of docs/agents.md for what cannot be done now.
            AgentLeft: it says goodbye.
        """
        match message:
            case UtteranceBegin():
                self._close_text()
                self._unwanted = False
                self._inbox.begin(message.id)
            case UtteranceEnd():
                if self._inbox.open is None and not self._unwanted:
                    raise RemoteProtocolError("no-utterance", "There is no utterance to end.")
                self._close_text()
                self._inbox.end()
            case Words():
                self._words(message)
            case Text():
                self._text(message.text, message.duration_s)
            case Phonemes():
                self._phonemes(message)
            case AgentMood():
                self._send(Mood(label=message.label, valence=message.valence, arousal=message.arousal))
            case AgentState():
                self._turn(message.state)
            case AgentTranscript():
                self._send(Transcript(text=message.text, final=message.final, turn_id=self._turn_id()))
            case Interrupt():
                if self._forget():
                    self._turn("idle")
            case Ping():
                self._tell(Pong(id=message.id))
            case Bye():
                raise AgentLeft
            case Hello():
                raise RemoteProtocolError("hello-again", "A connection says hello once.")
            case _:
                assert_never(message)

    def receive_sound(self, data: bytes) -> None:
        """A piece of sound.

        Raises: RemoteProtocolError: `flood` (fatal), `no-utterance` or `not-opus`.
        """
        if self._unwanted:
            return  # of an utterance that was cut: the agent did not know yet
        if self._inbox.open is None:
            raise RemoteProtocolError("no-utterance", "Sound belongs to an utterance: say utterance-begin first.")
        if self._decoder is None:
            self._inbox.push(Sound(data, self._hello.sample_rate, self._hello.channels))
            return
        try:
            pcm = self._decoder.decode(data)
        except ValueError:
            raise RemoteProtocolError("not-opus", "That binary message is no Opus packet.") from None
        self._inbox.push(Sound(pcm, MEDIA_CLOCK_HZ, 1))

    def _about(self) -> Incoming | None:
        """The utterance that words and phonemes are about; None: of one that was cut."""
        newest = self._inbox.newest
        if newest is None:
            raise RemoteProtocolError("no-utterance", "Words belong to an utterance: say utterance-begin first.")
        return None if newest.dropped or self._unwanted else newest

    def _when_spoken(self, incoming: Incoming, do: Callable[[], None], *, warn: bool = True) -> None:
        speaking = self._voice.speaking
        if not incoming.utterance_id:
            incoming.tell.append(do)
        elif speaking is not None and speaking.id == incoming.utterance_id:
            do()
        elif warn:
            self._late(incoming)

    def _words(self, message: Words) -> None:
        incoming = self._about()
        if incoming is None:
            return
        spans: list[WordSpan] = []
        for word in message.words:
            if word.start_s is None or word.end_s is None:
                self._text(" ".join(one.text for one in message.words), None)
                return
            if word.end_s < word.start_s or (spans and _ticks(word.start_s) < spans[-1].start):
                raise RemoteProtocolError("bad-times", "The words' times do not increase.")
            spans.append(WordSpan(word.text, _ticks(word.start_s), _ticks(word.end_s)))
        incoming.count(len(spans))
        words = tuple(spans)
        self._when_spoken(incoming, lambda: self._voice.say_at(words))
        if incoming.phonetic:
            return
        incoming.pronouncing += 1
        self._pronunciation.words(self._hello.language, words, lambda found: self._pronounced(incoming, found))

    def _text(self, text: str, duration_s: float | None) -> None:
        incoming = self._about()
        if incoming is None:
            return
        if self._inbox.open is None:
            raise RemoteProtocolError("no-utterance", "A text comes before its sound, within the utterance.")
        self._close_text()
        incoming.count(1 + len(text.split()))
        incoming.push(text)
        if duration_s is None:
            self._said = _Said(text, incoming.ticks, incoming)
        else:
            self._pronounce(incoming, text, incoming.ticks, incoming.ticks + _ticks(duration_s))

    def _close_text(self) -> None:
        """The sound of the last text is all there, so that its length is known."""
        said, self._said = self._said, None
        if said is not None:
            self._pronounce(said.incoming, said.text, said.start, said.incoming.ticks)

    def _pronounce(self, incoming: Incoming, text: str, start: int, end: int) -> None:
        if incoming.phonetic:
            return
        incoming.pronouncing += 1
        self._pronunciation.text(
            self._hello.language, text, start, end, lambda found: self._pronounced(incoming, found, warn=False)
        )

    def _pronounced(self, incoming: Incoming, spans: tuple[PhonemeSpan, ...], *, warn: bool = True) -> None:
        self._place(incoming, spans, warn=warn)
        incoming.pronounced()

    def _phonemes(self, message: Phonemes) -> None:
        incoming = self._about()
        if incoming is None:
            return
        spans = tuple(
            PhonemeSpan(one.symbol, _ticks(one.start_s), _ticks(one.end_s), one.stress) for one in message.phonemes
        )
        incoming.count(len(spans))
        incoming.phonetic = True
        if any(span.end < span.start for span in spans):
            raise RemoteProtocolError("bad-times", "A phoneme ends before it begins.")
        self._place(incoming, spans)

    def _place(self, incoming: Incoming, spans: tuple[PhonemeSpan, ...], *, warn: bool = True) -> None:
        def place() -> None:
            if self._voice.place(spans) and warn:
                self._late(incoming)

        if spans and not incoming.dropped:
            self._when_spoken(incoming, place, warn=warn)

    def _late(self, incoming: Incoming) -> None:
        if not incoming.warned:
            incoming.warned = True
            self._complain("late-words", "Words or phonemes came after their sound had left; send them before it.")

    def _complain(self, code: str, message: str) -> None:
        self._tell(ErrorEvent(code=code, message=message))

    # --- what the viewer hears of it -------------------------------------------------------------------------------

    def follow(self, encoding: VoiceEncoding) -> None:
        """The viewer's link asks for this."""
        self._voice.follow(encoding)

    def cut(self, utterance_id: int, heard_until: int) -> tuple[str, float, str]:
        """The viewer has interrupted: forget everything. Returns: the utterance's name, seconds and words heard."""
        utterance = self._utterances.get(utterance_id)
        if utterance is not None:
            utterance.note(heard_until)
        self._forget()
        incoming = self._spoken.get(utterance_id)
        if utterance is None or incoming is None:
            return "", 0.0, ""
        return incoming.name, utterance.heard_until / MEDIA_CLOCK_HZ, utterance.heard_text()

    def heard(self, utterance_id: int, heard_until: int) -> tuple[str, float, bool] | None:
        """The viewer has heard so much. Returns: the utterance's name, seconds heard, whether that is all; None: of one
        that is long over."""
        utterance, incoming = self._utterances.get(utterance_id), self._spoken.get(utterance_id)
        if utterance is None or incoming is None:
            return None
        utterance.note(heard_until)
        complete = utterance.complete and utterance.heard_until >= incoming.ticks
        return incoming.name, utterance.heard_until / MEDIA_CLOCK_HZ, complete

    def _forget(self) -> bool:
        """Returns: something was audible or about to be."""
        self._said = None
        self._unwanted = self._inbox.open is not None
        self._inbox.clear()
        return self._voice.silence() is not None

    def _turn(self, state: Literal["listening", "thinking", "speaking", "idle"]) -> None:
        self._send(TurnState(state=state, turn_id=self._turn_id()))

    # --- speaking --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Speak one utterance after the other, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pronunciation.run())
            while True:
                await self._speak(await self._inbox.next())

    async def _speak(self, incoming: Incoming) -> None:
        try:
            while (item := await self._inbox.pop(incoming, self._stall_s)) is not None:
                if isinstance(item, str):
                    self._when_spoken(incoming, partial(self._voice.say, item))
                    continue
                if not incoming.utterance_id:
                    await self._times_known(incoming)
                    if incoming.dropped:
                        return
                    self._start(incoming)
                await self._voice.sound(item.audio, item.rate_hz, item.channels)
        except TimeoutError:
            self._stalled(incoming)
        if incoming.dropped:
            return
        if not incoming.utterance_id:
            self._complain("no-sound", "The utterance has ended without any sound.")
        elif await self._voice.finish() is None:
            return
        if self._inbox.idle:
            self._turn("idle")

    async def _times_known(self, incoming: Incoming) -> None:
        """Phonemes that will be there in a moment should not miss the first sound."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGENT_TEXT_S_MAX):
                while self._said is not None and self._said.incoming is incoming and not incoming.dropped:
                    await incoming.news()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGENT_PHONEMES_S_MAX):
                while incoming.pronouncing and not incoming.dropped:
                    await incoming.news()

    def _start(self, incoming: Incoming) -> None:
        incoming.utterance_id = self._voice.begin(self._turn_id()).id
        self._spoken[incoming.utterance_id] = incoming
        while len(self._spoken) > _NAMES_KEPT:
            del self._spoken[next(iter(self._spoken))]
        for do in incoming.tell:
            do()
        incoming.tell.clear()

    def _stalled(self, incoming: Incoming) -> None:
        self._complain("stalled", f"No sound came for {self._stall_s:g} s in the middle of an utterance; it has ended.")
        if self._inbox.open is incoming:
            self._unwanted = True
        self._said = None
        incoming.end()


def _ticks(seconds: float) -> int:
    return round(seconds * MEDIA_CLOCK_HZ)
