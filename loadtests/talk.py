"""`visavis talk`: the page's job from a terminal. Ask by voice (an audio file) or in text, hear and read the answer."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError
from core.limits import TEXT_CHARS_MAX
from core.session.budget import STAGES

if TYPE_CHECKING:
    from core.host.cli import Subparsers
    from loadtests.turn import Turn
    from loadtests.viewer import Viewer

__all__ = ["QUESTION_S_MAX", "register", "report"]

QUESTION_S_MAX: Final = 60.0
"""Longest recording that can be sent as one question."""
_POP: Final = "http://127.0.0.1:8080"
_EXIT_NO_ANSWER: Final = 1
_EXIT_MISTAKE: Final = 2


def register(subparsers: Subparsers) -> None:
    """Add `visavis talk`."""
    parser = subparsers.add_parser(
        "talk",
        help="ask the character something from the terminal",
        description="Ask the character something by voice or in text; show the answer and what each stage cost.",
        epilog="Exit codes: 0 it answered, 1 it did not answer, 2 wrong use, a wrong file, or nobody to talk to.",
    )
    parser.add_argument("question", nargs="?", type=Path, metavar="QUESTION", help="audio file of any format or rate")
    parser.add_argument("--text", help="type this instead of speaking")
    parser.add_argument("--pop", metavar="URL", default=_POP, help=f"the POP (default: {_POP})")
    parser.add_argument("--origin", metavar="URL", help="the origin (default: what the POP says)")
    parser.add_argument("--character", metavar="NAME", help="who to talk to (default: the origin's choice)")
    parser.add_argument(
        "--transport",
        choices=("auto", "webrtc", "webtransport"),
        default="auto",
        help="auto (default): WebTransport where the POP offers it and UDP gets through, else WebRTC",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the answer as heard to this WAV file")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--timeout", type=float, default=20.0, metavar="S", help="wait this long for an answer (20)")
    parser.set_defaults(handler=_talk)


def _talk(options: argparse.Namespace) -> int:
    _check(options)
    try:
        import asyncio

        import loadtests.viewer  # noqa: F401 - heavy and optional: said clearly when it is missing
    except ImportError as error:
        raise ConfigError(f"`visavis talk` needs the extra [loadtests] ({error})") from error
    return asyncio.run(_converse(options))


def _check(options: argparse.Namespace) -> None:
    if (options.question is None) == (options.text is None):
        raise ConfigError("give either an audio file or --text, one of the two (see visavis talk --help)")
    if options.text is not None and not options.text.strip():
        raise ConfigError("--text is empty; type a question")
    if options.text is not None and len(options.text) > TEXT_CHARS_MAX:
        raise ConfigError(f"--text is too long: {len(options.text)} of at most {TEXT_CHARS_MAX} characters")
    if not 0.0 < options.timeout <= 600.0:
        raise ConfigError("--timeout must be between 0 and 600 seconds")
    if options.out is not None and not options.out.absolute().parent.is_dir():
        raise ConfigError(f"--out: there is no folder {options.out.absolute().parent}")
    for flag in ("pop", "origin"):
        url = getattr(options, flag)
        if url is not None and not url.startswith(("http://", "https://")):
            raise ConfigError(f"--{flag} must be a URL that begins with http:// or https://, not {url!r}")


async def _converse(options: argparse.Namespace) -> int:
    from loadtests.audio import read_audio, write_wav
    from loadtests.signals import end_of_speech
    from loadtests.turn import ask, settle
    from loadtests.viewer import Viewer, ViewerError, find_origin

    samples = None
    if options.question is not None:
        samples = read_audio(options.question, length_s_max=QUESTION_S_MAX)
        if end_of_speech(samples, 48_000) is None:
            raise ConfigError(f"{options.question} holds nothing but silence; there is no question in it.")
    try:
        origin = options.origin or await find_origin(options.pop)
        with _LiveLine(enabled=not options.json) as live:
            live.say("connecting …")
            async with Viewer.connect(
                origin=origin,
                pop=options.pop,
                character=options.character,
                transport=options.transport,
                microphone=samples is not None,
            ) as viewer:
                await settle(viewer, timeout_s=options.timeout)
                turn = await ask(
                    viewer, samples=samples, text=options.text, timeout_s=options.timeout, on_change=live.show
                )
                character = viewer.ticket.character
                transport, fec = viewer.transport or "none", viewer.screen.fec
    except ViewerError as error:
        sys.stderr.write(f"visavis: {error}\n")
        return _EXIT_MISTAKE
    if options.out is not None and turn.answered:
        write_wav(options.out, turn.reply_audio)
    if options.json:
        sys.stdout.write(json.dumps(report(turn, transport, fec), allow_nan=False) + "\n")
    else:
        _print(turn, character, options)
        losses = ", ".join(f"{count} {what}" for what, count in fec.items())
        sys.stdout.write(f"{transport}; units: {losses}\n")
    if turn.answered:
        return 0
    sys.stderr.write(f"visavis: no answer within {options.timeout:g} s{_why(turn)}.\n")
    return _EXIT_NO_ANSWER


def _why(turn: Turn) -> str:
    if turn.faults:
        return f" (the POP reported: {', '.join(turn.faults)})"
    return "" if turn.transcript else "; no word of the question was understood"


def report(turn: Turn, transport: str, fec: Mapping[str, int]) -> dict[str, Any]:
    """The JSON object of `--json`; what could not be measured is null.

    Args:
        fec: see loadtests.screen.Screen.fec.
    """
    return {
        "transport": transport,
        "transcript": turn.transcript,
        "reply_text": turn.reply_text,
        "first_motion_ms": _rounded(turn.first_motion_ms),
        "first_audio_ms": _rounded(turn.first_audio_ms),
        "edge_added_ms_p99": _rounded(turn.edge_added_ms_p99),
        "frames": turn.frames,
        "mean_frame_bytes": _rounded(turn.mean_frame_bytes),
        "av_offset_ms": _rounded(turn.av_offset_ms),
        "stages": {name: round(value, 2) for name, value in turn.stages.items()},
        "fec": dict(fec),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


class _LiveLine:
    """One line that says what is going on; only on a terminal."""

    def __init__(self, *, enabled: bool) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._status = self._console.status("") if enabled and self._console.is_terminal else None

    def __enter__(self) -> _LiveLine:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)

    def show(self, viewer: Viewer) -> None:
        if self._status is None:
            return
        from rich.markup import escape

        said = [e.data.get("text", "") for e in viewer.recording.control if e.type == "bot-transcription"]
        name, state = viewer.ticket.character, viewer.screen.state.name.lower()
        text = str(said[-1]) if said else "…"
        room = max(8, self._console.width - len(name) - len(state) - 10)
        shown = text if len(text) <= room else f"{text[: room - 1]}…"
        self._status.update(f"[bold]{escape(name)}[/bold] · {state} · {escape(shown)}")


def _print(turn: Turn, character: str, options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    asked = turn.transcript if options.text is None else options.text
    console.print(f"[dim]you[/dim]  {escape(asked) or '[dim](nothing understood)[/dim]'}")
    console.print(f"[dim]{escape(character)}[/dim]  {escape(turn.reply_text) or '[dim](no answer)[/dim]'}\n")
    table = Table(title="Latency budget", title_justify="left", box=None, pad_edge=False)
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("target", justify="right", style="dim")
    known = {stage.name for stage in STAGES}
    for stage in STAGES:
        table.add_row(stage.title, _ms(turn.stages.get(stage.name)), f"{stage.target_ms:.0f}")
    for name, value in turn.stages.items():
        if name not in known:
            table.add_row(escape(name), _ms(value), "")
    table.add_section()
    table.add_row("end of question → first motion", _ms(turn.first_motion_ms), "150")
    table.add_row("end of question → first sound", _ms(turn.first_audio_ms), "600")
    table.add_row("added by the edge, p99", _ms(turn.edge_added_ms_p99), "10")
    table.add_row("motion against sound", _ms(turn.av_offset_ms), "±20")
    console.print(table)
    size = f", {turn.mean_frame_bytes:.1f} bytes each in speech" if turn.mean_frame_bytes is not None else ""
    console.print(f"\n[dim]{turn.frames} frames{size}[/dim]")
    if options.out is not None and turn.answered:
        console.print(f"[dim]answer written to {escape(str(options.out))}[/dim]")


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
