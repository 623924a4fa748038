"""`python -m loadtests.bench NAME [--json] [--quick]`."""

from __future__ import annotations

from loadtests.bench.harness import main

raise SystemExit(main())
