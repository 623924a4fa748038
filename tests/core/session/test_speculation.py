from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core.limits import GUESSES_PER_TURN_MAX
from core.session.speculation import Guess, GuessState, Speculation, Step, same_words


def started(step: Step) -> Guess:
    assert step.started is not None
    return step.started


def test_the_same_words_confirm_a_guess_whatever_their_dress() -> None:
    speculation = Speculation()
    speculation.begin_turn()
    guess = started(speculation.pause("What's your name"))
    assert speculation.end("what’s your  name?").settled is guess
    assert guess.state is GuessState.CONFIRMED and speculation.outcomes == {"confirmed": 1}
    assert speculation.open is None


def test_other_words_or_none_throw_it_away() -> None:
    for text in ("what is your name please", ""):
        speculation = Speculation()
        guess = started(speculation.pause("what is your name"))
        assert speculation.end(text).settled is guess
        assert guess.state is GuessState.CANCELLED and speculation.outcomes == {"changed": 1}


def test_more_words_at_the_next_pause_replace_it() -> None:
    speculation = Speculation()
    first = started(speculation.pause("good evening"))
    assert speculation.pause("Good evening!") == Step()  # the same: it waits already
    step = speculation.pause("good evening how many planets are there")
    assert step.settled is first and first.outcome == "changed"
    assert speculation.end("good evening how many planets are there").settled is step.started


def test_who_goes_on_and_says_the_same_again_is_not_answered_by_the_old_guess() -> None:
    speculation = Speculation()
    first = started(speculation.pause("hello"))
    assert speculation.go_on().settled is first and first.outcome == "went-on"
    second = started(speculation.pause("hello"))
    assert speculation.end("hello").settled is second is not first


def test_a_failed_guess_is_not_tried_again_before_the_end_and_is_no_answer() -> None:
    speculation = Speculation()
    guess = started(speculation.pause("hello"))
    assert speculation.fail(guess) and not speculation.fail(guess)
    assert speculation.pause("hello") == Step()
    assert speculation.end("hello") == Step()
    assert speculation.outcomes == {"failed": 1}


def test_what_is_confirmed_cannot_fail_any_more() -> None:
    speculation = Speculation()
    guess = started(speculation.pause("hello"))
    speculation.end("hello")
    assert not speculation.fail(guess) and guess.state is GuessState.CONFIRMED


def test_a_turn_has_a_bounded_number_of_guesses() -> None:
    speculation = Speculation()
    speculation.begin_turn()
    begun = [speculation.pause("word " * count).started for count in range(1, GUESSES_PER_TURN_MAX + 3)]
    assert [guess is not None for guess in begun] == [True] * GUESSES_PER_TURN_MAX + [False] * 2
    assert speculation.open is None  # the last one answers other words
    speculation.begin_turn()
    assert speculation.pause("word").started is not None


def test_nothing_is_guessed_without_words_or_when_it_is_switched_off() -> None:
    assert Speculation().pause(" … ") == Step()
    assert Speculation(enabled=False).pause("hello") == Step()


def test_words_are_compared_and_nothing_else() -> None:
    assert same_words("Ten, twenty.", "ten twenty") and not same_words("ten twenty", "twenty ten")
    assert not same_words("don't", "dont") and same_words("", "…")


TEXTS = st.sampled_from(["", "a", "A.", "a b", "a b c"])


class Conversations(RuleBasedStateMachine):
    """Any order of events: every guess is settled exactly once, and confirmed only by its own words at a turn's end."""

    def __init__(self) -> None:
        super().__init__()
        self.speculation = Speculation()
        self.guesses: list[Guess] = []
        self.settled: dict[Guess, GuessState] = {}
        self.turn_guesses = 0

    def take(self, step: Step, confirms: str | None = None) -> None:
        if step.settled is not None:
            assert step.settled not in self.settled, "settled twice"
            self.settled[step.settled] = step.settled.state
            if step.settled.state is GuessState.CONFIRMED:
                assert confirms is not None and same_words(confirms, step.settled.text)
        if step.started is not None:
            self.guesses.append(step.started)
            self.turn_guesses += 1

    @rule()
    def begin_turn(self) -> None:
        self.take(self.speculation.begin_turn())
        self.turn_guesses = 0

    @rule(text=TEXTS)
    def pause(self, text: str) -> None:
        self.take(self.speculation.pause(text))

    @rule()
    def go_on(self) -> None:
        self.take(self.speculation.go_on())

    @rule()
    def interrupt(self) -> None:
        self.take(self.speculation.interrupt())

    @rule(text=TEXTS)
    def end(self, text: str) -> None:
        step = self.speculation.end(text)
        self.take(step, confirms=text)
        assert step.started is None and self.speculation.open is None
        self.turn_guesses = 0

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        if self.guesses:
            guess = data.draw(st.sampled_from(self.guesses))
            if self.speculation.fail(guess):
                assert guess not in self.settled
                self.settled[guess] = GuessState.FAILED

    @invariant()
    def one_is_open_and_settled_ones_stay_so(self) -> None:
        waiting = [guess for guess in self.guesses if guess.state is GuessState.OPEN]
        assert waiting == ([] if self.speculation.open is None else [self.speculation.open])
        for guess, state in self.settled.items():
            assert guess.state is state
        assert self.turn_guesses <= GUESSES_PER_TURN_MAX
        assert sum(self.speculation.outcomes.values()) == len(self.settled)


TestConversations = Conversations.TestCase
