"""Watches a POP being emptied, for whoever has asked for it at a terminal: a bar, or lines of JSON."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from typing import Final

from core.errors import ConfigError, FabricError, RemoteProtocolError
from core.fabric.bus import Bus
from core.fabric.config import FabricConfig
from core.fabric.opening import join_fabric
from core.session.handoff_messages import (
    CancelDrain,
    Drain,
    DrainProgress,
    PopRequest,
    decode_answer,
    encode_handoff,
    pop_subject,
)
from edge.config import EdgeConfig

__all__ = ["drain"]

_ASK_S: Final = 0.25
_BAR: Final = 30
_INTERRUPTED: Final = 130


async def drain(options: argparse.Namespace, edge: EdgeConfig, fabric_config: FabricConfig) -> int:
    """Ask, and watch until the POP is empty, or Ctrl-C.

    Returns: the exit code. Raises: ConfigError: it cannot be asked.
    """
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    try:
        joined = await join_fabric(fabric_config, edge.fabric)
    except FabricError as error:
        raise ConfigError(f"the POPs cannot be asked: {error}") from None
    async with joined as fabric:
        return await _watch(fabric.bus, options, stop)


async def _watch(bus: Bus, options: argparse.Namespace, stop: asyncio.Event) -> int:
    show = _Json() if options.json else _Bar()
    while True:
        progress = await _ask(bus, options.name, Drain(deadline_s=options.deadline))
        show.tell(options.name, progress)
        if progress.state == "drained":
            show.done(f"POP {options.name} is empty and takes no sessions; it can be stopped.")
            return 0
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _ASK_S)
        if stop.is_set():
            progress = await _ask(bus, options.name, CancelDrain())
            show.tell(options.name, progress)
            show.done(f"Stopped: {progress.sessions} stay at {options.name}, which takes sessions again.")
            return _INTERRUPTED


async def _ask(bus: Bus, name: str, request: PopRequest) -> DrainProgress:
    try:
        answer = decode_answer(await bus.request(pop_subject(name), encode_handoff(request)))
    except FabricError as error:
        why = (
            "nobody answers to that name; `visavis pops list` shows the names"
            if error.code == "no-responder"
            else error.code
        )
        raise ConfigError(f"POP {name} cannot be asked: {why}") from None
    except RemoteProtocolError as error:
        raise ConfigError(f"POP {name} answers what this version does not understand ({error.code})") from None
    if not isinstance(answer, DrainProgress):
        raise ConfigError(f"POP {name} does not say how far it is")
    return answer


class _Json:
    """A line for every change."""

    def __init__(self) -> None:
        self._last: DrainProgress | None = None

    def tell(self, name: str, progress: DrainProgress) -> None:
        if progress != self._last:
            self._last = progress
            fields = {field: getattr(progress, field) for field in progress.__struct_fields__}
            sys.stdout.write(json.dumps({"pop": name, **fields}) + "\n")
            sys.stdout.flush()

    def done(self, _sentence: str) -> None:
        """The last line has said it."""


class _Bar:
    """One line that fills; lines where nobody looks at a terminal."""

    def __init__(self) -> None:
        self._last = ""

    def tell(self, name: str, progress: DrainProgress) -> None:
        gone = progress.moved + progress.sent_away
        whole = gone + progress.sessions
        filled = _BAR * gone // whole if whole else _BAR
        line = f"{name} [{'#' * filled}{'.' * (_BAR - filled)}] {gone} of {whole} moved"
        if progress.sent_away:
            line += f", {progress.sent_away} of them sent away"
        if progress.last_failure:
            line += f" (last failure: {progress.last_failure})"
        if line != self._last:
            self._last = line
            sys.stdout.write(f"\r\x1b[K{line}" if sys.stdout.isatty() else f"{line}\n")
            sys.stdout.flush()

    def done(self, sentence: str) -> None:
        sys.stdout.write(("\n" if sys.stdout.isatty() else "") + sentence + "\n")
