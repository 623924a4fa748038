"""One simulated session: a POP's sender, a link each way, a viewer's playout, and faults. All of it from a seed.

The network is drawn at random, far beyond what carriers do, and so are the faults (`tests.sim.faults`). They all end at
the same time; from then on the link is clean and the viewer honest. What is promised, whatever happened before:
- nothing raises, no queue or history grows beyond its bound, no packet is too large;
- the drawn face never moves quicker than a face can, and is always a number;
- whatever comes out at the viewer, received or restored, is what was sent, at the time it was sent for (where nothing
  was forged on the way: a transport authenticates packets);
- after the faults' end a right face is there within one round trip, one packet interval, one interval of keyframe
  requests and one of display, counted from the arrival of the first unit that left after that end and the last thing
  that left before it; and sound plays at the session's end.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

from core.avatar.frame import AnimationFrame
from core.errors import RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX, FEC_HISTORY_UNITS, JITTER_BUFFER_PACKETS_MAX, PLAYOUT_FRAMES_MAX
from core.wire.access_unit import decode_access_unit
from core.wire.feedback import Feedback, encode_feedback
from core.wire.frame_codec import FrameDecoder
from tests.sim.ends import EPOCH, Pop, Viewer
from tests.sim.faults import Conduct, Link, lie, random_plan, random_profile

__all__ = ["Outcome", "simulate"]

_JUMP_RATIO_MAX: Final = 1.002
_IN_FLIGHT_MAX: Final = 4_096
_SENDER_SIZE_MAX: Final = 65 + 2_049 + 15
_RECEIVER_SIZE_MAX: Final = 6 * FEC_HISTORY_UNITS
_PACKET_INTERVAL_MS: Final = 80.0
_REQUEST_MS: Final = 20.0
_HEADERS_BYTES: Final = 60
_REPLAYS_KEPT: Final = 64


@dataclass(slots=True)
class Outcome:
    """What one seed did.

    Attributes:
        failures: broken promises, in words; empty = all kept.
        virtual_s: how long the session was.
        worst_jump_ratio: of the plausible pace.
        resync_ms: from the faults' end, as seen by the viewer, to the first right face.
        resync_ms_max: what is allowed.
        counters: what was dropped on the way.
    """

    seed: int
    failures: list[str] = field(default_factory=list)
    virtual_s: float = 0.0
    worst_jump_ratio: float = 0.0
    resync_ms: float | None = None
    resync_ms_max: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Packet:
    """On its way down or up."""

    data: bytes
    media_time: int = 0
    link: int = 0
    clean: bool = False


_DRAW, _SEND, _ARRIVE, _HEAR, _FORGET, _SWITCH = range(6)
_NOTHING: Final = _Packet(b"")


class _World:
    def __init__(self, seed: int) -> None:
        self.random = Random(f"{seed}/world")
        self.seed = seed
        self.outcome = Outcome(seed)
        self.plan = random_plan(self.random)
        self.pop = Pop(self.random)
        self.viewer = Viewer(self.pop)
        self.honest = not self.plan.damage.forges
        self.link = self.viewer_link = 0
        self.down, self.up = self.new_links()
        self.events: list[tuple[float, int, int, _Packet]] = []
        self.count = 0
        self.passed: list[_Packet] = []
        self.faults_end_s = self.plan.clean_s
        self.first_clean_ms: float | None = None

    def new_links(self) -> tuple[Link, Link]:
        down, up = (
            Link(random_profile(self.random, name), f"{self.seed}/{name}/{self.link}", self.plan)
            for name in ("down", "up")
        )
        return down, up

    def at(self, now_s: float, kind: int, packet: _Packet = _NOTHING) -> None:
        self.count += 1
        heapq.heappush(self.events, (now_s, kind, self.count, packet))

    def run(self) -> Outcome:
        """Handle events in order of time; draws and sends come again by themselves."""
        plan = self.plan
        self.at(0.001, _DRAW)
        self.at(0.0, _SEND)
        for at_s in plan.forgets_s:
            self.at(at_s, _FORGET)
        for at_s in plan.switches_s:
            self.at(at_s, _SWITCH)
        while self.events and self.events[0][0] < plan.end_s:
            now_s, kind, _, packet = heapq.heappop(self.events)
            if kind == _DRAW:
                self.draw(now_s)
            elif kind == _SEND:
                self.send(now_s)
            elif kind == _ARRIVE:
                self.arrive(now_s, packet)
            elif kind == _HEAR:
                self.pop.hear(packet.data, now_s)
            elif kind == _FORGET:
                self.viewer.forget()
            else:
                self.switch()
        self.judge()
        return self.outcome

    # --- the POP's side ----------------------------------------------------------------------------------------------

    def send(self, now_s: float) -> None:
        data, media_time, span_s = self.pop.next_unit(now_s)
        if len(data) > ACCESS_UNIT_SIZE_BYTES_MAX:
            self.outcome.failures.append(f"a packet of {len(data)} bytes")
        clean = now_s >= self.plan.clean_s
        packet = _Packet(data, media_time, self.link, clean)
        arrivals = self.down.send(now_s, len(data) + _HEADERS_BYTES)
        for arrival_s in arrivals:
            self.at(arrival_s, _ARRIVE, packet if clean else self.damaged(packet))
            self.keep(packet, arrival_s, _ARRIVE)
        if clean and self.first_clean_ms is None and arrivals:
            self.first_clean_ms = arrivals[0] * 1_000
        self.at(now_s + span_s, _SEND)

    def switch(self) -> None:
        self.link += 1
        self.down, self.up = self.new_links()
        self.pop.change_link()

    # --- what may happen on the way ----------------------------------------------------------------------------------

    def damaged(self, packet: _Packet) -> _Packet:
        damage, random = self.plan.damage, self.random
        if not damage.forges:
            return packet
        data = damage.apply(random, packet.data)
        if data is not packet.data and _is_other_owner(data):
            return packet  # transports authenticate packets: viewers must believe a whole keyframe of a new owner
        media_time = packet.media_time
        if damage.timestamp and random.random() < damage.timestamp:
            media_time = random.getrandbits(32)
        return _Packet(data, media_time, packet.link)

    def keep(self, packet: _Packet, arrival_s: float, kind: int) -> None:
        """While things are bad: note when what left by then is there, and send some of it again much later."""
        if packet.clean:
            return
        self.faults_end_s = max(self.faults_end_s, arrival_s)
        if not self.plan.damage.replayed:
            return
        self.passed.append(packet)
        del self.passed[:-_REPLAYS_KEPT]
        if self.random.random() < self.plan.damage.replayed:
            self.at(min(arrival_s, self.plan.clean_s), kind, self.random.choice(self.passed))

    # --- the viewer's side -------------------------------------------------------------------------------------------

    def arrive(self, now_s: float, packet: _Packet) -> None:
        if self.plan.conduct is Conduct.DEAF and 1.0 < now_s < self.plan.clean_s:
            return
        viewer, now_ms = self.viewer, now_s * 1_000
        if packet.link > self.viewer_link:
            self.viewer_link = packet.link
            viewer.change_link(protects_sound=self.pop.plays_sound_itself)
        face = viewer.receive(packet.data, packet.media_time, now_ms, honest=self.honest)
        if packet.clean and face and self.outcome.resync_ms is None and self.first_clean_ms is not None:
            start_ms = max(self.first_clean_ms, self.faults_end_s * 1_000)
            self.outcome.resync_ms = max(0.0, now_ms - start_ms)
        if viewer.receiver.keyframe_request:
            self.report(now_s)

    def draw(self, now_s: float) -> None:
        start_s, end_s = self.plan.hidden_s
        if not start_s <= now_s < end_s:
            self.viewer.draw(now_s * 1_000)
        self.report(now_s)
        self.check_bounds(now_s)
        outage = self.plan.outage_s[0] + 1.0 < now_s < self.plan.outage_s[1] - 1.0
        self.at(now_s + (0.1 if outage else self.plan.display_s), _DRAW)

    def report(self, now_s: float) -> None:
        feedback = self.viewer.feedback(now_s * 1_000)
        if feedback is None:
            return
        bad = now_s < self.plan.clean_s
        for said in lie(self.random, self.plan.conduct, feedback) if bad else (feedback,):
            self.say(said, now_s, bad=bad)

    def say(self, feedback: Feedback, now_s: float, *, bad: bool) -> None:
        packet = _Packet(encode_feedback(feedback), clean=not bad)
        for arrival_s in self.up.send(now_s, len(packet.data) + _HEADERS_BYTES):
            data = self.plan.damage.apply(self.random, packet.data) if bad else packet.data
            self.at(arrival_s, _HEAR, _Packet(data, clean=not bad))
            self.keep(packet, arrival_s, _HEAR)

    # --- promises ----------------------------------------------------------------------------------------------------

    def check_bounds(self, now_s: float) -> None:
        viewer = self.viewer
        for name, size, most in (
            ("motion frames", viewer.timeline.frames, PLAYOUT_FRAMES_MAX),
            ("sound packets", viewer.sound.waiting, JITTER_BUFFER_PACKETS_MAX),
            ("things at the receiver", viewer.receiver.size, _RECEIVER_SIZE_MAX),
            ("things at the sender", self.pop.size, _SENDER_SIZE_MAX),
            ("packets under way", len(self.events), _IN_FLIGHT_MAX),
        ):
            if size > most:
                self.outcome.failures.append(f"{size} {name} at {now_s:.3f} s, at most {most}")

    def judge(self) -> None:
        outcome, viewer = self.outcome, self.viewer
        outcome.failures += viewer.failures
        outcome.virtual_s = self.plan.end_s
        outcome.worst_jump_ratio = viewer.jump_ratio
        outcome.resync_ms_max = (
            (self.up.delay_s + self.down.delay_s) * 1_000
            + _PACKET_INTERVAL_MS
            + _REQUEST_MS
            + self.plan.display_s * 1_000
        )
        if viewer.jump_ratio > _JUMP_RATIO_MAX:
            outcome.failures.append(f"the face popped: {viewer.jump_ratio:.3f} times the plausible pace")
        if outcome.resync_ms is None:
            outcome.failures.append("no right face after the faults' end")
        elif outcome.resync_ms > outcome.resync_ms_max:
            allowed = f"{outcome.resync_ms_max:.0f} allowed"
            outcome.failures.append(f"right again only after {outcome.resync_ms:.0f} ms, {allowed}")
        if viewer.receiver.keyframe_request:
            outcome.failures.append("still no right face at the end")
        if viewer.played_ms < (self.plan.end_s - 0.3) * 1_000:
            outcome.failures.append("no sound plays at the end")
        viewer.take_counters()
        outcome.counters.update(viewer.counters)
        outcome.counters.update(self.pop.counters)
        outcome.counters.update({f"motion-{name}": n for name, n in viewer.timeline.dropped.items()})
        outcome.counters.update({f"sound-{name}": n for name, n in viewer.sound.dropped.items()})
        outcome.counters.update({f"feedback-{name}": n for name, n in self.pop.rejected.items()})
        outcome.counters[f"conduct-{self.plan.conduct.value}"] += 1
        outcome.counters["switches"] += self.link


def _is_other_owner(packet: bytes) -> bool:
    try:
        unit = decode_access_unit(packet)
        if unit is None or unit.epoch == EPOCH:
            return False
        return isinstance(FrameDecoder().decode(unit.frame, unit.sequence_number), AnimationFrame)
    except RemoteProtocolError:
        return False


def simulate(seed: int) -> Outcome:
    """One session. An exception inside becomes a failure, so that a run of many seeds ends."""
    world = _World(seed)
    try:
        return world.run()
    except Exception as error:  # any exception is what this looks for
        world.outcome.failures.append(f"{type(error).__name__}: {error}")
        return world.outcome
