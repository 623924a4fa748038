"""Subjects and who listens to them: dot-separated tokens, `*` for one token, `>` for all the rest (as in NATS)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Generic, TypeVar

from core.errors import LocalProtocolError

__all__ = ["SUBJECT_CHARS_MAX", "Routes", "check_pattern", "check_subject", "matches"]

SUBJECT_CHARS_MAX: Final = 256
"""Longest subject, pattern or key. NATS refuses control lines beyond 4 KiB; ours are never that long."""

T = TypeVar("T")


def _check(text: str, what: str, wildcards: bool) -> None:
    if not text or len(text) > SUBJECT_CHARS_MAX:
        raise LocalProtocolError(f"a {what} has 1 to {SUBJECT_CHARS_MAX} characters, got {len(text)}")
    tokens = text.split(".")
    for position, token in enumerate(tokens):
        if not token or not token.isprintable() or any(character.isspace() for character in token):
            raise LocalProtocolError(f"{what} {text!r} has an empty token or a blank in it")
        if "*" not in token and ">" not in token:
            continue
        if not wildcards or (token != "*" and not (token == ">" and position == len(tokens) - 1)):  # noqa: S105
            raise LocalProtocolError(f"{what} {text!r}: a wildcard is not allowed there")


@lru_cache(maxsize=8_192)  # every packet is published on a subject that has been seen before
def check_subject(subject: str) -> None:
    """A concrete subject or key: non-empty tokens without blanks or wildcards.

    Raises: LocalProtocolError: it is none.
    """
    _check(subject, "subject", wildcards=False)


def check_pattern(pattern: str) -> None:
    """What one may subscribe to: a subject in which `*` stands for a token and a last `>` for one or more.

    Raises: LocalProtocolError: it is none.
    """
    _check(pattern, "pattern", wildcards=True)


def matches(pattern: str, subject: str) -> bool:
    """Whether a concrete subject falls under a pattern."""
    wanted, given = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(given) <= len(wanted):
            return False
    elif len(wanted) != len(given):
        return False
    return all(want in ("*", token) for want, token in zip(wanted, given, strict=False))


class Routes(Generic[T]):
    """Patterns and who they lead to. Exact subjects, which carry the media, cost one dictionary look-up."""

    def __init__(self) -> None:
        self._exact: dict[str, list[T]] = {}
        self._wild: list[tuple[str, T]] = []

    def add(self, pattern: str, target: T) -> None:
        """Lead `pattern` to `target` as well. Raises: LocalProtocolError: not a pattern."""
        check_pattern(pattern)
        if "*" in pattern or ">" in pattern:
            self._wild.append((pattern, target))
        else:
            self._exact.setdefault(pattern, []).append(target)

    def remove(self, pattern: str, target: T) -> None:
        """Forget one earlier `add`; unknown ones are ignored."""
        targets = self._exact.get(pattern)
        if targets is not None and target in targets:
            targets.remove(target)
            if not targets:
                del self._exact[pattern]
        elif (pattern, target) in self._wild:
            self._wild.remove((pattern, target))

    def find(self, subject: str) -> list[T]:
        """Everything that `subject` leads to, exact patterns first, in the order they were added.

        Raises: LocalProtocolError: not a concrete subject (checked only when nothing exact matches: the hot path has
            been checked when the route was added).
        """
        exact = self._exact.get(subject)
        if exact is None:
            check_subject(subject)
            exact = []
        if not self._wild:
            return exact.copy()
        return exact + [target for pattern, target in self._wild if matches(pattern, subject)]

    def __len__(self) -> int:
        return sum(len(targets) for targets in self._exact.values()) + len(self._wild)
