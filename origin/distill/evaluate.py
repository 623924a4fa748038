"""The report: one HTML file with its pictures inside: curves of student and teacher, a sheet of mouth shapes, marks."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.limits import PTIME_MS
from core.speech.student_layout import FIDELITIES
from origin.distill.corpus import Clip, build
from origin.distill.examine import Examined, answer, examine, lessons_of, open_model, rules
from origin.distill.marks import CHANNELS_MARKED, shown
from origin.distill.recordings import load_recordings
from origin.distill.ship import MANIFEST
from origin.distill.teacher import Lesson

__all__ = ["write_report"]

_MINUTES: Final = 2.0
_SEED: Final = 3
_DRAWN: Final = ("jaw", "mouthClose", "pucker", "funnel", "rollLower", "lowerDown", "tongue", "browInner")
_COLOURS: Final = {"teacher": "#888", "with phonemes": "#06c", "audio only": "#c40"}
_WIDTH, _HEIGHT = 900, 90
_SECONDS_DRAWN: Final = 3.5
_SHAPES: Final = ("p", "f", "iː", "uː", "ɑː", "æ", "s", "ʃ", "w", "θ", "l", "ə")

Track = NDArray[np.float32]


def write_report(models: Path, folder: Path, *, natural: Path | None = None) -> Path:
    """Examine the shipped models on unheard voices and write `student.html`.

    Args:
        models: folder with the manifest. folder: where to write.
        natural: folder of recordings with texts.
    Returns: the file.
    Raises: ConfigError: there are no models, or the recordings cannot be read.
    """
    try:
        manifest = json.loads((models / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, dict[str, str]] = manifest["models"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{models / MANIFEST} does not name a student: {error}") from None
    clips = build(_MINUTES, seed=_SEED, held_out=True, situations=0)
    lessons = lessons_of(clips)
    rows: list[tuple[str, Examined]] = [("rules, phonemes", examine(rules(lessons), lessons))]
    drawn: dict[str, list[Track]] = {"teacher": [lesson.targets for lesson in lessons]}
    for precision, names in files.items():
        for fidelity in FIDELITIES:
            model = open_model(models / names[fidelity])
            for title, plans in (("with phonemes", [lesson.plan for lesson in lessons]), ("audio only", None)):
                said = answer(model, [clip.clean for clip in clips], plans)
                rows.append((f"{precision} {fidelity}, {title}", examine(said, lessons)))
                if precision == "fp32" and fidelity == "high":
                    drawn[title] = said
    if natural is not None:
        people = [clip for clip in load_recordings(natural) if clip.weights is None]
        taught = lessons_of(people)
        said = answer(open_model(models / files["fp32"]["high"]), [clip.clean for clip in people], None)
        rows.append(("fp32 high, audio only, natural", examine(said, taught)))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "student.html"
    path.write_text(_page(rows, clips, lessons, drawn), encoding="utf-8")
    return path


def _page(
    rows: Sequence[tuple[str, Examined]],
    clips: Sequence[Clip],
    lessons: Sequence[Lesson],
    drawn: dict[str, list[Track]],
) -> str:
    chosen = max(range(len(clips)), key=lambda index: len(lessons[index].closures))
    parts = [
        "<!doctype html><meta charset=utf-8><title>Student</title>",
        "<style>body{font:14px sans-serif;margin:2em;max-width:1000px}table{border-collapse:collapse;font-size:12px}"
        "td,th{padding:2px 6px;text-align:right;border-bottom:1px solid #ddd}td:first-child{text-align:left}"
        "figure{margin:1em 0}</style>",
        "<h1>The student against its teacher</h1><p>Voices and sentences that were never trained on.</p>",
        _marks_table(rows),
        f"<h2>Curves</h2><p>{html.escape(clips[chosen].name)}; "
        + ", ".join(f'<span style="color:{colour}">{name}</span>' for name, colour in _COLOURS.items())
        + "; grey bars: the lips must be shut.</p>",
        *(_curves(name, chosen, lessons, drawn) for name in _DRAWN),
        "<h2>Mouth shapes</h2><p>What the sounds look like, half-way through each: teacher, student with phonemes, "
        "student by ear.</p>",
        _sheet(clips, drawn),
    ]
    return "\n".join(parts)


def _marks_table(rows: Sequence[tuple[str, Examined]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in CHANNELS_MARKED)
    lines = [
        f"<table><tr><th>Pearson r</th>{head}<th>MAE, mouth</th><th>closures found</th><th>of those shown, right</th>"
    ]
    for title, examined in rows:
        cells = "".join(f"<td>{examined.marks.r[name]:.3f}</td>" for name in CHANNELS_MARKED)
        closures = examined.closures
        lines.append(
            f"<tr><td>{html.escape(title)}</td>{cells}<td>{examined.marks.mae_mouth:.4f}</td>"
            f"<td>{closures.recall:.1%}</td><td>{closures.precision:.1%}</td>"
        )
    return "\n".join([*lines, "</table>"])


def _curves(name: str, clip: int, lessons: Sequence[Lesson], drawn: dict[str, list[Track]]) -> str:
    column = list(CHANNELS_MARKED).index(name)
    frames = min(len(drawn["teacher"][clip]), round(_SECONDS_DRAWN * 1000 / PTIME_MS))
    lines = []
    for closure in lessons[clip].closures:
        if closure.end < frames:
            left, right = (edge * _WIDTH / frames for edge in (closure.start, closure.end))
            lines.append(f'<rect x="{left:.1f}" y="0" width="{right - left:.1f}" height="{_HEIGHT}" fill="#eee"/>')
    tracks = {title: shown(said[clip])[:frames, column] for title, said in drawn.items()}
    top = max(0.05, *(float(track.max()) for track in tracks.values()))
    for title, track in tracks.items():
        points = " ".join(
            f"{index * _WIDTH / frames:.1f},{_HEIGHT - 4 - (_HEIGHT - 8) * max(value, 0.0) / top:.1f}"
            for index, value in enumerate(track.tolist())
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{_COLOURS[title]}" stroke-width="1.5"/>')
    return (
        f"<figure><figcaption>{name} (up to {top:.2f})</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">{"".join(lines)}</svg></figure>'
    )


def _sheet(clips: Sequence[Clip], drawn: dict[str, list[Track]]) -> str:
    cells = []
    for symbol in _SHAPES:
        found = [
            (index, round((span.start + span.end) / 2 / 960))
            for index, clip in enumerate(clips)
            for span in clip.spans
            if span.symbol == symbol
        ]
        pictures = []
        for title, said in drawn.items():
            poses = [shown(said[index][frame : frame + 1])[0] for index, frame in found if frame < len(said[index])]
            if poses:
                pictures.append(_mouth(np.median(poses, axis=0), _COLOURS[title]))
        if pictures:
            cells.append(f"<figure style='display:inline-block;margin:8px'>{''.join(pictures)}<br>/{symbol}/</figure>")
    return "".join(cells)


def _mouth(pose: Track, colour: str) -> str:
    """A mouth from the front: inner and outer lip line as ellipses that jaw, lips and corners shape."""
    value = dict(zip(CHANNELS_MARKED, pose.tolist(), strict=True))
    wide = 30.0 * (
        1.0 - 0.45 * value["pucker"] - 0.2 * value["funnel"] + 0.35 * value["stretch"] + 0.3 * value["smile"]
    )
    gap = max(0.0, value["jaw"] - value["mouthClose"])
    down = 2.0 + 40.0 * gap + 10.0 * value["lowerDown"]
    up = 1.0 + 4.0 * gap + 10.0 * value["upperUp"]
    if gap < 0.05 and value["press"] > 0.08:
        down = up = 0.5
    lip = 7.0 + 5.0 * value["pucker"] + 3.0 * value["funnel"]
    lower_lip = lip * (1.0 - 0.9 * value["rollLower"])
    corner = 38.0 - 8.0 * value["smile"]

    def line(upper: float, lower: float, half: float) -> str:
        return (
            f"M{45 - half:.1f},{corner:.1f} Q45,{38 - 2 * upper:.1f} {45 + half:.1f},{corner:.1f} "
            f"Q45,{38 + 2 * lower:.1f} {45 - half:.1f},{corner:.1f}Z"
        )

    tongue = (
        f'<ellipse cx="45" cy="{38 + down * 0.6:.1f}" rx="9" ry="{3 + 6 * value["tongue"]:.1f}" fill="#d66"/>'
        if value["tongue"] > 0.1 and down > 3
        else ""
    )
    return (
        f'<svg viewBox="0 0 90 90" width="80" height="80"><path d="{line(up + lip, down + lower_lip, wide + 3)}" '
        f'fill="#e9a0a0" stroke="{colour}"/><path d="{line(up, down, wide)}" fill="#411"/>{tongue}</svg>'
    )
