"""What the viewer is told in words: RTVI messages about state, transcript, captions, stages, faults.

RTVI is Pipecat's protocol between a bot and its clients; its own clients understand everything here but the
`server-message`s, which carry what RTVI has no word for (core/wire/SPEC.md). `bot-transcription` is a clause before it
sounds, `bot-tts-text` each of its words when the viewer hears it (words that the voice gives no times for stay out).
Clients of RTVI 2 are told the same in `bot-output` too, which took the place of both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TypeVar

import msgspec

from core.limits import TICK_SAMPLES, WORDS_PENDING_MAX
from core.session.state import FaceState
from core.speech.messages import (
    DownMessage,
    Fault,
    Mood,
    Ready,
    ReplyText,
    SpeechStart,
    StageTimes,
    Transcript,
    WordSpan,
)
from core.wire.control import ControlMessage, encode_control
from edge.bot_output import BotOutput

__all__ = ["Narrator", "NarratorState"]

_VERSION = version("visavis")
_RTVI_VERSIONS = {1: "1.0.0", 2: "2.0.0"}
"""What is spoken, by a client's major version."""
_T = TypeVar("_T")
_TURNS_KEPT = 4
_UTTERANCES_KEPT = 8


class NarratorState(msgspec.Struct, frozen=True, array_like=True):
    """What a narrator knows: display name, media times of utterances' ticks 0, words that have not become audible,
    turns of utterances, stages of turns, the last word said."""

    character: str
    starts: dict[int, int]
    words: list[tuple[int, WordSpan]]
    turns: dict[int, int]
    stages: dict[int, dict[str, float]]
    said: tuple[int, int]


class Narrator:
    """One viewer's commentary.

    Args:
        send: sends one control message; dropped by the link while it is not open.
        keep: the same for what the viewer would miss: while there is no link it waits for the next one.
        wall_clock: seconds since 1970, for RTVI's timestamps.

    Attributes:
        said: the last word that has become audible: its utterance and its first tick.
        words_held: somebody else says the words as they become audible.
    """

    def __init__(
        self, *, send: Callable[[str], None], keep: Callable[[str], None], wall_clock: Callable[[], float]
    ) -> None:
        self._send = send
        self._keep = keep
        self._wall_clock = wall_clock
        self._character = ""
        self._starts: dict[int, int] = {}
        self._words: deque[tuple[int, WordSpan]] = deque(maxlen=WORDS_PENDING_MAX)
        self._turns: dict[int, int] = {}
        self._stages: dict[int, dict[str, float]] = {}
        self.said = (0, -1)
        self.words_held = False
        self._output: BotOutput | None = None

    def _server(self, kind: str, data: dict[str, object], send: Callable[[str], None] | None = None) -> None:
        (send or self._send)(encode_control("server-message", {"t": kind, "d": data}))

    def client_ready(self, message: ControlMessage, state: FaceState) -> None:
        """The viewer's page is up: answer with what it needs to begin, in its version of RTVI if that is known here."""
        wanted = message.data.get("version", _RTVI_VERSIONS[1])
        spoken = _RTVI_VERSIONS.get(_major(wanted), "")
        if not spoken:
            spoken = _RTVI_VERSIONS[2]
            known = " and ".join(_RTVI_VERSIONS.values())
            self._refuse(message, f"That version of RTVI is not spoken here, but {known} are; {spoken} is used.")
        if spoken == _RTVI_VERSIONS[2] and self._output is None:
            self._output = BotOutput(
                keep=lambda data: self._keep(encode_control("bot-output", data)),
                send=lambda data: self._send(encode_control("bot-output", data)),
            )
        about = {"library": "visavis", "library_version": _VERSION, "character": self._character}
        self._send(encode_control("bot-ready", {"version": spoken, "about": about}, message.id))
        self.state(state)

    def unused(self, message: ControlMessage) -> str:
        """Nobody does anything with this message: who waits for an answer is told so. Returns: what it counts as."""
        if message.type == "client-message":
            self._refuse(message, "Nobody here knows that message; `interrupt` is known.")
        return "unused-control-message"

    def _refuse(self, message: ControlMessage, sentence: str) -> None:
        self._send(encode_control("error-response", {"error": sentence}, message.id))

    def resume(self, token: str, lifetime_s: float) -> None:
        """What brings the viewer back to this session over another link, for so long."""
        self._server("resume", {"token": token, "lifetime_s": lifetime_s})

    def state(self, state: FaceState) -> None:
        """The face changed what it does."""
        self._server("state", {"state": state.name.lower()})

    def user_speaking(self, speaking: bool) -> None:
        """The ear's opinion changed."""
        self._keep(encode_control("user-started-speaking" if speaking else "user-stopped-speaking"))

    def voice(self, speaking: bool) -> None:
        """The character's voice began or ended."""
        self._keep(encode_control("bot-started-speaking" if speaking else "bot-stopped-speaking"))

    def error(self, message: str, *, fatal: bool = False) -> None:
        """Something the viewer did cannot be done."""
        self._send(encode_control("error", {"error": message, "message": message, "fatal": fatal}))

    def save(self) -> NarratorState:
        """What the viewer was told and still has to be told, for another POP that goes on with it."""
        return NarratorState(
            self._character, dict(self._starts), list(self._words), dict(self._turns), dict(self._stages), self.said
        )

    def load(self, state: NarratorState) -> None:
        """Go on where another narrator was."""
        self._character, self._starts, self._turns = state.character, dict(state.starts), dict(state.turns)
        self._words = deque(state.words, maxlen=WORDS_PENDING_MAX)
        self._stages = dict(state.stages)
        self.said = state.said

    def skip_said(self, said: tuple[int, int]) -> None:
        """Another narrator has said the words up to and including this one; see `said`."""
        while self._words and (self._words[0][0], self._words[0][1].start) <= said:
            self._words.popleft()
        self.said = max(self.said, said)

    def move(self, epoch: int, pop: dict[str, object]) -> None:
        """Another POP takes the session over: where it is and the ticket that opens it, good once."""
        self._server("goaway", {"reason": "handoff", "epoch": epoch, "pop": pop})

    def stay(self, epoch: int) -> None:
        """The move to that epoch will not happen."""
        self._server("stay", {"epoch": epoch})

    def commit(self, epoch: int) -> None:
        """This epoch counts from now on."""
        self._server("commit", {"epoch": epoch})

    def goaway(self, reason: str) -> None:
        """The session ends now."""
        self._server("goaway", {"reason": reason})

    def receive(self, message: DownMessage) -> None:
        """Pass on what the origin said, where it is for the viewer."""
        match message:
            case Ready():
                self._character = message.display_name
            case Transcript():
                self._transcript(message)
            case ReplyText():
                last = (self._words[-1][0], self._words[-1][1].start) if self._words else self.said
                words = [word for word in message.words if (message.utterance_id, word.start) > last]
                self._words.extend((message.utterance_id, word) for word in words)  # after a move some come again
                if message.text:  # words alone are of a caption that the viewer has
                    self._keep(encode_control("bot-transcription", {"text": message.text}))
                    if self._output is not None:
                        self._output.clause(message.text, len(words))
                    self._caption(message)
            case Mood():
                mood = {"label": message.label, "valence": message.valence, "arousal": message.arousal}
                self._server("mood", mood, self._keep)
            case Fault():
                self._server("fault", {"code": message.code, "message": message.message}, self._keep)
            case SpeechStart():
                self._turns[message.utterance_id] = message.turn_id
                _trim(self._turns, _UTTERANCES_KEPT)
            case StageTimes():
                self.stages(message.turn_id, message.stages)
            case _:
                pass

    def _transcript(self, message: Transcript) -> None:
        data: dict[str, object] = {
            "text": message.text,
            "final": message.final,
            "user_id": "viewer",
            "timestamp": datetime.fromtimestamp(self._wall_clock(), UTC).isoformat(timespec="milliseconds"),
        }
        self._keep(encode_control("user-transcription", data))

    def _caption(self, message: ReplyText) -> None:
        start = self._starts.get(message.utterance_id)
        data: dict[str, object] = {
            "utterance_id": message.utterance_id,
            "text": message.text,
            "words": [[word.text, word.start, word.end] for word in message.words],
            "rtp_timestamp": None if start is None else start & 0xFFFFFFFF,
        }
        self._server("caption", data, self._keep)

    def utterance_placed(self, utterance_id: int, media_time: int) -> None:
        """An utterance's tick 0 plays at this media time (again, if an underrun moved it)."""
        if self._starts.get(utterance_id) == media_time:
            return
        self._starts[utterance_id] = media_time
        _trim(self._starts, _UTTERANCES_KEPT)
        placed: dict[str, object] = {"utterance_id": utterance_id, "rtp_timestamp": media_time & 0xFFFFFFFF}
        self._server("utterance", placed, self._keep)

    @property
    def words_pending(self) -> bool:
        """Words wait to become audible."""
        return bool(self._words) and not self.words_held

    def heard(self, media_time: int) -> None:
        """The viewer hears this media time now: say the words that have become audible."""
        while self._words:
            utterance_id, word = self._words[0]
            start = self._starts.get(utterance_id)
            if start is None and utterance_id < max(self._starts, default=0):
                self._words.popleft()  # of an utterance that never sounded
                if self._output is not None:
                    self._output.word(word.text, heard=False)
            elif start is not None and start + word.start <= media_time:
                self._words.popleft()
                self.said = utterance_id, word.start
                self._send(encode_control("bot-tts-text", {"text": word.text}))
                if self._output is not None:
                    self._output.word(word.text)
            else:
                return

    def shorten(self, utterance_id: int, packets: int) -> None:
        """The utterance ends after so many packets; its later words are never heard. The words of others stay."""
        ticks = packets * TICK_SAMPLES
        kept = [pair for pair in self._words if pair[0] != utterance_id or (pair[1].start + pair[1].end) // 2 <= ticks]
        self._words.clear()
        self._words.extend(kept)

    def cut(self) -> None:
        """The voice was cut: what was not heard of it never will be."""
        if self._words:
            self.said = max(self.said, (self._words[-1][0], self._words[-1][1].start))
        self._words.clear()
        if self._output is not None:
            self._output.cut()

    def turn_of(self, utterance_id: int) -> int:
        """The turn an utterance answers, 0 when unknown."""
        return self._turns.get(utterance_id, 0)

    def stages(self, turn_id: int, stages: dict[str, float], **extra: float) -> None:
        """Milliseconds of a turn's stages, as they become known (core.session.budget names them)."""
        known = self._stages.setdefault(turn_id, {})
        known.update(stages)
        _trim(self._stages, _TURNS_KEPT)
        self._server("stages", {"turn_id": turn_id, "stages": dict(known), **extra})


def _major(wanted: object) -> int:
    """Major version in "2.1.0"; 0 where there is none."""
    digits = wanted.split(".")[0] if isinstance(wanted, str) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else 0


def _trim(mapping: dict[int, _T], size: int) -> None:
    while len(mapping) > size:
        del mapping[next(iter(mapping))]
