"""A process for somebody else's voice: `python -m origin.dialogue.voice_host MODULE ARGUMENTS…` runs that module.

What it loads may be under another licence than ours (Piper is GPL-3.0, so is Kokoro's phonemiser): it never shares a
process with the origin. It ends when the origin does (end of input), even if that was killed.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading

from origin.dialogue.framing import become_worker

__all__ = ["main"]


def _wait_for_the_end() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Run the module as if it had been started itself."""
    become_worker()
    threading.Thread(target=_wait_for_the_end, name="origin", daemon=True).start()
    module = sys.argv[1]
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
