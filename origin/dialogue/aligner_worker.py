"""The aligner's worker process: `python -m origin.dialogue.aligner_worker`. Speaks msgpack on its standard streams.

It ends when the origin does (end of input). PocketSphinx holds the interpreter while it searches, a fifteenth of the
sound's length: nothing else may wait for it.
"""

from __future__ import annotations

from origin.dialogue.forced_alignment import align_words
from origin.dialogue.framing import WorkerPipe, become_worker
from origin.dialogue.worker_messages import Aligned, Ready, align_decoder

__all__ = ["main"]


def main() -> None:
    """Serve one origin."""
    become_worker()
    pipe = WorkerPipe()
    pipe.send(Ready())
    while (body := pipe.receive()) is not None:
        asked = align_decoder.decode(body)
        words = align_words(asked.pcm, asked.words, complete=asked.complete)
        pipe.send(Aligned(id=asked.id, times=tuple(time for word in words for time in word)))


if __name__ == "__main__":
    main()
