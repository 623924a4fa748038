"""A worker process for tests: answers Finish, and misbehaves as the character of a Start command tells it to."""

from __future__ import annotations

import os
import time

from origin.dialogue.framing import WorkerPipe, become_worker
from origin.dialogue.worker_messages import Failed, Finish, Ready, Start, stt_command_decoder


def main() -> None:
    become_worker()
    pipe = WorkerPipe()
    pipe.send(Ready())
    while (body := pipe.receive()) is not None:
        command = stt_command_decoder.decode(body)
        match command:
            case Start(character="die"):
                os._exit(3)
            case Start(character="babble"):
                os.write(pipe._out, b"\x00\x00\x00\x05never")
            case Start(character="chatter"):
                pipe.send(Failed(id=0, reason="it begins"))
                pipe.send(Failed(id=0, reason="x" * 2_000_000))
            case Start(character="sulk"):
                time.sleep(60)
            case Finish():
                pipe.send(Failed(id=command.id, reason=str(os.nice(0))))
            case _:
                pass


if __name__ == "__main__":
    main()
