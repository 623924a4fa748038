"""The voice's worker process: `python -m origin.dialogue.tts_worker`. Speaks msgpack on its standard streams.

It ends when the origin does (end of input). The only process that loads espeak-ng (GPL-3.0).
"""

from __future__ import annotations

import queue
import re
import threading
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from core.limits import MEDIA_CLOCK_HZ
from origin.dialogue.espeak import Espeak, EspeakError, Spoken, VoiceSettings
from origin.dialogue.framing import WorkerPipe, become_worker
from origin.dialogue.worker_messages import Cancel, Clause, Failed, Ready, Say, tts_command_decoder

__all__ = ["main", "shape_loudness", "words_of"]

_TARGET_RMS: Final = 0.11
"""About -19 dBFS over the voiced parts: what browsers' automatic gain makes of microphones."""
_GAIN_MAX: Final = 3.0
_KNEE: Final = 0.75
"""Samples beyond this are bent, not cut."""
_CANCELLED_KEPT: Final = 256
_SENTENCE_PAUSE_S: Final = 0.22
_CLAUSE_PAUSE_S: Final = 0.1


def shape_loudness(pcm: npt.NDArray[np.float32], gain: float | None) -> tuple[npt.NDArray[np.float32], float]:
    """Bring a clause to the common loudness, softly.

    Args:
        pcm: float32, shape (samples,).
        gain: the previous clause's; a new one is only half as far away, so that clauses do not jump.

    Returns: the clause, every sample within [-1, 1], and its gain.
    """
    voiced = pcm[np.abs(pcm) > 0.02]
    if not len(voiced):
        return pcm, 1.0 if gain is None else gain
    wanted = min(_GAIN_MAX, _TARGET_RMS / float(np.sqrt(np.mean(voiced**2))))
    gain = wanted if gain is None else (gain + wanted) / 2
    loud = pcm * np.float32(gain)
    over = np.abs(loud) > _KNEE
    bent = _KNEE + (1.0 - _KNEE) * np.tanh((np.abs(loud[over]) - _KNEE) / (1.0 - _KNEE))
    loud[over] = np.sign(loud[over]) * bent
    return loud, gain


class _Voice:
    """Speaks what was asked, in order; a cancelled clause is dropped wherever it is."""

    def __init__(self, pipe: WorkerPipe) -> None:
        self._pipe = pipe
        self._espeak = Espeak()
        self._gains: dict[VoiceSettings, float] = {}
        self._clauses: queue.SimpleQueue[Say | None] = queue.SimpleQueue()
        self._cancelled: dict[int, None] = {}

    def listen(self) -> None:
        """Read commands until the origin has gone; runs beside the synthesis so that a cancellation is seen at once."""
        while (body := self._pipe.receive()) is not None:
            command = tts_command_decoder.decode(body)
            if isinstance(command, Cancel):
                self._cancelled[command.id] = None
                while len(self._cancelled) > _CANCELLED_KEPT:
                    del self._cancelled[next(iter(self._cancelled))]
            else:
                self._clauses.put(command)
        self._clauses.put(None)

    def run(self) -> None:
        """Speak until the origin has gone."""
        self._pipe.send(Ready())
        while (say := self._clauses.get()) is not None:
            if say.id in self._cancelled:
                continue
            try:
                clause = self._speak(say)
            except EspeakError as error:
                self._pipe.send(Failed(id=say.id, reason=str(error)))
            else:
                if clause is not None:
                    self._pipe.send(clause)

    def _speak(self, say: Say) -> Clause | None:
        voice = VoiceSettings(name=say.voice, rate_wpm=say.rate_wpm, pitch=say.pitch, range=say.range)
        self._espeak.set_voice(voice)
        spoken = self._espeak.speak(say.text, lambda: say.id in self._cancelled)
        if spoken is None:
            return None
        scale = MEDIA_CLOCK_HZ / self._espeak.sample_rate_hz
        if say.silent:
            return _on_media_clock(say, spoken, b"", round(len(spoken.pcm) * scale), scale)
        heard = spoken.pcm[: _audible_end(spoken, self._espeak.sample_rate_hz, say.text)]
        pcm, self._gains[voice] = shape_loudness(heard, self._gains.get(voice))
        wide = soxr.resample(pcm, self._espeak.sample_rate_hz, MEDIA_CLOCK_HZ, quality="HQ")
        samples = (np.clip(wide, -1.0, 1.0) * 32767.0).astype("<i2")
        return _on_media_clock(say, spoken, samples.tobytes(), len(samples), scale)


def _on_media_clock(say: Say, spoken: Spoken, pcm: bytes, ticks: int, scale: float) -> Clause:
    def tick(sample: int) -> int:
        return min(ticks, round(sample * scale))

    return Clause(
        id=say.id,
        pcm=pcm,
        phonemes=tuple((name, tick(start), tick(end), stress) for name, start, end, stress in spoken.phonemes),
        words=tuple((text, tick(start), tick(end)) for text, start, end in words_of(say.text, spoken)),
    )


def words_of(text: str, spoken: Spoken) -> list[tuple[str, int, int]]:
    """The text's own words, with their punctuation, and the samples at which they sound.

    espeak-ng reports what it speaks ("384,000" is seven words to it, "I'm" is "I"); each report belongs to the word of
    the text it lies in. A word that is not reported takes no time.
    """
    words: list[tuple[str, int, int]] = []
    reports = sorted(spoken.words)
    last = 0
    for match in re.finditer(r"\S+", text):
        inside = [(start, end) for at, _, start, end in reports if match.start() <= at < match.end()]
        if inside:
            first, last = min(start for start, _ in inside), max(end for _, end in inside)
            words.append((match.group(), first, last))
        elif words:
            words.append((match.group(), last, last))
        else:
            words.append((match.group(), 0, 0))
    return words


def _audible_end(spoken: Spoken, rate_hz: int, text: str) -> int:
    """Where the clause's sound ends for the listener: espeak-ng's pauses after a clause are twice a person's."""
    if not spoken.phonemes or spoken.phonemes[-1][0]:
        return len(spoken.pcm)
    pause_s = _SENTENCE_PAUSE_S if text.rstrip().endswith((".", "!", "?", "…")) else _CLAUSE_PAUSE_S
    return min(len(spoken.pcm), spoken.phonemes[-1][1] + round(pause_s * rate_hz))


def main() -> None:
    """Serve one origin."""
    become_worker()
    pipe = WorkerPipe()
    voice = _Voice(pipe)
    threading.Thread(target=voice.listen, name="commands", daemon=True).start()
    voice.run()


if __name__ == "__main__":
    main()
