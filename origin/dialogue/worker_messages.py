"""What the origin and its worker processes say to each other (msgspec tagged structs)."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = [
    "Align",
    "Aligned",
    "AlignerReport",
    "Cancel",
    "Clause",
    "Failed",
    "Feed",
    "Finish",
    "Partial",
    "Prepare",
    "Prepared",
    "Ready",
    "Recognised",
    "Say",
    "Start",
    "SttCommand",
    "SttReport",
    "TtsCommand",
    "TtsReport",
    "align_decoder",
    "aligner_report_decoder",
    "stt_command_decoder",
    "stt_report_decoder",
    "tts_command_decoder",
    "tts_report_decoder",
]


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="t"):
    pass


class Ready(_Message, frozen=True, kw_only=True, tag="ready"):
    """The worker has loaded its models."""


class Failed(_Message, frozen=True, kw_only=True, tag="failed"):
    """A command could not be done; the worker lives."""

    id: int
    reason: str


# --- recogniser --------------------------------------------------------------------------------------------------


class Prepare(_Message, frozen=True, kw_only=True, tag="prepare"):
    """Compile a character's phrases."""

    id: int
    character: str
    phrases: tuple[str, ...]
    pronunciations: dict[str, str]


class Prepared(_Message, frozen=True, kw_only=True, tag="prepared"):
    """The phrases are compiled; `unknown` words have no pronunciation and their phrases were left out."""

    id: int
    phrases: int
    unknown: tuple[str, ...]


class Start(_Message, frozen=True, kw_only=True, tag="start"):
    """An utterance begins. A worker hears one at a time."""

    id: int
    character: str


class Feed(_Message, frozen=True, kw_only=True, tag="feed"):
    """More of it: 16 kHz mono 16-bit PCM."""

    id: int
    pcm: bytes


class Finish(_Message, frozen=True, kw_only=True, tag="finish"):
    """The utterance is over: answer with Recognised."""

    id: int


class Cancel(_Message, frozen=True, kw_only=True, tag="cancel"):
    """Forget the utterance or the clause."""

    id: int


class Partial(_Message, frozen=True, kw_only=True, tag="partial"):
    """What was understood so far."""

    id: int
    text: str


class Recognised(_Message, frozen=True, kw_only=True, tag="recognised"):
    """What was understood; see origin.dialogue.recogniser.Recognition."""

    id: int
    text: str
    in_grammar: bool


# --- voice -------------------------------------------------------------------------------------------------------


class Say(_Message, frozen=True, kw_only=True, tag="say"):
    """Speak one clause; see origin.dialogue.espeak.VoiceSettings.

    Attributes:
        silent: only the times are wanted, and the clause's sound is empty.
    """

    id: int
    text: str
    voice: str
    rate_wpm: int
    pitch: int
    range: int
    silent: bool = False


class Clause(_Message, frozen=True, kw_only=True, tag="clause"):
    """One clause, spoken: 48 kHz mono 16-bit PCM; phonemes and words on its own 48 kHz clock.

    Attributes:
        phonemes: symbol, start, end, stress.
        words: text, start, end.
    """

    id: int
    pcm: bytes
    phonemes: tuple[tuple[str, int, int, int], ...]
    words: tuple[tuple[str, int, int], ...]


# --- aligner -----------------------------------------------------------------------------------------------------


class Align(_Message, frozen=True, kw_only=True, tag="align"):
    """Find the phonemes of a text in its sound; see `origin.dialogue.forced_alignment.align_words`."""

    id: int
    pcm: bytes
    words: tuple[tuple[str, ...], ...]
    complete: bool


class Aligned(_Message, frozen=True, kw_only=True, tag="aligned"):
    """Where they are, 48 kHz ticks: start and end of the first phonemes of the text, none when they were not found."""

    id: int
    times: tuple[tuple[int, int], ...]


SttCommand = Prepare | Start | Feed | Finish | Cancel
SttReport = Ready | Prepared | Partial | Recognised | Failed
TtsCommand = Say | Cancel
TtsReport = Ready | Clause | Failed
AlignerReport = Ready | Aligned

stt_command_decoder: Final = msgspec.msgpack.Decoder(SttCommand)
stt_report_decoder: Final = msgspec.msgpack.Decoder(SttReport)
tts_command_decoder: Final = msgspec.msgpack.Decoder(TtsCommand)
tts_report_decoder: Final = msgspec.msgpack.Decoder(TtsReport)
align_decoder: Final = msgspec.msgpack.Decoder(Align)
aligner_report_decoder: Final = msgspec.msgpack.Decoder(AlignerReport)
