"""Two POPs, a broker and a viewer on one table: a session moves while its character speaks, or does not move at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import FabricError, VisavisError
from core.fabric.memory import MemoryBus
from core.host.entropy import SeededEntropy
from core.limits import HANDOFF_SUCCESSOR_S_MAX, TICK_S, TICK_SAMPLES
from core.session.handoff_messages import (
    BROKER_SUBJECT,
    DrainProgress,
    Export,
    Move,
    Moved,
    Prepare,
    Refused,
    decode_answer,
    encode_handoff,
    pop_subject,
)
from core.speech import messages
from core.wire.access_unit import AccessUnitFlags
from core.wire.control import encode_control
from core.wire.opus_padding import strip
from edge.drain import Drain
from edge.handoff import HandoffAgent
from edge.session_links import SessionLink
from edge.sessions import Sessions
from origin.handoffs import Handoffs
from origin.problems import ProblemError
from tests.edge.stage import RecordingLink, Stage, claims


class PopOnTable:
    """A POP without network: its conductor is stepped by the test."""

    def __init__(self, name: str, bus: MemoryBus, stage: Stage) -> None:
        self.name = name
        self.stage = stage
        self.sessions = Sessions(
            bus=bus,
            conductor=stage.conductor,
            services=stage.services,
            capacity=4,
            seed=lambda: 3,
            token_bytes=SeededEntropy(1).token_bytes,
        )
        self.drain = Drain(name=name, bus=bus, sessions=self.sessions, clock=lambda: stage.now)
        self.agent = HandoffAgent(
            name=name,
            bus=bus,
            sessions=self.sessions,
            drain=self.drain.begin,
            cancel=self.drain.cancel,
            clock=lambda: stage.now,
        )
        self.sessions.on_moving, self.sessions.on_lost = self.agent.on_moving, self.agent.on_lost


class TableLedger:
    """Epochs and owners, as the broker's record would have them."""

    def __init__(self, pops: list[str]) -> None:
        self.pops = pops
        self.epoch = self.reserved = 1
        self.owner = pops[0]
        self.refuse_move = False
        self.outages = 0

    async def renew(self, session_id: str, avoid: frozenset[str] = frozenset()) -> dict[str, Any]:
        others = [name for name in self.pops if name not in avoid]
        if not others:
            raise ProblemError(503, "no-pop", "nobody")
        self.reserved += 1
        return {"pops": [{"name": others[0], "url": "http://b", "token": "t", "epoch": self.reserved}]}

    async def move(self, session_id: str, pop: str, epoch: int) -> bool:
        if self.outages:
            self.outages -= 1
            raise FabricError("unreachable", "nobody knows")
        if self.refuse_move or epoch <= self.epoch:
            return False
        self.owner, self.epoch = pop, epoch
        return True


class Table:
    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.a, self.b = (PopOnTable(name, self.bus, Stage()) for name in "ab")
        self.ledger = TableLedger(["a", "b"])
        self.handoffs = Handoffs(self.bus, self.ledger, lambda: self.a.stage.now, name="broker")
        self.link, self.other = RecordingLink(), RecordingLink()
        self.door: SessionLink | None = None
        self.said = 0
        self.up: list[messages.UpMessage] = []

    async def start(self, *, can_move: bool = True) -> None:
        for pop in (self.a, self.b):
            await pop.agent.start()
        await self.handoffs.start()
        door = await self.a.sessions.open(claims("s"))
        door.attach(self.link)
        door.on_connected(self.a.stage.now)
        door.on_control(encode_control("client-ready", {"about": {"handoff": can_move}}), self.a.stage.now)
        self.door = door
        self.a.stage.ticks(2)
        await self.publish(messages.SpeechStart(utterance_id=1, turn_id=1))
        words = tuple(messages.WordSpan(f"w{n}", n * 9_600, (n + 1) * 9_600) for n in range(60))
        await self.publish(messages.ReplyText(utterance_id=1, text="many words", words=words))
        await self.say(40)

    async def publish(self, message: messages.DownMessage) -> None:
        self.bus.publish_nowait(messages.down_subject("s"), messages.encode(message))
        await settle()

    async def say(self, count: int) -> None:
        for _ in range(count):
            opus = b"\x78" + bytes([self.said % 251]) * 24
            packet = messages.SpeechPacket(utterance_id=1, index=self.said, opus=opus, log_mel=bytes([90]) * 40)
            self.said += 1
            self.bus.publish_nowait(messages.down_subject("s"), messages.encode(packet))
        await settle()

    async def ticks(self, count: int) -> None:
        """Time passes at both POPs, and the character goes on speaking."""
        for _ in range(count):
            await self.say(1)
            for pop in (self.a, self.b):
                pop.stage.ticks(1)
            await settle()

    def ask_to_move(self) -> asyncio.Task[bytes]:
        request = encode_handoff(Move(session_id="s", epoch=1, pop="a"))
        return asyncio.create_task(self.bus.request(BROKER_SUBJECT, request, 30.0))

    async def come(self) -> SessionLink:
        """The viewer follows its invitation."""
        [invitation] = [word for word in self.link.words("goaway") if word["reason"] == "handoff"]
        assert invitation["pop"]["name"] == "b"
        door = await self.b.sessions.open(claims("s", epoch=invitation["epoch"]))
        door.attach(self.other)
        door.on_connected(self.b.stage.now)
        return door

    def tell(self, door: SessionLink, word: str, epoch: int = 2, **more: object) -> None:
        data = {"t": word, "d": {"epoch": epoch, **more}}
        door.on_control(encode_control("client-message", data), self.b.stage.now)


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never came")


def voices(link: RecordingLink) -> dict[int, bytes]:
    return {ticks: strip(payload) for payload, ticks in link.packets}


async def test_a_session_moves_in_the_middle_of_a_word() -> None:
    table = Table()
    await table.start()
    await table.ticks(20)
    asked = table.ask_to_move()
    await until(lambda: bool(table.link.words("goaway")))
    door = await table.come()
    await table.ticks(5)
    assert all(unit.flags & AccessUnitFlags.PREVIEW and unit.epoch == 2 for unit in table.other.units)
    assert table.other.control == []
    table.tell(door, "preview", behind_ms=0.0)
    await until(lambda: bool(table.other.words("commit")))
    assert table.ledger.owner == "b"
    await table.ticks(3)
    assert not table.other.units[-1].flags & AccessUnitFlags.PREVIEW
    told = len(table.link.control)
    table.tell(door, "committed")
    answer = decode_answer(await asked)
    assert isinstance(answer, Moved)
    assert (answer.pop, answer.epoch) == ("b", 2)
    assert 0.0 <= answer.overlap_s <= 4 * TICK_S
    await until(lambda: table.a.sessions.ids() == ())
    assert len(table.link.control) == told  # the former owner said nothing more
    await table.ticks(20)
    # Both tracks together: every tick once they began, the same voice at the same media time.
    one, two = voices(table.link), voices(table.other)
    assert all(one[ticks] == two[ticks] for ticks in one.keys() & two.keys())
    together = sorted(one | two)
    assert together == list(range(together[0], together[-1] + 1, TICK_SAMPLES))
    assert len(one.keys() & two.keys()) >= 5
    # The words go on where they were, none twice.
    words = [word["text"] for word in (*table.link.words("bot-tts-text"), *table.other.words("bot-tts-text"))]
    assert words == [f"w{number}" for number in range(len(words))]
    assert len(table.other.words("bot-tts-text")) >= 1
    # The origin heard no goodbye, and of the new owner once.
    assert not table.a.stage.sent_up(messages.Closed)
    assert [message.epoch for message in table.b.stage.sent_up(messages.Opened)] == [2]
    assert table.other.words("resume")


async def test_a_successor_that_is_behind_leaves_out_what_the_owner_has_sent() -> None:
    table = Table()
    await table.start()
    await table.ticks(10)
    table.ask_to_move()
    await until(lambda: bool(table.link.words("goaway")))
    table.a.stage.ticks(6)  # the other POP loses 120 ms
    table.a.stage.now = table.b.stage.now
    door = await table.come()
    await table.ticks(4)
    before = table.link.packets[-1][1] - table.other.packets[-1][1]
    assert before >= 5 * TICK_SAMPLES
    table.tell(door, "preview", behind_ms=1e3 * before / 48_000)
    table.tell(door, "preview", behind_ms=1e3 * before / 48_000)  # said again: once is enough
    await table.ticks(2)
    assert table.link.packets[-1][1] - table.other.packets[-1][1] == 0


async def test_an_abort_before_the_commit_leaves_everything_as_it_was() -> None:
    table = Table()
    await table.start()
    asked = table.ask_to_move()
    await until(lambda: bool(table.link.words("goaway")))
    door = await table.come()
    await table.ticks(5)
    door.on_closed("connection-lost", table.b.stage.now)
    answer = decode_answer(await asked)
    assert answer == Refused(code="connection-lost")
    await until(lambda: bool(table.link.words("stay")))
    assert (table.ledger.owner, table.ledger.epoch, table.ledger.reserved) == ("a", 1, 2)
    assert table.b.sessions.ids() == ()
    sent = len(table.link.packets)
    await table.ticks(5)
    assert len(table.link.packets) == sent + 5
    assert not table.a.stage.ended
    assert not table.b.stage.up
    # The next attempt has the next epoch.
    second = table.ask_to_move()
    await until(lambda: len(table.link.words("goaway")) == 2)
    assert table.link.words("goaway")[-1]["epoch"] == 3
    second.cancel()


async def test_somebody_who_was_quicker_wins() -> None:
    table = Table()
    await table.start()
    table.ledger.refuse_move = True
    asked = table.ask_to_move()
    await until(lambda: bool(table.link.words("goaway")))
    door = await table.come()
    await table.ticks(3)
    table.tell(door, "preview")
    assert decode_answer(await asked) == Refused(code="superseded")
    await until(lambda: table.b.sessions.ids() == ())
    assert table.other.words("commit") == []


async def test_a_viewer_whose_broker_has_died_in_the_middle_stays_where_it_is() -> None:
    table = Table()
    await table.start()
    asked = table.ask_to_move()
    await until(lambda: bool(table.link.words("goaway")))
    await table.come()
    await table.handoffs.aclose()
    table.b.stage.ticks(round(HANDOFF_SUCCESSOR_S_MAX / TICK_S) - 5)
    assert table.b.sessions.ids() == ("s",)
    table.b.stage.ticks(10)
    await until(lambda: table.other.closed == "handoff-timeout")
    assert (table.a.sessions.ids(), table.b.sessions.ids()) == (("s",), ())
    asked.cancel()


async def test_a_store_that_does_not_answer_is_asked_again() -> None:
    table = Table()
    await table.start()
    table.ledger.outages = 2
    asked = table.ask_to_move()
    await until(lambda: bool(table.link.words("goaway")))
    door = await table.come()
    await table.ticks(3)
    table.tell(door, "preview")
    await asyncio.sleep(0.5)
    await until(lambda: bool(table.other.words("commit")))
    table.tell(door, "committed")
    assert isinstance(decode_answer(await asked), Moved)


@pytest.mark.parametrize(
    ("why", "code"),
    [("viewer", "viewer-cannot"), ("alone", "no-pop"), ("full", "overloaded"), ("dead", "pop-unreachable")],
)
async def test_what_cannot_be_moved_stays(why: str, code: str) -> None:
    table = Table()
    await table.start(can_move=why != "viewer")
    match why:
        case "alone":
            table.ledger.pops.remove("b")
        case "full":
            for number in range(4):
                await table.b.sessions.open(claims(f"other{number}"))
        case "dead":
            await table.b.agent.aclose()
        case _:
            pass
    assert decode_answer(await table.ask_to_move()) == Refused(code=code)
    assert table.link.words("goaway") == []
    assert table.a.sessions.ids() == ("s",)


async def test_what_the_viewer_says_of_another_epoch_is_nothing() -> None:
    table = Table()
    await table.start()
    asked = table.ask_to_move()
    await until(lambda: bool(table.link.words("goaway")))
    door = await table.come()
    bad: tuple[object, ...] = ({"epoch": 3}, {"epoch": True}, {"epoch": "2"}, None, [], {"epoch": 2.5})
    for data in bad:
        door.on_control(encode_control("client-message", {"t": "preview", "d": data}), table.b.stage.now)
    await table.ticks(2)
    assert table.other.words("commit") == []
    table.tell(door, "preview", behind_ms=float("1e300"))
    await until(lambda: bool(table.other.words("commit")))
    asked.cancel()


async def test_garbage_is_answered_and_hurts_nobody() -> None:
    table = Table()
    await table.start()
    for subject in (BROKER_SUBJECT, pop_subject("a")):
        assert decode_answer(await table.bus.request(subject, b"\xc1")) == Refused(code="bad-message")
    bad = Prepare(session_id="x", epoch=2, character="mira", mode="conversation", state=b"garbage")
    assert decode_answer(await table.bus.request(pop_subject("b"), encode_handoff(bad))) == Refused(code="bad-state")
    unknown = Export(session_id="nobody")
    assert decode_answer(await table.bus.request(pop_subject("a"), encode_handoff(unknown))) == Refused(
        code="unknown-session"
    )
    assert table.a.sessions.ids() == ("s",)
    assert table.b.sessions.ids() == ()


async def test_a_drain_moves_takes_nobody_new_and_can_be_taken_back() -> None:
    table = Table()
    await table.start()
    progress = table.a.drain.begin(60.0)
    assert progress == DrainProgress(state="draining", sessions=1)
    with pytest.raises(VisavisError, match="shutting down"):
        await table.a.sessions.open(claims("late"))
    await until(lambda: bool(table.link.words("goaway")))
    door = await table.come()
    await table.ticks(3)
    table.tell(door, "preview")
    await until(lambda: bool(table.other.words("commit")))
    table.tell(door, "committed")
    await asyncio.wait_for(table.a.drain.wait(), 2.0)
    done = table.a.drain.progress()
    assert (done.state, done.sessions, done.moved, done.failed) == ("drained", 0, 1, 0)
    assert table.a.drain.cancel().state == "cancelled"
    await table.a.sessions.open(claims("late"))


async def test_at_the_deadline_who_is_left_is_sent_away() -> None:
    table = Table()
    await table.start(can_move=False)
    table.a.drain.begin(5.0)
    await until(lambda: table.a.drain.progress().failed > 0)
    assert table.a.drain.progress().last_failure == "viewer-cannot"
    assert table.link.words("goaway") == []
    table.a.stage.now += 5.0
    await asyncio.wait_for(table.a.drain.wait(), 2.0)
    assert table.a.drain.progress().sent_away == 1
    assert table.link.words("goaway") == [{"reason": "draining"}]
    assert not table.a.stage.sent_up(messages.Closed)  # its viewer goes on elsewhere with new tickets


async def test_a_pop_that_stops_alone_does_not_wait() -> None:
    table = Table()
    await table.start()
    table.ledger.pops.remove("b")
    await asyncio.wait_for(table.a.drain.before_stopping(30.0), 2.0)
    assert table.a.sessions.ids() == ("s",)
