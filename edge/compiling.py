"""Whether the arithmetic of a phase can be machine code here. What needs numba is imported only by who wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.compiled import CompiledFaces

__all__ = ["load_compiled"]


def load_compiled() -> tuple[CompiledFaces | None, str]:
    """The compiled arithmetic: the first time on a machine it is compiled, for some seconds, later read from files.

    Returns: it and "", or None and one sentence: a POP without it serves as well, only fewer.
    """
    try:
        from edge.compiled import CompiledFaces
    except Exception as error:  # numba and LLVM raise what they like
        return None, f"numba cannot be used here: {' '.join(str(error).split())[:200]}"
    return CompiledFaces(), ""
