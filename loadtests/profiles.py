"""Carrier profiles: links as people have them.

Loss and outages are the measured figures of the design notes (Gilbert-Elliott p and r; outages break before they make).
Where a profile was measured without delays, the delay is an assumption of ours and says so. Both directions of a path
use the same profile with different seeds.
"""

from __future__ import annotations

from typing import Final

from core.errors import ConfigError
from loadtests.link_model import LinkProfile

__all__ = ["PROFILES", "profile_named"]

_ALL: Final = (
    LinkProfile(name="perfect"),
    # Assumed: delay 8 ± 3 ms, a rare retransmission that overtakes nobody.
    LinkProfile(name="wifi-good", loss_enter=0.003, loss_leave=0.5, delay_s=0.008, jitter_s=0.003),
    LinkProfile(name="lte-good", loss_enter=0.003, loss_leave=0.6, delay_s=0.035, jitter_s=0.008),
    LinkProfile(
        name="lte-moving", loss_enter=0.015, loss_leave=0.3, delay_s=0.050, jitter_s=0.020,
        outage_every_s=20.0, outage_s=(0.070, 0.070),
    ),
    # Assumed: delay 20 ± 6 ms.
    LinkProfile(
        name="5g-nsa", loss_enter=0.003, loss_leave=0.35, delay_s=0.020, jitter_s=0.006,
        outage_every_s=30.0, outage_s=(0.050, 0.090),
    ),
    # Assumed: delay 45 ± 15 ms, 1 Mbit/s left for us with 200 ms of buffer, some reordering and duplicates.
    LinkProfile(
        name="congested", loss_enter=0.04, loss_leave=0.35, delay_s=0.045, jitter_s=0.015, rate_bps=1_000_000.0,
        queue_s_max=0.2, reorder=0.005, duplicate=0.002,
    ),
    # Assumed: delay 50 ± 20 ms, an outage of 1 s every 30 s.
    LinkProfile(
        name="train", loss_enter=0.08, loss_leave=0.25, delay_s=0.050, jitter_s=0.020,
        outage_every_s=30.0, outage_s=(1.0, 1.0),
    ),
)  # fmt: skip

PROFILES: Final[dict[str, LinkProfile]] = {profile.name: profile for profile in _ALL}
"""All profiles by name; `perfect` is the link that the others are compared with."""


def profile_named(name: str) -> LinkProfile:
    """A profile. Raises: ConfigError: there is none of that name."""
    if name not in PROFILES:
        raise ConfigError(f"no profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]
