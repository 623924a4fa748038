from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import LocalProtocolError
from core.fabric.subjects import Routes, check_pattern, check_subject, matches

token = st.text("abcxyz019_-", min_size=1, max_size=4)
subjects = st.lists(token, min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("*.*", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("*.>", "a.b", True),
        ("*.>", "a", False),
        ("a.*.c", "a.b.c", True),
    ],
)
def test_matches(pattern: str, subject: str, expected: bool) -> None:
    assert matches(pattern, subject) is expected


@given(subjects, st.data())
def test_replacing_tokens_by_wildcards_still_matches(subject: str, data: st.DataObject) -> None:
    tokens = subject.split(".")
    masked = [data.draw(st.sampled_from([token, "*"])) for token in tokens]
    assert matches(".".join(masked), subject)
    cut = data.draw(st.integers(0, len(tokens) - 1))
    assert matches(".".join([*masked[:cut], ">"]), subject)


@given(subjects, subjects)
def test_a_subject_without_wildcards_matches_only_itself(one: str, two: str) -> None:
    assert matches(one, two) is (one == two)


@given(st.text(max_size=20))
def test_any_text_is_a_subject_or_refused(text: str) -> None:
    try:
        check_subject(text)
    except LocalProtocolError:
        return
    assert matches(text, text)
    check_pattern(text)


def test_routes_find_exact_first_then_wildcards() -> None:
    routes: Routes[str] = Routes()
    routes.add("a.*", "wild")
    routes.add("a.b", "exact")
    routes.add("a.b", "second")
    assert routes.find("a.b") == ["exact", "second", "wild"]
    assert routes.find("a.c") == ["wild"]
    assert len(routes) == 3
    routes.remove("a.b", "exact")
    routes.remove("a.b", "exact")
    routes.remove("never", "there")
    routes.remove("a.*", "wild")
    assert routes.find("a.b") == ["second"]
    assert routes.find("a.c") == []


def test_what_was_found_stays_as_it_was_when_routes_change() -> None:
    routes: Routes[str] = Routes()
    routes.add("a", "one")
    found = routes.find("a")
    routes.remove("a", "one")
    assert found == ["one"]
    assert len(routes) == 0


def test_an_unknown_subject_is_still_checked() -> None:
    routes: Routes[str] = Routes()
    with pytest.raises(LocalProtocolError, match="wildcard"):
        routes.find("a.*")
    with pytest.raises(LocalProtocolError):
        routes.add("a..b", "x")
