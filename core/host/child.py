"""Runs one module of Visavis as a child of `visavis run`: `python -m core.host.child MODULE ARGUMENT…`.

The parent holds the other end of standard input and never writes. When it ends, however it dies, this process is told
to stop, and its process group is killed if it has not within a few seconds: a killed supervisor leaves no orphans.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from typing import Final

__all__ = ["STOP_S_MAX", "main"]

STOP_S_MAX: Final = 2.0
"""How long a child may take to stop when asked; then its process group is killed."""


def main() -> None:
    """Watch the parent, then become the module named first on the command line."""
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m core.host.child MODULE ARGUMENT…")
    threading.Thread(target=_watch_parent, name="watch-parent", daemon=True).start()
    module = sys.argv[1]
    sys.argv = [module, *sys.argv[2:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch_parent() -> None:
    # Read without sys.stdin: a blocked buffered reader would deadlock the interpreter's exit.
    while os.read(0, 1):
        pass
    leads_group = os.getpgrp() == os.getpid()  # else others are in it, who have nothing to do with this
    if leads_group:
        os.killpg(0, signal.SIGTERM)  # the workers too: this process may end before it has told them
    else:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_S_MAX)
    if leads_group:
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
