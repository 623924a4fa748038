"""The recogniser's worker process: `python -m origin.dialogue.stt_worker`. Speaks msgpack on its standard streams.

It ends when the origin does (end of input).
"""

from __future__ import annotations

from typing import Final

from origin.dialogue.framing import WorkerPipe, become_worker
from origin.dialogue.recogniser import SAMPLE_RATE_HZ, Recogniser
from origin.dialogue.worker_messages import (
    Cancel,
    Failed,
    Feed,
    Finish,
    Partial,
    Prepare,
    Prepared,
    Ready,
    Recognised,
    Start,
    SttCommand,
    stt_command_decoder,
)

__all__ = ["main"]

_PARTIAL_BYTES: Final = SAMPLE_RATE_HZ * 2 * 3 // 10
"""A partial result after every 300 ms of speech."""


class _Ears:
    """Hears one utterance at a time, in the order of the commands."""

    def __init__(self, pipe: WorkerPipe) -> None:
        self._pipe = pipe
        self._recogniser = Recogniser()
        self._current = 0
        self._unreported = 0
        self._partial = ""

    def handle(self, command: SttCommand) -> None:
        match command:
            case Prepare():
                grammar = self._recogniser.prepare(command.character, command.phrases, command.pronunciations)
                self._pipe.send(Prepared(id=command.id, phrases=len(grammar.phrases), unknown=grammar.unknown))
            case Start():
                self._abandon()
                self._recogniser.start(command.character)
                self._current, self._unreported, self._partial = command.id, 0, ""
            case Feed() if command.id == self._current:
                self._recogniser.feed(command.pcm)
                self._unreported += len(command.pcm)
                if self._unreported >= _PARTIAL_BYTES:
                    self._report_partial()
            case Finish() if command.id == self._current:
                self._current = 0
                heard = self._recogniser.finish()
                self._pipe.send(Recognised(id=command.id, text=heard.text, in_grammar=heard.in_grammar))
            case Cancel() if command.id == self._current:
                self._abandon()
            case _:
                pass  # of an utterance that was given up meanwhile

    def _report_partial(self) -> None:
        self._unreported = 0
        text = self._recogniser.partial()
        if text and text != self._partial:
            self._partial = text
            self._pipe.send(Partial(id=self._current, text=text))

    def _abandon(self) -> None:
        if self._current:
            self._recogniser.finish()
            self._current = 0


def main() -> None:
    """Serve one origin."""
    become_worker()
    pipe = WorkerPipe()
    ears = _Ears(pipe)
    pipe.send(Ready())
    while (body := pipe.receive()) is not None:
        command = stt_command_decoder.decode(body)
        try:
            ears.handle(command)
        except RuntimeError as error:  # what the decoder raises for audio it cannot take
            pipe.send(Failed(id=command.id, reason=str(error)))


if __name__ == "__main__":
    main()
