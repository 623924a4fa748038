"""The report as one HTML file with its pictures inside: marks, curves of student and teacher, a sheet of mouths."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from core.limits import PTIME_MS, TICK_SAMPLES
from origin.distill.corpus import Clip
from origin.distill.examine import Examined
from origin.distill.marks import CHANNELS_MARKED, MOUTH_CHANNELS, shown
from origin.distill.measure import Measured
from origin.distill.teacher import Lesson

__all__ = ["page"]

_CURVES: Final = (
    "jaw", "mouthClose", "funnel", "pucker", "stretch", "smile", "rollLower", "lowerDown", "tongue", "browInner",
    "headPitch",
)  # fmt: skip
_SERIES: Final = {"teacher": "#8a8f98", "by text": "#1666c5", "by ear": "#d2541b"}
"""By text: with phonemes; by ear: from the sound alone."""
_WIDTH, _HEIGHT, _LABEL = 880, 74, 104
_SECONDS_DRAWN: Final = 3.2
"""At most; a shorter utterance fills the width."""
_SHAPES: Final = ("p", "f", "iː", "uː", "ɑː", "æ", "oʊ", "s", "ʃ", "w", "θ", "l")
_POOR, _FAIR = 0.70, 0.85

_STYLE: Final = """
:root{--ink:#1c2330;--soft:#667085;--line:#e4e7ec;--paper:#fff;--wash:#f6f7f9}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;color:var(--ink);
background:var(--paper);max-width:1160px;margin:40px auto;padding:0 24px}
h1{font-size:28px;margin:0 0 4px}h2{font-size:19px;margin:44px 0 4px}
p{margin:4px 0 14px;color:var(--soft);max-width:72ch}
table{border-collapse:collapse;font-size:12px;margin-bottom:22px;font-variant-numeric:tabular-nums;width:100%}
th{font-weight:600;color:var(--soft);vertical-align:bottom}
th,td{padding:4px;text-align:right;white-space:nowrap}th:not(:first-child){font-size:10.5px}
td:first-child,th:first-child{text-align:left}tr+tr td{border-top:1px solid var(--line)}
td.poor{background:#fde4dc}td.fair{background:#fdf3d7}.key span{margin-right:18px;white-space:nowrap}
.key i{display:inline-block;width:22px;height:3px;border-radius:2px;vertical-align:middle;margin-right:6px}
.tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:12px;margin:18px 0}
.tile{background:var(--wash);border-radius:10px;padding:12px 14px}.tile b{font-size:23px;display:block}
.tile small{color:var(--soft)}svg{display:block;max-width:100%;height:auto}
.sheet{display:grid;grid-template-columns:repeat(3,1fr);gap:14px}.sheet figure{margin:0;background:var(--wash);
border-radius:10px;padding:8px 10px 10px}.sheet figcaption{font-weight:600;font-size:16px;margin-bottom:2px}
.trio{display:flex;justify-content:space-between}.trio div{text-align:center;font-size:11px;color:var(--soft)}
.scroll{overflow-x:auto}
@media(max-width:720px){.tiles{grid-template-columns:repeat(2,1fr)}.sheet{grid-template-columns:1fr}}
"""

Track = NDArray[np.float32]


def page(
    measured: Measured, manifest: Mapping[str, Any], record: Mapping[str, Any], characters: Mapping[str, Examined],
    people: Mapping[str, Examined],
) -> str:  # fmt: skip
    """The whole report.

    Args:
        measured: all models. manifest, record: of their folder.
        characters: name → marks with phonemes.
        people: natural speech by ear: "after" augmentation, and "before" where a training without is at hand.
    Returns: HTML.
    """
    drawn = {
        "teacher": [lesson.targets for lesson in measured.lessons],
        "by text": measured.answers["phonemes"],
        "by ear": measured.answers["audio"],
    }
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>The student animator</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{_STYLE}</style>",
            "<h1>The student against its teacher</h1>",
            f"<p>{len(measured.clips)} utterances by voices and with sentences that were never trained on. r is "
            "Pearson's correlation over all frames, of the weights a viewer sees.</p>",
            _tiles(measured, manifest, people),
            _models(measured, manifest),
            _characters(characters),
            _people(people, record),
            _compression(record.get("compression", [])),
            _curves(measured.clips, measured.lessons, drawn),
            _sheet(measured.clips, drawn),
            "</html>",
        ]
    )


def _tiles(measured: Measured, manifest: Mapping[str, Any], people: Mapping[str, Examined]) -> str:
    row = measured.rows[manifest["models"]["fp32"]["high"]]
    phonemes, audio = row.examined["phonemes"], row.examined["audio"]
    tiles = [
        (f"{phonemes.marks.r_min_mouth:.3f}", "worst mouth channel, with phonemes"),
        (f"{audio.marks.r_min_mouth:.3f}", "worst mouth channel, by ear"),
        (f"{phonemes.closures.recall:.1%}", "closures found, with phonemes"),
        (f"{row.us_per_frame[64]:.1f} µs", "per frame at batch 64, one thread"),
    ]
    if "after" in people:
        tiles[3:3] = [(f"{people['after'].marks.r_mean_mouth:.3f}", "mean mouth channel, people's speech by ear")]
        tiles = tiles[:2] + tiles[3:]
    body = "".join(f'<div class="tile"><b>{value}</b><small>{what}</small></div>' for value, what in tiles)
    return f'<div class="tiles">{body}</div>'


def _table(heads: Sequence[str], lines: Sequence[tuple[str, Sequence[str]]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *heads))
    body = "".join(f"<tr><td>{html.escape(title)}</td>{''.join(cells)}</tr>" for title, cells in lines)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _r(value: float) -> str:
    kind = ' class="poor"' if value < _POOR else ' class="fair"' if value < _FAIR else ""
    return f"<td{kind}>{value:.3f}</td>".replace("0.", ".", 1)


def _marks(examined: Examined) -> list[str]:
    marks, closures = examined.marks, examined.closures
    return [
        *(_r(marks.r[name]) for name in CHANNELS_MARKED),
        f"<td>{marks.mae_mouth:.4f}</td><td>{closures.recall:.1%}</td><td>{closures.precision:.1%}</td>",
    ]


_HEADS: Final = (*CHANNELS_MARKED, "MAE", "shut", "rightly")


def _models(measured: Measured, manifest: Mapping[str, Any]) -> str:
    parts = [
        "<h2>Models</h2><p>Yellow below .85, red below .70. MAE: mean over the mouth. Shut: closures found "
        "within 40 ms. Rightly: of the frames with shut lips, those near a closure.</p>"
    ]
    for heard, title in (("phonemes", "with phonemes"), ("audio", "by ear")):
        lines = [("rules", _marks(measured.rules))] if heard == "phonemes" else []
        for precision, files in manifest["models"].items():
            for fidelity, file in files.items():
                lines.append((f"{precision} {fidelity}", _marks(measured.rows[file].examined[heard])))
        parts.append(_table([f"{name}" for name in _HEADS], lines).replace("<th></th>", f"<th>{title}</th>", 1))
    return "\n".join(parts)


def _characters(characters: Mapping[str, Examined]) -> str:
    lines = [(name, _marks(examined)) for name, examined in characters.items()]
    return "<h2>Characters</h2><p>High fidelity, fp32, with phonemes.</p>" + _table(_HEADS, lines) if lines else ""


def _people(people: Mapping[str, Examined], record: Mapping[str, Any]) -> str:
    plain, shipped = record.get("augmentation", {}).get("plain_steps"), record.get("training", {}).get("steps")
    titles = {"before": f"plain, {plain} steps", "after": f"shipped, {shipped} steps"}
    lines = [(title, _marks(people[when])) for when, title in titles.items() if when in people]
    if not lines:
        return ""
    return (
        "<h2>People's speech, by ear</h2><p>Recordings nobody synthesised. Plain: trained without augmentation. The "
        "reference is the teacher on a forced alignment, which is itself right to about 20 ms.</p>"
        + _table(_HEADS, lines)
    )


def _compression(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    heads = [name for name in rows[0] if name != "step"]
    lines = [(str(row["step"]), [f"<td>{row[name]:,}</td>" for name in heads]) for row in rows]
    return (
        "<h2>Compression</h2><p>Each step on the same examination. Pruned and 4-bit models are measured, not shipped: "
        "the smaller fidelities and INT8 pay more.</p>" + _table([name.replace("_", " ") for name in heads], lines)
    )


def _curves(clips: Sequence[Clip], lessons: Sequence[Lesson], drawn: Mapping[str, Sequence[Track]]) -> str:
    chosen = max(range(len(clips)), key=lambda index: len(lessons[index].closures) / len(clips[index].clean) ** 0.5)
    key = "".join(f'<span><i style="background:{colour}"></i>{name}</span>' for name, colour in _SERIES.items())
    return "\n".join(
        [
            f"<h2>Curves</h2><p>“{html.escape(clips[chosen].name)}” Shaded: the lips must be shut. "
            "By text: with phonemes; by ear: from the sound alone.</p>",
            f'<p class="key">{key}</p>',
            *(_curve(name, chosen, clips[chosen], lessons[chosen], drawn) for name in _CURVES),
            _ruler(clips[chosen]),
        ]
    )


def _first_frame(clip: Clip) -> int:
    return max(0, clip.spans[0].start // TICK_SAMPLES - 8)


def _last_frame(clip: Clip) -> int:
    spoken = max(span.end for span in clip.spans if span.symbol) // TICK_SAMPLES + 12
    return min(len(clip.clean), spoken, _first_frame(clip) + round(_SECONDS_DRAWN * 1000 / PTIME_MS))


def _x(frame: float, clip: Clip) -> float:
    return _LABEL + (frame - _first_frame(clip)) * (_WIDTH - _LABEL) / (_last_frame(clip) - _first_frame(clip))


def _curve(name: str, index: int, clip: Clip, lesson: Lesson, drawn: Mapping[str, Sequence[Track]]) -> str:
    column = list(CHANNELS_MARKED).index(name)
    first, last = _first_frame(clip), _last_frame(clip)
    shapes = []
    for closure in lesson.closures:
        if first <= closure.start and closure.end < last:
            left, right = _x(closure.start, clip), _x(closure.end, clip)
            shapes.append(f'<rect x="{left:.1f}" y="0" width="{right - left:.1f}" height="{_HEIGHT}" fill="#eceff3"/>')
    tracks = {title: shown(said[index])[first:last, column] for title, said in drawn.items()}
    low = min(0.0, *(float(track.min()) for track in tracks.values()))
    high = max(low + 0.05, *(float(track.max()) for track in tracks.values()))

    def y(value: float) -> float:
        return _HEIGHT - 7 - (_HEIGHT - 14) * (value - low) / (high - low)

    shapes.append(f'<line x1="{_LABEL}" x2="{_WIDTH}" y1="{y(0.0):.1f}" y2="{y(0.0):.1f}" stroke="#e4e7ec"/>')
    for title, track in tracks.items():
        points = " ".join(f"{_x(first + at, clip):.1f},{y(value):.1f}" for at, value in enumerate(track.tolist()))
        width = 3.4 if title == "teacher" else 1.5
        shapes.append(
            f'<polyline points="{points}" fill="none" stroke="{_SERIES[title]}" stroke-width="{width}" '
            f'stroke-opacity="{0.55 if title == "teacher" else 1}" stroke-linejoin="round"/>'
        )
    unit = " rad" if name.startswith("head") else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%"><text x="0" y="26" font-size="13" font-weight="600" '
        f'fill="#1c2330">{name}</text><text x="0" y="44" font-size="11" fill="#667085">{low:.2f} … {high:.2f}{unit}'
        "</text>"
        f"{''.join(shapes)}</svg>"
    )


def _ruler(clip: Clip) -> str:
    """The sounds under the curves."""
    last = _last_frame(clip)
    marks = []
    for span in clip.spans:
        middle = (span.start + span.end) / 2 / TICK_SAMPLES
        if span.symbol and middle < last - 2:
            marks.append(
                f'<text x="{_x(middle, clip):.1f}" y="14" font-size="13" text-anchor="middle" fill="#1c2330">'
                f"{html.escape(span.symbol)}</text>"
            )
    return f'<svg viewBox="0 0 {_WIDTH} 22" width="100%">{"".join(marks)}</svg>'


def _sheet(clips: Sequence[Clip], drawn: Mapping[str, Sequence[Track]]) -> str:
    cells = []
    for symbol in _SHAPES:
        found = [
            (index, round((span.start + span.end) / 2 / TICK_SAMPLES))
            for index, clip in enumerate(clips)
            for span in clip.spans
            if span.symbol == symbol
        ]
        if not found:
            continue
        trio = []
        for title, said in drawn.items():
            poses = [shown(said[index][frame : frame + 1])[0] for index, frame in found if frame < len(said[index])]
            trio.append(f"<div>{_mouth(np.median(poses, axis=0))}{title}</div>")
        cells.append(f'<figure><figcaption>/{symbol}/</figcaption><div class="trio">{"".join(trio)}</div></figure>')
    return (
        "<h2>Mouth shapes</h2><p>The median of each sound, half-way through it, in all that was said.</p>"
        f'<div class="sheet">{"".join(cells)}</div>'
    )


def _mouth(pose: Track) -> str:
    """A mouth from the front: the lips' outer and inner outlines as jaw, lips and corners shape them; teeth, tongue."""
    value = dict(zip(MOUTH_CHANNELS, pose.tolist(), strict=False))
    half = 27.0 * (
        1.0 - 0.55 * value["pucker"] - 0.30 * value["funnel"] + 0.30 * value["stretch"] + 0.25 * value["smile"]
    )
    gap = max(0.0, value["jaw"] - value["mouthClose"])
    down, up = 44.0 * gap + 9.0 * value["lowerDown"], 3.0 * gap + 9.0 * value["upperUp"]
    if gap < 0.04 and value["press"] > 0.06:
        down = up = 0.0
    upper = max(3.0, 6.5 + 4.0 * value["pucker"] + 3.0 * value["funnel"] - 3.0 * value["press"] / 0.18)
    lower = max(1.5, (8.5 + 4.0 * value["pucker"] + 3.0 * value["funnel"]) * (1.0 - 1.9 * value["rollLower"]))
    rise = 7.0 * value["smile"]
    top, bottom, corner = 38.0 - up, 38.0 + down, 38.0 + down * 0.25 - rise

    def outline(above: float, below: float, reach: float) -> str:
        """Two arcs between the corners whose middles are at the given heights: a cubic reaches 3/4 of its handles."""
        bend = reach * 0.62
        over, under = (corner + (height - corner) / 0.75 for height in (above, below))
        return (
            f"M{45 - reach:.1f},{corner:.1f} C{45 - bend:.1f},{over:.1f} {45 + bend:.1f},{over:.1f} "
            f"{45 + reach:.1f},{corner:.1f} C{45 + bend:.1f},{under:.1f} {45 - bend:.1f},{under:.1f} "
            f"{45 - reach:.1f},{corner:.1f}Z"
        )

    inside = outline(top, bottom, half - 3.0) if down + up > 1.0 else ""
    lips = outline(top - upper, bottom + lower, half)
    name = f"m{crc32(lips.encode())}"
    parts = [f'<path d="{lips}" fill="#d98880"/>']
    if inside:
        parts.append(f'<clipPath id="{name}"><path d="{inside}"/></clipPath><path d="{inside}" fill="#4a1518"/>')
        showing = 8.0 + 20.0 * value["upperUp"]
        teeth = f'<rect x="20" y="{top - 6:.1f}" width="50" height="{showing:.1f}" fill="#f7f3ee"/>'
        tongue = (
            ""
            if gap < 0.08 and value["tongue"] < 0.05
            else (
                f'<ellipse cx="45" cy="{bottom - 1 - 12 * value["tongue"]:.1f}" rx="{half * 0.55:.1f}" '
                f'ry="{3 + 9 * value["tongue"]:.1f}" fill="#c9605e"/>'
            )
        )
        parts.append(f'<g clip-path="url(#{name})">{teeth}{tongue}</g>')
    else:
        seam = f"M{45 - half + 3:.1f},{corner:.1f} Q45,{38 + 1.5:.1f} {45 + half - 3:.1f},{corner:.1f}"
        parts.append(f'<path d="{seam}" fill="none" stroke="#7c3b3b" stroke-width="1.6" stroke-linecap="round"/>')
    return f'<svg viewBox="10 20 70 56" width="98" height="78">{"".join(parts)}</svg>'
