"""What a service's failure is called: one sentence for people, which says neither what was said nor any secret."""

from __future__ import annotations

from typing import Final

from openai import APIConnectionError, APIStatusError, APITimeoutError

__all__ = ["explain", "is_slow"]

_RATE_LIMIT: Final = 429
_OVERLOADED: Final = frozenset({_RATE_LIMIT, 503, 529})


def explain(who: str, error: BaseException, *, begun: bool = False) -> str:
    """One sentence.

    Args:
        who: the service, as the subject of the sentence.
        begun: part of its answer was there already.
    """
    match error:
        case TimeoutError() | APITimeoutError():
            return f"{who} does not answer in time."
        case _ if begun:
            return f"{who} broke off."
        case APIConnectionError():
            return f"{who} cannot be reached."
        case APIStatusError(status_code=401 | 403):
            return f"{who} refuses the API key."
        case APIStatusError(status_code=status) if status == _RATE_LIMIT:
            return f"{who} takes no more requests for the moment (HTTP 429)."
        case APIStatusError(status_code=status):
            return f"{who} failed (HTTP {status})."
        case _:
            return f"{who} failed."


def is_slow(error: BaseException) -> bool:
    """Asking again in a moment may help: it is late, or has too much to do."""
    if isinstance(error, APIStatusError):
        return error.status_code in _OVERLOADED
    return isinstance(error, (TimeoutError, APITimeoutError))
