"""A POP notices that nobody answers behind its nearest server, and says what it may have missed when somebody does."""

from __future__ import annotations

from core.fabric.memory import MemoryBus
from core.limits import ORIGIN_BACK_TIMES
from core.speech import messages
from edge.origin_reach import OriginReach
from edge.sessions import Sessions
from origin.echo import serve_echo
from tests.edge.stage import RecordingLink, Stage, claims
from tests.edge.test_sessions import make_sessions


async def test_an_origin_that_is_back_is_told_a_few_times_and_only_then() -> None:
    bus, told = MemoryBus(), list[int]()
    reach = OriginReach(bus, lambda: 0.0)
    reach.on_back = lambda: told.append(1)
    for _ in range(2):
        serving = await serve_echo(bus)
        for _ in range(ORIGIN_BACK_TIMES + 2):
            await reach.ask()
        assert reach.latency_s == 0.0
        await serving.aclose()
        for _ in range(2):
            await reach.ask()
        assert reach.latency_s is None
    assert (reach.losses, len(told)) == (2, ORIGIN_BACK_TIMES)


async def test_the_first_answer_of_all_is_no_return() -> None:
    bus, told = MemoryBus(), list[int]()
    reach = OriginReach(bus, lambda: 0.0)
    reach.on_back = lambda: told.append(1)
    await serve_echo(bus)
    await reach.ask()
    assert not told and reach.losses == 0


async def test_whoever_is_here_is_said_to_be_here_and_to_have_missed_something() -> None:
    stage = Stage()
    sessions: Sessions = make_sessions(stage, MemoryBus())
    door = await sessions.open(claims("a"))
    sessions.origin_is_back()  # nobody is up yet
    assert not stage.sent_up(messages.Opened)
    door.attach(RecordingLink())
    door.on_connected(stage.now)
    sessions.origin_is_back()
    assert [opened.missed for opened in stage.sent_up(messages.Opened)] == [False, True]
    await sessions.aclose()
