"""espeak-ng as a school uses it: through the voice's worker process, one sentence after the other, waiting for each."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Final, Self

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.speech.messages import PhonemeSpan
from origin.dialogue.framing import FRAME_SIZE_BYTES_MAX, pack
from origin.dialogue.worker_messages import Clause, Ready, Say, tts_report_decoder

__all__ = ["Speaker", "Spoken"]

_MODULE: Final = "origin.dialogue.tts_worker"
_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """One utterance.

    Attributes:
        pcm: float32[n] in [-1, 1), 48 kHz.
        spans: its phonemes, in ticks of its own clock.
    """

    pcm: NDArray[np.float32]
    spans: tuple[PhonemeSpan, ...]


class Speaker:
    """A context manager around one worker process.

    Raises: ConfigError: espeak-ng is not installed.
    """

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._said = 0
        try:
            if not isinstance(self._receive(), Ready):
                raise ConfigError("the voice's worker process does not say Ready")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        """The end of its input ends the worker."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def say(self, text: str, *, voice: str, rate_wpm: int, pitch: int, pitch_range: int) -> Spoken | None:
        """Speak; None when the voice cannot say this text.

        Args:
            voice: an espeak-ng voice, with a variant after "+".
            rate_wpm: 80-450. pitch, pitch_range: 0-99.
        Raises: ConfigError: the worker has gone.
        """
        self._said += 1
        assert self._process.stdin is not None
        command = Say(id=self._said, text=text, voice=voice, rate_wpm=rate_wpm, pitch=pitch, range=pitch_range)
        try:
            self._process.stdin.write(pack(command))
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ConfigError("the voice's worker process has gone") from error
        report = self._receive()
        if not isinstance(report, Clause) or not report.phonemes:
            return None
        pcm = np.frombuffer(report.pcm, dtype="<i2").astype(np.float32) / np.float32(32768.0)
        return Spoken(pcm, tuple(PhonemeSpan(*phoneme) for phoneme in report.phonemes))

    def _receive(self) -> object:
        assert self._process.stdout is not None
        (size,) = _LENGTH.unpack(self._exactly(self._process.stdout, _LENGTH.size))
        if size > FRAME_SIZE_BYTES_MAX:
            raise ConfigError("the voice's worker process does not speak our protocol")
        return tts_report_decoder.decode(self._exactly(self._process.stdout, size))

    @staticmethod
    def _exactly(stream: IO[bytes], size: int) -> bytes:
        data = stream.read(size)
        if len(data) != size:
            raise ConfigError("the voice's worker process has ended: is the extra [espeak] installed?")
        return data
