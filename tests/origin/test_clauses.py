from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from origin.dialogue.clauses import ClauseSplitter, split_clauses


def test_clauses_come_early_and_whole() -> None:
    assert split_clauses("Hello there, friend. I am Dr. Who! **Bold** [link](http://x). 👍") == [
        "Hello there,",
        "friend.",
        "I am Dr. Who!",
        "Bold link.",
    ]
    assert all(len(clause) <= 220 for clause in split_clauses("word " * 400))


@given(st.text(max_size=300), st.integers(1, 20))
def test_clauses_do_not_depend_on_the_pieces(text: str, size: int) -> None:
    whole = ClauseSplitter()
    expected = [*whole.feed(text)]
    if rest := whole.flush():
        expected.append(rest)
    pieces = ClauseSplitter()
    found: list[str] = []
    for index in range(0, len(text), size):
        found += pieces.feed(text[index : index + size])
    if rest := pieces.flush():
        found.append(rest)
    # Where a clause ends may depend on how much is known; no word is lost or doubled.
    assert "".join("".join(found).split()) == "".join("".join(expected).split())
