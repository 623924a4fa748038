from __future__ import annotations

from core.session.budget import STAGES
from origin.dialogue.state import TurnMarks
from origin.turn_log import TurnLog


def test_medians_stand_beside_what_each_stage_may_take() -> None:
    log = TurnLog()
    assert log.report()["turns"] == 0 and log.report()["total_ms"] is None
    for late in (0.1, 0.2, 0.9):
        marks = TurnMarks(
            speech_ended=1.0, detected=1.2, transcribed=1.25, ended=1.25, first_clause=1.25 + late,
            first_packet=1.3 + late,
        )  # fmt: skip
        log.note(marks.stages())
    report = log.report()
    assert report["turns"] == 3 and report["total_ms"] == 500.0
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert list(stages) == [stage.name for stage in STAGES]
    assert stages["think"] == {"name": "think", "title": "first clause", "target_ms": 150.0, "median_ms": 200.0}
    assert stages["playout"]["median_ms"] is None


def test_the_oldest_turns_are_forgotten() -> None:
    log = TurnLog()
    for turn in range(500):
        log.note({"think": float(turn)})
    assert log.report()["turns"] == 200
