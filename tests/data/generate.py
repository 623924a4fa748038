"""Make the recordings of this folder again: `python -m tests.data.generate`.

They are committed, so that tests need no espeak-ng and hear the same on every machine.
"""

from __future__ import annotations

from pathlib import Path

from loadtests.questions import Question, render

FOLDER = Path(__file__).parent

QUESTIONS = [
    Question(name="hello", parts=("What is your name?",), voice="en-us", rate_wpm=150, seed=1),
    Question(name="mars", parts=("Tell me about Mars.",), voice="en-us+m3", rate_wpm=150, seed=2),
    Question(name="moon", parts=("How far away", "is the moon?"), voice="en-us", rate_wpm=150, pause_s=0.35, seed=3),
    Question(name="milky_way", parts=("Tell me about the Milky Way.",), voice="en-us+f2", rate_wpm=160, seed=4),
    Question(name="stop", parts=("Stop, wait a moment please.",), voice="en-us", rate_wpm=165, seed=5),
]


def main() -> None:
    """Write all recordings."""
    for path in render(QUESTIONS, FOLDER).values():
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
