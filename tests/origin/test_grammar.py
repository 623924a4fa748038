from __future__ import annotations

from origin.dialogue.grammar import build_grammar, normalise


def test_grammar_leaves_out_what_cannot_be_pronounced() -> None:
    grammar = build_grammar(["Hi there!", "Hi Zyx", "hi Mira", "?"], {"hi", "there"}, {"mira": "M IH R AH"})
    assert grammar.phrases == ("hi there", "hi mira")
    assert grammar.unknown == ("zyx",)
    assert grammar.pronunciations == {"mira": "M IH R AH"}
    assert "hi there" in grammar.jsgf
    assert build_grammar(["Zyx"], set(), {}).jsgf == ""


def test_normalise() -> None:
    assert normalise("What\u2019s   UP, Doc? 42") == "what's up doc"
