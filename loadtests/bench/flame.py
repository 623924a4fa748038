"""Where a process spends its CPU time: a sampler inside it, and its stacks as a flame graph in one SVG file.

Source of the picture: Brendan Gregg, "The Flame Graph", CACM 59(6), 2016. Width is CPU time; above a frame lies what it
called; order from left to right is alphabetical and means nothing.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

__all__ = ["Sampler", "Stack", "flame_graph"]

Stack = tuple[str, ...]
"""Frames from the outermost to the innermost, each as `folder/file.py:function`."""

_INTERVAL_S: Final = 0.001
_WIDTH: Final = 1_600
_MARGIN: Final = 12
_ROW: Final = 19
_HEAD: Final = 62
_FOOT: Final = 34
_CHARACTER: Final = 6.9
_NARROWEST: Final = 1.0
"""Frames narrower than this many pixels are left out."""
_ROOT: Final = str(Path(__file__).parents[2]) + "/"
_COLOURS: Final = (
    ("edge/transports", "#f2b8a0"),
    ("edge/ear", "#b9d3ee"),
    ("edge/hearing", "#b9d3ee"),
    ("edge/inference", "#b9d3ee"),
    ("edge/", "#f6cf8b"),
    ("core/avatar", "#bfe0b2"),
    ("core/speech", "#bfe0b2"),
    ("core/wire", "#e8b5cf"),
    ("core/stream", "#d9c2ec"),
    ("core/fabric", "#a9dcd7"),
    ("core/", "#cfe3a8"),
)
_OTHER: Final = "#dcdcdc"


class Sampler:
    """Notes the main thread's stack every millisecond of CPU time, or as often as the kernel's clock ticks.

    Attributes:
        stacks: how often each was seen.
    """

    def __init__(self) -> None:
        self.stacks: Counter[Stack] = Counter()
        self._names: dict[CodeType, str] = {}

    def start(self) -> None:
        """Begin, or go on. Only in the main thread."""
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)

    def stop(self) -> None:
        """Stop; `stacks` stay."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        names, stack = self._names, list[str]()
        while frame is not None:
            code = frame.f_code
            name = names.get(code)
            if name is None:
                name = names[code] = _name(code)
            stack.append(name)
            frame = frame.f_back
        self.stacks[tuple(reversed(stack))] += 1


def _name(code: CodeType) -> str:
    file = code.co_filename
    file = (
        file[len(_ROOT) :] if file.startswith(_ROOT) and "site-packages" not in file else "/".join(file.split("/")[-2:])
    )
    return f"{file}:{code.co_qualname}"


@dataclass(slots=True)
class _Node:
    count: int = 0
    children: dict[str, _Node] = field(default_factory=dict)


def flame_graph(stacks: Mapping[Stack, int], title: str, subtitle: str = "") -> str:
    """One self-contained SVG; hovering over a frame tells its name and share.

    Args:
        stacks: samples per stack.
        title, subtitle: what was measured and how.
    """
    root = _Node()
    shared = _shared(stacks)
    for stack, count in stacks.items():
        root.count += count
        node = root
        for name in stack[shared:]:
            node = node.children.setdefault(name, _Node())
            node.count += count
    scale = (_WIDTH - 2 * _MARGIN) / max(1, root.count)
    depth = _depth(root, scale)
    height = _HEAD + depth * _ROW + _FOOT
    rows = "".join(_boxes(root, _MARGIN, 0, scale, height, root.count))
    middle = _WIDTH / 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="11.5">\n'
        "<style>g:hover rect{stroke:#222;stroke-width:1}text{pointer-events:none}"
        ".s{font-family:sans-serif}.m{text-anchor:middle}</style>\n"
        '<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="{middle}" y="26" class="s m" font-size="18">{escape(title)}</text>\n'
        f'<text x="{middle}" y="46" class="s m" font-size="12.5" fill="#555">{escape(subtitle)}</text>\n'
        f"{rows}{_legend(height)}</svg>\n"
    )


def _shared(stacks: Mapping[Stack, int]) -> int:
    """How many outermost frames, but one, all stacks have in common: they tell nothing."""
    first = next(iter(stacks), ())
    same = 0
    while same < len(first) and all(stack[: same + 1] == first[: same + 1] for stack in stacks):
        same += 1
    return max(0, same - 1)


def _depth(node: _Node, scale: float) -> int:
    deepest = [_depth(child, scale) for child in node.children.values() if child.count * scale >= _NARROWEST]
    return 1 + max(deepest, default=0)


def _boxes(node: _Node, x: float, level: int, scale: float, height: int, total: int) -> Iterable[str]:
    for name in sorted(node.children):
        child = node.children[name]
        width = child.count * scale
        if width >= _NARROWEST:
            yield _box(name, child.count, x, height - _FOOT - (level + 1) * _ROW, width, total)
            yield from _boxes(child, x, level + 1, scale, height, total)
        x += width


def _box(name: str, count: int, x: float, y: int, width: float, total: int) -> str:
    fill = next((colour for prefix, colour in _COLOURS if name.startswith(prefix)), _OTHER)
    share = 100.0 * count / total
    label = _fit(name, int((width - 6) / _CHARACTER))
    text = f'<text x="{x + 3:.1f}" y="{y + 13}">{escape(label)}</text>' if label else ""
    return (
        f"<g><title>{escape(name)}: {share:.1f} % ({count} samples)</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{max(0.3, width - 0.6):.1f}" height="{_ROW - 1}" rx="1.5" fill="{fill}"/>'
        f"{text}</g>\n"
    )


def _fit(name: str, characters: int) -> str:
    """As much of a frame's name as there is room for: all of it, its function, the beginning of that, nothing."""
    function = name.rpartition(":")[2]
    for candidate in (name, name.rpartition("/")[2], function, function.rpartition(".")[2]):
        if len(candidate) <= characters:
            return candidate
    short = function.rpartition(".")[2]
    return short[: characters - 1] + "…" if characters >= 4 else ""


def _legend(height: int) -> str:
    entries = (
        ("transports", "#f2b8a0"),
        ("ear", "#b9d3ee"),
        ("sessions, animator", "#f6cf8b"),
        ("face", "#bfe0b2"),
        ("wire format", "#e8b5cf"),
        ("streams, FEC", "#d9c2ec"),
        ("fabric", "#a9dcd7"),
        ("libraries, event loop", _OTHER),
    )
    x, parts = float(_MARGIN), list[str]()
    for label, colour in entries:
        parts.append(f'<rect x="{x:.0f}" y="{height - 22}" width="13" height="13" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18:.0f}" y="{height - 11}" class="s" font-size="12">{label}</text>')
        x += 34 + 6.6 * len(label)
    return "\n".join(parts)
