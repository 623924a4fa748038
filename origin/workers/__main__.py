"""A worker process: `python -m origin.workers --name worker-0 [--config visavis.toml] [--set origin.fabric=…]`."""

from __future__ import annotations

from origin.workers.process import main

if __name__ == "__main__":
    raise SystemExit(main())
