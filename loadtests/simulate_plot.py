"""The day of `visavis simulate` as a drawing: slots in use and slots that wait, minute by minute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["draw"]

_WIDTH: Final = 960
_HEIGHT: Final = 360
_MARGIN: Final = 60


def draw(warm: Sequence[int], leased: Sequence[int]) -> str:
    """An SVG picture. Args: warm, leased: slots in that state, one value per minute, equally many."""
    top = max([1, *(a + b for a, b in zip(warm, leased, strict=True))])
    count = max(1, len(leased) - 1)

    def point(index: int, value: float) -> str:
        x = _MARGIN + (_WIDTH - 2 * _MARGIN) * index / count
        return f"{x:.1f},{_HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * value / top:.1f}"

    def area(values: Sequence[float], colour: str) -> str:
        points = [point(0, 0), *(point(index, value) for index, value in enumerate(values)), point(count, 0)]
        return f'<polygon fill="{colour}" points="{" ".join(points)}"/>'

    def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'

    base, right = _HEIGHT - _MARGIN, _WIDTH - _MARGIN
    marks = [text(_MARGIN + (right - _MARGIN) * hour / 24, base + 18, f"{hour}:00") for hour in range(0, 25, 4)]
    heights = [
        text(_MARGIN - 6, base - (base - _MARGIN) * part / 4 + 4, f"{top * part / 4:,.0f}", "end") for part in range(5)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
            'font-size="12" fill="#444">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
            area([a + b for a, b in zip(warm, leased, strict=True)], "#f2b66d"),
            area(list(leased), "#4d7ea8"),
            *marks,
            *heights,
            text(
                _MARGIN, _MARGIN - 24, "slots in use (blue) and warm slots on top of them (orange), all POPs", "start"
            ),
            "</svg>",
            "",
        ]
    )
