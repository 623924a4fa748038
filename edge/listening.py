"""All microphones listen together: packets that came in one turn of the event loop share runs of the voice model.

One run for eight windows costs little more than two runs for one each, so the busier a POP is, the less a window costs.
Nobody waits for others: what is there is judged as soon as the loop has read its sockets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.ear import Ear, EarEvent, Listening
from edge.inference import VoiceActivity
from edge.transports.link import MicrophoneUnit

__all__ = ["ListeningRound"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    ear: Ear
    unit: MicrophoneUnit
    now: float
    tell: Callable[[list[EarEvent]], None]
    fail: Callable[[], None]


_Asking = tuple[_Waiting, Listening, NDArray[np.float32]]
"""Who asks for the probability of which window."""


class ListeningRound:
    """See the module docstring.

    Args:
        vad: the shared model.
        later: calls a function when the sockets that are readable now have been read (`loop.call_soon`).
    """

    def __init__(self, vad: VoiceActivity, later: Callable[[Callable[[], None]], object]) -> None:
        self._vad = vad
        self._later = later
        self._waiting: list[_Waiting] = []

    def add(
        self,
        ear: Ear,
        unit: MicrophoneUnit,
        now: float,
        tell: Callable[[list[EarEvent]], None],
        fail: Callable[[], None],
    ) -> None:
        """Have an ear hear a packet in this round.

        Args:
            tell: called with what it noticed.
            fail: called instead when it broke.
        """
        self._waiting.append(_Waiting(ear, unit, now, tell, fail))
        if len(self._waiting) == 1:
            self._later(self._run)

    def _run(self) -> None:
        while self._waiting:
            first: dict[Ear, _Waiting] = {}
            rest: list[_Waiting] = []
            for waiting in self._waiting:
                if waiting.ear in first:
                    rest.append(waiting)  # an ear hears one packet after the other
                else:
                    first[waiting.ear] = waiting
            self._waiting = rest
            self._hear(list(first.values()))

    def _hear(self, packets: list[_Waiting]) -> None:
        asking: list[_Asking] = []
        for packet in packets:
            self._step(packet, packet.ear.listen(packet.unit, packet.now), None, asking)
        while asking:
            asked, asking = asking, []
            windows = np.stack([window for _, _, window in asked])
            probabilities = self._vad.run([packet.ear.vad_state for packet, _, _ in asked], windows).tolist()
            for (packet, listening, _), probability in zip(asked, probabilities, strict=True):
                self._step(packet, listening, probability, asking)

    @staticmethod
    def _step(
        packet: _Waiting,
        listening: Listening,
        probability: float | None,
        asking: list[_Asking],
    ) -> None:
        """Let one ear go on: it asks for the next window's probability, is done, or breaks (alone)."""
        try:
            window = next(listening) if probability is None else listening.send(probability)
        except StopIteration as done:
            packet.tell(done.value)
        except Exception:
            _log.exception("an ear failed")
            packet.fail()
        else:
            asking.append((packet, listening, window))
