"""A character: one TOML file with its persona, voice, lines and moods, checked when it is read.

Top-level keys: id, name, puppet, persona, greeting, fallback, not_heard; tables: voice, pronunciations, moods,
apologies; array of tables: intents (name, examples, lines, mood, follow_ups). Unknown keys are refused by name.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.errors import ConfigError
from origin.dialogue.grammar import normalise

__all__ = ["APOLOGIES", "Character", "Feeling", "Intent", "Voice", "load_character", "load_characters"]

APOLOGIES: Final = ("stt-failed", "tts-failed", "llm-slow", "llm-failed")
"""Faults that every character can apologise for."""
_IDENTIFIER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")
_PHONES: Final = frozenset({
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY", "JH",
    "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
})  # fmt: skip
_LINE_CHARS_MAX: Final = 600
_NEUTRAL: Final = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How the embedded voice sounds; see origin.dialogue.espeak.VoiceSettings for the ranges."""

    name: str = "en-us"
    variant: str = ""
    rate_wpm: int = 165
    pitch: int = 50
    range: int = 50

    @property
    def full_name(self) -> str:
        """The voice with its variant, as espeak-ng writes it."""
        return f"{self.name}+{self.variant}" if self.variant else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeling:
    """A mood: valence and arousal in [-1, 1]."""

    label: str
    valence: float
    arousal: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Something the character can be asked.

    Attributes:
        examples: phrases that mean it, normalised.
        lines: answers; they take turns.
        mood: label in the character's moods.
        follow_ups: names of intents that a bare "tell me more" leads to.
    """

    name: str
    examples: tuple[str, ...]
    lines: tuple[str, ...]
    mood: str
    follow_ups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    """Everything the origin knows of a character.

    Attributes:
        puppet: id of what the viewer draws.
        persona: system instruction of a language model.
        fallback: lines for what it does not understand.
        not_heard: lines for speech that gave no words.
        apologies: fault code → line.
        pronunciations: word → ARPAbet phones, for words the recogniser's dictionary lacks.
    """

    id: str
    name: str
    puppet: str
    persona: str
    voice: Voice
    greeting: tuple[str, ...]
    fallback: tuple[str, ...]
    not_heard: tuple[str, ...]
    apologies: Mapping[str, str]
    moods: Mapping[str, Feeling]
    intents: tuple[Intent, ...]
    pronunciations: Mapping[str, str]

    def phrases(self) -> Iterator[str]:
        """All example phrases."""
        for intent in self.intents:
            yield from intent.examples

    def feeling(self, label: str) -> Feeling:
        """A mood by its label; the neutral one when there is none of that name."""
        return self.moods.get(label) or Feeling(label=_NEUTRAL, valence=0.0, arousal=0.0)


def load_characters(folder: Path | None = None) -> dict[str, Character]:
    """All characters of a folder by id. Raises: ConfigError: none, or one that is wrong."""
    folder = folder or Path(__file__).resolve().parent.parent / "characters"
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise ConfigError(f"there is no character file (*.toml) in {folder}")
    characters: dict[str, Character] = {}
    for path in paths:
        character = load_character(path)
        if character.id in characters:
            raise ConfigError(f"{path}: a character with id {character.id!r} exists already")
        characters[character.id] = character
    return characters


def load_character(path: Path) -> Character:
    """Read one character. Raises: ConfigError: one line that names the file, the key and what is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return _character(_Table(document, str(path), ""))


class _Table:
    """One TOML table whose keys must all be known."""

    def __init__(self, values: object, file: str, where: str) -> None:
        self._where = where
        self._file = file
        if not isinstance(values, dict):
            raise self.wrong("", "is a table")
        self._values: dict[str, Any] = values
        self._asked: set[str] = set()

    def wrong(self, key: str, what: str) -> ConfigError:
        name = ".".join(part for part in (self._where, key) if part)
        return ConfigError(f"{self._file}: {name} {what}")

    def get(self, key: str) -> Any:
        self._asked.add(key)
        return self._values.get(key)

    def keys(self) -> list[str]:
        return list(self._values)

    def text(self, key: str, default: str | None = None) -> str:
        value = self.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, "is missing" if value is None else "must be a text that is not empty")
        return value.strip()

    def identifier(self, key: str) -> str:
        value = self.text(key)
        if not _IDENTIFIER.match(value):
            raise self.wrong(key, "may only have a-z, 0-9, - and _")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.wrong(key, f"must be a number from {low:g} to {high:g}")
        return float(value)

    def lines(self, key: str, required: bool = True) -> tuple[str, ...]:
        value = self.get(key)
        if value is None and not required:
            return ()
        if not isinstance(value, list) or (required and not value):
            raise self.wrong(key, "must be a list of texts" + (" and is missing" if value is None else ""))
        for line in value:
            if not isinstance(line, str) or not line.strip() or len(line) > _LINE_CHARS_MAX:
                raise self.wrong(key, f"must hold texts of 1 to {_LINE_CHARS_MAX} characters")
        return tuple(line.strip() for line in value)

    def table(self, key: str) -> _Table:
        return _Table(self.get(key) or {}, self._file, ".".join(part for part in (self._where, key) if part))

    def tables(self, key: str) -> list[_Table]:
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(key, f"is written [[{key}]]")
        return [_Table(item, self._file, f"{key}[{index}]") for index, item in enumerate(value)]

    def finish(self) -> None:
        for key in self._values:
            if key not in self._asked:
                close = difflib.get_close_matches(key, self._asked, n=1)
                raise self.wrong(key, "is unknown" + (f", did you mean {close[0]}?" if close else ""))


def _character(table: _Table) -> Character:
    name = table.text("name")
    moods = _moods(table.table("moods"))
    character = Character(
        id=table.identifier("id"),
        name=name,
        puppet=table.identifier("puppet"),
        persona=table.text("persona", f"You are {name}. Answer in one to three short spoken sentences."),
        voice=_voice(table.table("voice")),
        greeting=table.lines("greeting", required=False),
        fallback=table.lines("fallback"),
        not_heard=table.lines("not_heard"),
        apologies=_apologies(table.table("apologies")),
        moods=moods,
        intents=_intents(table.tables("intents"), moods),
        pronunciations=_pronunciations(table.table("pronunciations")),
    )
    table.finish()
    return character


def _voice(table: _Table) -> Voice:
    voice = Voice(
        name=table.text("name", "en-us"),
        variant=table.text("variant", "") if table.get("variant") else "",
        rate_wpm=int(table.number("rate_wpm", 165, 80, 450)),
        pitch=int(table.number("pitch", 50, 0, 99)),
        range=int(table.number("range", 50, 0, 99)),
    )
    table.finish()
    return voice


def _moods(table: _Table) -> dict[str, Feeling]:
    moods: dict[str, Feeling] = {}
    for label in table.keys():  # noqa: SIM118 - a table, not a dict
        mood = table.table(label)
        moods[label] = Feeling(
            label=label, valence=mood.number("valence", 0, -1, 1), arousal=mood.number("arousal", 0, -1, 1)
        )
        mood.finish()
    return moods


def _apologies(table: _Table) -> dict[str, str]:
    apologies = {code: table.text(code) for code in APOLOGIES}
    table.finish()
    return apologies


def _pronunciations(table: _Table) -> dict[str, str]:
    pronunciations: dict[str, str] = {}
    for word in table.keys():  # noqa: SIM118 - a table, not a dict
        phones = table.text(word).upper()
        strange = [phone for phone in phones.split() if phone not in _PHONES]
        if strange:
            raise table.wrong(word, f"has {strange[0]!r}, which is no ARPAbet phone")
        pronunciations[normalise(word)] = phones
    return pronunciations


def _intents(tables: list[_Table], moods: Mapping[str, Feeling]) -> tuple[Intent, ...]:
    intents: list[Intent] = []
    owners: dict[str, str] = {}
    for table in tables:
        name = table.identifier("name")
        examples = tuple(normalise(example) for example in table.lines("examples"))
        for example in examples:
            if not example:
                raise table.wrong("examples", "has a phrase without words")
            if owners.setdefault(example, name) != name:
                raise table.wrong("examples", f"has {example!r}, which belongs to {owners[example]} already")
        mood = table.text("mood", _NEUTRAL)
        if mood != _NEUTRAL and mood not in moods:
            raise table.wrong("mood", f"is {mood!r}, which [moods] does not have")
        if any(intent.name == name for intent in intents):
            raise table.wrong("name", f"is {name!r}, which exists already")
        follow_ups = table.lines("follow_ups", required=False)
        lines = table.lines("lines")
        intents.append(Intent(name=name, examples=examples, lines=lines, mood=mood, follow_ups=follow_ups))
        table.finish()
    names = {intent.name for intent in intents}
    for table, intent in zip(tables, intents, strict=True):
        for follow_up in intent.follow_ups:
            if follow_up not in names:
                raise table.wrong("follow_ups", f"has {follow_up!r}, which is no intent")
    return tuple(intents)
