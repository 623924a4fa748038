"""What goes wrong in a simulated session, drawn from its seed: links, damage on the way, viewers that lie."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from core.wire.feedback import Feedback
from loadtests.link_model import LinkModel, LinkProfile

__all__ = ["Conduct", "Damage", "Link", "Plan", "lie", "random_plan", "random_profile"]

_BAD_S: Final = 2.4
"""How long a link may be bad and a viewer lie."""
_OUTAGE_S: Final = 30.0


class Conduct(Enum):
    """What the viewer does while things are bad."""

    HONEST = "honest"
    SILENT = "silent"
    """It never acknowledges."""
    FUTURE = "future"
    """It acknowledges what was not sent yet."""
    FLOOD = "flood"
    """Twenty times the feedback."""
    DEAF = "deaf"
    """It stops reading, and says nothing."""
    ABSURD = "absurd"
    """Numbers, clocks and delays without sense."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Chances per packet, both ways."""

    flipped: float = 0.0
    truncated: float = 0.0
    replayed: float = 0.0
    timestamp: float = 0.0

    @property
    def forges(self) -> bool:
        """Packets may say what nobody sent."""
        return bool(self.flipped or self.truncated or self.timestamp)

    def apply(self, random: Random, packet: bytes) -> bytes:
        """The packet as it comes out."""
        if self.flipped and random.random() < self.flipped:
            place = random.randrange(len(packet))
            packet = packet[:place] + bytes((packet[place] ^ 1 << random.randrange(8),)) + packet[place + 1 :]
        if self.truncated and random.random() < self.truncated:
            packet = packet[: random.randrange(len(packet))]
        return packet


@dataclass(frozen=True, slots=True)
class Plan:
    """One seed's misfortunes. All of them end at `clean_s`.

    Attributes:
        clean_s: from here on the link loses nothing and nobody lies.
        end_s: of the session.
        outage_s: start and end of a long outage of both directions; equal = none.
        switches_s: when the viewer changes networks.
        forgets_s: when its decoder loses its baselines.
        hidden_s: start and end of a time in which nothing is drawn.
    """

    clean_s: float
    end_s: float
    outage_s: tuple[float, float]
    conduct: Conduct
    damage: Damage
    switches_s: tuple[float, ...]
    forgets_s: tuple[float, ...]
    hidden_s: tuple[float, float]
    display_s: float


def random_plan(random: Random) -> Plan:
    """Most seeds have a few faults, some have many."""
    outage = random.random() < 0.04
    start = random.uniform(0.5, 1.5)
    clean_s = _BAD_S + (_OUTAGE_S if outage else 0.0)
    conduct = random.choice(list(Conduct)) if random.random() < 0.3 else Conduct.HONEST
    damage = Damage()
    if random.random() < 0.3:
        damage = Damage(*(random.choice((0.0, 0.02, 0.1)) for _ in range(4)))
    hidden = random.uniform(0.0, clean_s)
    return Plan(
        clean_s=clean_s,
        end_s=clean_s + 1.4,
        outage_s=(start, start + (_OUTAGE_S if outage else 0.0)),
        conduct=conduct,
        damage=damage,
        switches_s=tuple(random.uniform(0.2, clean_s) for _ in range(random.choice((0, 0, 0, 1, 2)))),
        forgets_s=(*(random.uniform(0.2, clean_s) for _ in range(random.choice((0, 0, 1, 3)))), clean_s),
        hidden_s=(hidden, hidden + random.choice((0.0, 0.0, 0.0, 0.5, 5.0))),
        display_s=random.choice((1 / 60, 1 / 30, 1 / 20)),
    )


def random_profile(random: Random, name: str) -> LinkProfile:
    """A link, far beyond what carriers do."""
    if random.random() < 0.15:
        return LinkProfile(name=name, delay_s=random.uniform(0.0, 0.1))
    return LinkProfile(
        name=name,
        loss_enter=random.choice((0.0, 0.01, 0.05, 0.2)),
        loss_leave=random.uniform(0.1, 0.9),
        delay_s=random.uniform(0.0, 0.15),
        jitter_s=random.choice((0.0, 0.005, 0.02, 0.06)),
        reorder=random.choice((0.0, 0.0, 0.05, 0.3)),
        reorder_s=random.uniform(0.0, 0.2),
        duplicate=random.choice((0.0, 0.0, 0.05, 0.5)),
        rate_bps=random.choice((None, None, 300_000.0, 60_000.0)),
        queue_s_max=random.uniform(0.05, 0.6),
        outage_every_s=random.choice((0.0, 1.0)),
        outage_s=(0.05, random.choice((0.1, 1.2))),
    )


class Link:
    """One direction: bad until the plan's `clean_s`, clean afterwards."""

    def __init__(self, profile: LinkProfile, seed: str, plan: Plan) -> None:
        self._plan = plan
        self.delay_s = profile.delay_s
        number = Random(seed).getrandbits(32)
        self._bad = LinkModel(profile, number)
        self._clean = LinkModel(LinkProfile(name="clean", delay_s=profile.delay_s), number)

    def send(self, now_s: float, size_bytes: int) -> tuple[float, ...]:
        """See LinkModel.send."""
        if now_s >= self._plan.clean_s:
            return self._clean.send(now_s, size_bytes)
        start_s, end_s = self._plan.outage_s
        if start_s <= now_s < end_s:
            return ()
        return self._bad.send(now_s, size_bytes)


def lie(random: Random, conduct: Conduct, truth: Feedback) -> list[Feedback]:
    """What a viewer of this conduct says instead of `truth`."""
    match conduct:
        case Conduct.HONEST:
            return [truth]
        case Conduct.SILENT:
            return [Feedback(playout_timestamp=truth.playout_timestamp, epoch=truth.epoch)]
        case Conduct.FUTURE:
            ahead = (truth.acknowledged or 0) + random.choice((1, 5, 60, 2_000)) & 0xFFFF
            return [Feedback(acknowledged=ahead, received=random.getrandbits(32), epoch=truth.epoch)]
        case Conduct.FLOOD:
            return [truth] * 20
        case Conduct.DEAF:
            return []
        case Conduct.ABSURD:
            return [
                Feedback(
                    acknowledged=random.getrandbits(16),
                    received=random.choice((0, 0xFFFFFFFF, random.getrandbits(32))),
                    playout_timestamp=random.getrandbits(32),
                    keyframe_request=random.random() < 0.3,
                    epoch=random.choice((truth.epoch, None, random.getrandbits(16))),
                    owd_gradient=random.choice((-32_768, 32_767, random.randrange(-2_000, 2_000))),
                    playout_delay_ms=random.choice((0, 65_535, random.getrandbits(16))),
                )
            ]
