"""A viewer as the origin sees it: what a POP would publish, and everything that comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from core.fabric.memory import MemoryBus
from core.limits import TICK_SAMPLES
from core.session.speculation import Outcome
from core.speech.messages import (
    DownMessage,
    MicrophonePacket,
    Opened,
    SpeechPacket,
    UpMessage,
    decode_down,
    down_subject,
    encode,
    up_subject,
)
from origin.dialogue.character import Voice
from origin.dialogue.opus_voice import VoiceEncoder, VoiceEncoding
from origin.dialogue.services import Shared
from origin.dialogue.session import DialogueSession

M = TypeVar("M")
OPEN: list[Viewer] = []
"""Viewers that a failed test has left: the fixture of the workers closes them."""
Samples = npt.NDArray[np.int16]


@dataclass
class Viewer:
    session: DialogueSession
    bus: MemoryBus
    received: list[tuple[float, DownMessage]] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None
    timestamp: int = 0

    @classmethod
    async def connect(
        cls,
        shared: Shared,
        session_id: str = "s",
        character: str = "mira",
        on_guess: Callable[[Outcome], None] = lambda outcome: None,
        bus: MemoryBus | None = None,
    ) -> Viewer:
        bus = bus or MemoryBus()
        session = DialogueSession(session_id, shared.characters[character], shared, bus, on_guess=on_guess)
        viewer = cls(session, bus)
        inbox = await bus.subscribe(down_subject(session_id))

        async def read() -> None:
            async for message in inbox:
                viewer.received.append((time.monotonic(), decode_down(message.payload)))

        viewer.reader = asyncio.create_task(read())
        OPEN.append(viewer)
        await session.start()
        await viewer.send(Opened(epoch=1, transport="test"))
        return viewer

    async def send(self, message: UpMessage) -> None:
        await self.bus.publish(up_subject(self.session.id), encode(message))

    def all(self, kind: type[M]) -> list[M]:
        return [message for _, message in self.received if isinstance(message, kind)]

    def at(self, kind: type[object]) -> float:
        return next(at for at, message in self.received if isinstance(message, kind))

    async def wait(
        self, kind: type[M], timeout_s: float = 8.0, when: Callable[[M], bool] = lambda message: True, count: int = 1
    ) -> M:
        async with asyncio.timeout(timeout_s):
            while True:
                found = [message for message in self.all(kind) if when(message)]
                if len(found) >= count:
                    return found[count - 1]
                await asyncio.sleep(0.005)

    async def speak(self, pcm: Samples, lead_s: float = 0.3, tail_s: float = 1.0) -> float:
        """Send 48 kHz sound in real time. Returns: the moment at which its audible part ended."""
        noise = np.random.default_rng(1)
        loud = np.nonzero(np.abs(pcm.astype(np.float64)) > np.abs(pcm).max() * 10 ** (-35 / 20))[0]
        whole = np.concatenate(
            [np.zeros(int(lead_s * 48_000), np.int16), pcm, np.zeros(int(tail_s * 48_000), np.int16)]
        )
        whole = (whole + noise.normal(0, 6, len(whole))).astype(np.int16)
        encoder = VoiceEncoder(VoiceEncoding(32_000))
        began = time.monotonic()
        for index in range(len(whole) // TICK_SAMPLES):
            opus = encoder.encode(whole[index * TICK_SAMPLES : (index + 1) * TICK_SAMPLES])
            await asyncio.sleep(max(0.0, began + (index + 1) * 0.02 - time.monotonic()))
            await self.send(MicrophonePacket(opus=opus, timestamp=self.timestamp))
            self.timestamp += TICK_SAMPLES
        return began + lead_s + float(loud[-1]) / 48_000

    async def aclose(self) -> None:
        OPEN.remove(self)
        await self.session.aclose("test")
        if self.reader is not None:
            self.reader.cancel()
        await self.bus.aclose()


async def synthesise(shared: Shared, text: str, voice: str = "en-us") -> Samples:
    assert shared.voice is not None
    clause = await shared.voice.speak(text, Voice(name=voice))
    return np.frombuffer(clause.pcm, np.int16)


def sound(viewer: Viewer, utterance_id: int) -> list[SpeechPacket]:
    return [packet for packet in viewer.all(SpeechPacket) if packet.utterance_id == utterance_id]
