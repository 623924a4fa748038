"""First audio of this project against a bare Pipecat bot: the same questions, one after the other, in one run.

Both run on this machine at the same time with the same services ( PocketSphinx, the scripted
character, espeak-ng, each with its own worker processes), and the same client asks both: real ICE, DTLS and SRTP over
loopback, an Opus microphone that sends all the time, the answer's packets decoded as they arrive. What a browser's
jitter buffer adds comes on top of both alike, and is left out. Every question gets a connection of its own to each, in
turns of who is asked first. Turn detection is each one's default:

| | detector says stop | the turn ends |
|---|---|---|
| here | Silero, 0.15 s (`turn.detector_stop_s`) | a whole question by its words: at once; else Smart Turn v3, 0.4 s |
| Pipecat | Silero, 0.2 s (`VADParams`) | Smart Turn v3, at most 3 s (`default_user_turn_stop_strategies`) |
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from loadtests.bench._plain_client import PlainClient
from loadtests.bench.harness import percentile
from loadtests.tickets import fetch_ticket

__all__ = ["bot", "compare", "summarise_first_audio"]

_START_S_MAX: Final = 60.0
_SETTLE_S: Final = 0.6
_WARM_UPS: Final = 1
_CONNECT_S_MAX: Final = 30.0
_PROMPT_S: Final = 1.5
"""An answer that comes sooner was not held back because Smart Turn took a synthetic voice for unfinished: that costs
Pipecat 3 s, more often than it would with people."""

Sounds = dict[str, NDArray[np.float32]]
Signal = Callable[[str], Awaitable[str]]


@contextlib.contextmanager
def bot() -> Iterator[str]:
    """A Pipecat bot in a process of its own. Gives its URL. Raises: ConfigError: it does not start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "loadtests.bench._pipecat_bot"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line.isdigit():
            raise ConfigError(f"the Pipecat bot did not start; it said: {line or 'nothing'}")
        yield f"http://127.0.0.1:{line}"
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def compare(
    names: list[str], sounds: Sounds, *, origin: str, pop: str, other: str, timeout_s: float
) -> list[tuple[str, float | None, float | None]]:
    """Ask both each question. Returns: name, seconds to our first sound, seconds to the bot's; None: no answer."""
    found: list[tuple[str, float | None, float | None]] = []
    for index, name in enumerate([*names[:_WARM_UPS], *names]):
        signals: list[Signal] = [_ours(origin, pop), _theirs(other)]
        order = (0, 1) if index % 2 else (1, 0)
        times: list[float | None] = [None, None]
        for which in order:
            times[which] = await _ask(signals[which], sounds[name], timeout_s)
        if index >= _WARM_UPS:
            found.append((name, times[0], times[1]))
    return found


def summarise_first_audio(found: list[tuple[str, float | None, float | None]]) -> tuple[dict[str, float], list[Any]]:
    """Figures and details. `ratio_first_audio` is the median of the ratios of the questions that both answered,
    `ratio_first_audio_prompt` of those where neither waited because it was unsure.

    Raises: ConfigError: there is none.
    """
    both = [(ours, theirs) for _, ours, theirs in found if ours is not None and theirs is not None]
    if not both:
        raise ConfigError("no question was answered by both servers")
    figures = {
        "ratio_first_audio": statistics.median(ours / theirs for ours, theirs in both),
        "ratio_first_audio_of_medians": statistics.median(o for o, _ in both) / statistics.median(t for _, t in both),
        "pipecat_first_audio_ms_p50": percentile([theirs * 1e3 for _, theirs in both], 50),
        "plain_first_audio_ms_p50": percentile([ours * 1e3 for ours, _ in both], 50),
        "pairs": len(both),
        "pairs_unanswered_here": sum(ours is None for _, ours, _ in found),
        "pairs_unanswered_by_pipecat": sum(theirs is None for *_, theirs in found),
    }
    prompt = [(ours, theirs) for ours, theirs in both if max(ours, theirs) < _PROMPT_S]
    if prompt:
        figures["ratio_first_audio_prompt"] = statistics.median(ours / theirs for ours, theirs in prompt)
        figures["pairs_prompt"] = len(prompt)
    details = [{"question": name, "ms": _ms(ours), "pipecat_ms": _ms(theirs)} for name, ours, theirs in found]
    return figures, details


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 1)


async def _ask(signal: Signal, samples: NDArray[np.float32], timeout_s: float) -> float | None:
    client = PlainClient()
    try:
        async with asyncio.timeout(_CONNECT_S_MAX):
            await client.connect(signal)
        await asyncio.sleep(_SETTLE_S)
        return await client.ask(samples, timeout_s)
    finally:
        await client.aclose()


def _ours(origin: str, pop: str) -> Signal:
    async def signal(offer: str) -> str:
        ticket = await fetch_ticket(origin, pop=pop, bound=False)
        url = f"{ticket.pop_url.rstrip('/')}/v1/sessions/{ticket.session_id}/webrtc"
        headers = {"Authorization": f"Bearer {ticket.token}", "Content-Type": "application/sdp"}
        return (await _post(url, content=offer.encode(), headers=headers)).text

    return signal


def _theirs(url: str) -> Signal:
    async def signal(offer: str) -> str:
        return str((await _post(f"{url}/offer", json={"sdp": offer, "type": "offer"})).json()["sdp"])

    return signal


async def _post(url: str, **request: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=_START_S_MAX, trust_env=False) as http:
        try:
            return (await http.post(url, **request)).raise_for_status()
        except httpx.HTTPError as error:
            raise ConfigError(f"{url} cannot be asked: {error}") from error
