"""Write the vectors (`python -m tests.vectors`), or say which are stale (`--check`, exit 1)."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.vectors import frames, packets, receiver, redundancy

FOLDER = Path(__file__).parent

SUITES = {
    "opus_padding": (packets.opus_padding_suite, "core/wire/SPEC.md section 2; RFC 6716 section 3"),
    "access_unit": (packets.access_unit, "core/wire/SPEC.md section 3"),
    "frame_codec": (frames.frame_codec, "core/wire/SPEC.md section 4"),
    "feedback": (packets.feedback, "core/wire/SPEC.md section 5"),
    "control": (packets.control, "core/wire/SPEC.md section 6"),
    "fec": (redundancy.fec, "core/wire/SPEC.md section 9"),
    "unit_receiver": (receiver.unit_receiver, "core/wire/SPEC.md sections 3, 5 and 9.4"),
}


def render(suite: str) -> str:
    """The JSON text of one suite."""
    cases, specification = SUITES[suite]
    tests = cases()
    used = {flag for test in tests for flag in test["flags"]}
    document = {
        "schema": "schema.json",
        "suite": suite,
        "specification": specification,
        "generator": "python -m tests.vectors",
        "notes": {flag: packets.NOTES[flag] for flag in sorted(used)},
        "tests": [{"id": number, **test} for number, test in enumerate(tests, 1)],
    }
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def stale() -> list[str]:
    """Names of the files that are not what this code writes."""
    return [
        f"{suite}.json"
        for suite in SUITES
        if not (path := FOLDER / f"{suite}.json").exists() or path.read_text() != render(suite)
    ]


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.vectors", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is stale")
    if parser.parse_args().check:
        names = stale()
        if names:
            print(f"stale vectors: {', '.join(names)}; run: python -m tests.vectors", file=sys.stderr)
        return 1 if names else 0
    for suite in SUITES:
        (FOLDER / f"{suite}.json").write_text(render(suite))
    return 0


if __name__ == "__main__":
    sys.exit(main())
