"""What a conversation is carried in: it fits, loses the oldest first, and says where an answer was cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RemoteProtocolError
from core.limits import HANDOFF_STATE_SIZE_BYTES_MAX, TICK_SAMPLES
from core.speech.messages import WordSpan
from origin.dialogue.heard import SpokenUtterance
from origin.dialogue.memory import Memory, _Spoken, decode_memory, encode_memory, rest_of

_WORDS = tuple(WordSpan(text, at * 9_600, (at + 1) * 9_600) for at, text in enumerate(["the", "moon", "is", "far"]))
_MEMORY = Memory(
    messages=(("user", "the moon?"),),
    phase="speaking",
    answer=("the moon is far", "and cold."),
    answer_whole=True,
    spoken=_Spoken(5, 9_600, (("the moon is far", 0, 4 * 9_600, _WORDS),)),
)


@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=4_000)), max_size=30),
    st.lists(st.text(max_size=4_000), max_size=8),
)
def test_it_always_fits_and_keeps_the_newest(messages: list[tuple[str, str]], answer: list[str]) -> None:
    memory = Memory(messages=tuple(messages), phase="speaking", answer=tuple(answer), answer_whole=True)
    data = encode_memory(memory)
    assert len(data) <= HANDOFF_STATE_SIZE_BYTES_MAX
    kept = decode_memory(data)
    if len(kept.messages) > 1:
        assert kept.messages == tuple(messages)[-len(kept.messages) :]
    elif messages:
        assert messages[-1][1].endswith(kept.messages[-1][1])
    assert kept.phase == "speaking"


def test_a_conversation_that_is_too_long_forgets_its_beginning() -> None:
    turns = tuple(("user", f"{number:04d} " + 100 * "x") for number in range(400))
    kept = decode_memory(encode_memory(Memory(messages=turns, answer=("so",), answer_whole=True)))
    assert kept.messages[-1] == turns[-1] and kept.answer == ("so",)
    assert 100 < len(kept.messages) < 400


@given(st.binary(max_size=200))
def test_any_bytes_are_a_memory_or_a_protocol_error(data: bytes) -> None:
    try:
        decode_memory(data)
    except RemoteProtocolError as error:
        assert error.code == "bad-record"


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_memory(bytes(HANDOFF_STATE_SIZE_BYTES_MAX + 1))


def test_the_answer_goes_on_after_the_last_word_that_was_heard() -> None:
    memory = decode_memory(encode_memory(_MEMORY))
    heard = memory.heard(5, 25 * TICK_SAMPLES)
    assert heard == "the moon is"
    assert rest_of(memory.answer, heard) == "far and cold."
    assert memory.heard(0, 0) == "the", "no POP has said anything: what was played out counts"
    assert memory.heard(6, 10_000) == "", "of another utterance nothing is known"
    assert rest_of(memory.answer, "") == "the moon is far and cold."
    assert rest_of(memory.answer, "the moon is far and cold.") == ""


def test_an_answer_of_minutes_fits_with_what_was_heard_of_it() -> None:
    spoken = SpokenUtterance(5, 2)
    answer: list[str] = []
    for number in range(60):
        start = number * 150 * TICK_SAMPLES
        words = tuple(WordSpan(f"a{number}b{n}", start + n * 14_400, start + (n + 1) * 14_400) for n in range(10))
        answer.append(" ".join(word.text for word in words))
        spoken.add(answer[-1], start, words[-1].end, words)
        spoken.note(start - TICK_SAMPLES * 50)
    memory = Memory(
        messages=(("user", "all of it"),),
        phase="speaking",
        answer=tuple(answer),
        spoken=_Spoken(spoken.id, spoken.heard_until, tuple(spoken.clauses)),
    )
    kept = decode_memory(encode_memory(memory))
    assert kept == memory, "nothing fell out"
    heard = kept.heard(5, 0)
    assert heard == spoken.heard_text(), "positions only grow"
    assert heard.split() + rest_of(kept.answer, heard).split() == " ".join(answer).split()
