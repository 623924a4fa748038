"""`python -m tests.sim [--seeds N] [--seed N]`: simulate sessions; say which seeds broke a promise, and the replay.

`python -m tests.sim broker …` simulates the broker's cluster instead (tests/sim/broker.py).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter

from tests.sim import broker
from tests.sim.world import simulate


def main() -> int:
    """Entry point."""
    if sys.argv[1:2] == ["broker"]:
        return broker.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many sessions (default 100)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="only this one, with all its counters")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else [options.seed]
    failed, counters, worst, resync, virtual_s = [], Counter[str](), 0.0, 0.0, 0.0
    done = 0
    for seed in seeds:
        try:
            outcome = simulate(seed)
        except KeyboardInterrupt:  # say what is known so far
            break
        done += 1
        worst = max(worst, outcome.worst_jump_ratio)
        virtual_s += outcome.virtual_s
        resync = max(resync, outcome.resync_ms or 0.0)
        counters.update(outcome.counters)
        if outcome.failures:
            failed.append(seed)
            for failure in outcome.failures[:3]:
                print(f"seed {seed}: {failure}; replay: python -m tests.sim --seed {seed}", file=sys.stderr)
    summary = {
        "sessions": done,
        "virtual_s": round(virtual_s, 1),
        "failed_seeds": failed,
        "worst_jump_ratio": round(worst, 5),
        "resync_ms_max": round(resync, 1),
        "counters": dict(sorted(counters.items())),
    }
    print(json.dumps(summary) if options.json else "\n".join(f"{name}: {value}" for name, value in summary.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
