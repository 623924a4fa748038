"""What redundancy inside packets leaves lost, what it costs, and what others do with as much.

Packets cross a channel that loses them at random or in bursts (two-state Gilbert–Elliott: the bad state loses all, the
good one none). A unit counts as lost when it has neither come nor been restored by the time it is played. The real
encoder and decoder run on every packet that can matter, and every restored block is compared with what was sent.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import reedsolo  # type: ignore[import-untyped]

from core.errors import Dropped
from core.limits import TICK_SAMPLES
from core.session.state import FaceState
from core.stream.fec import FecEncoder, FecTier, encode_block, window_units
from core.stream.fec_decoder import FecDecoder
from core.wire.access_unit import AccessUnit, AccessUnitFlags
from loadtests.bench.harness import Result

DESCRIPTION = "residual loss, time and bytes of redundancy inside packets"

DEADLINES_MS: Final = (133, 60, 30)
"""Our own playout, and two that NetEQ may have."""
LOSSES: Final = (0.01, 0.03, 0.05, 0.10, 0.20)
BURSTS: Final = (1, 2, 3, 5)
"""Mean lengths; 1 stands for losses that know nothing of each other."""
NEVER: Final = 1 << 30

_GROUP: Final = 4
_PASSES: Final = 12
_PACKET_OVERHEAD_BYTES: Final = 60
"""IP, UDP and SRTP around a payload: what a parity packet of its own pays."""
_FRAME_BYTES: Final = (12, 22, 38)
"""Smallest, most frequent and largest frame in the size figures, around the mean that the benchmark `wire` measures."""
_OPUS_BYTES: Final = (45, 60, 75)
"""The same for the sound: 24 kbit/s with some variation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this benchmark."""
    parser.add_argument("--seed", type=int, default=1, help="of the channel (default 1)")
    parser.add_argument("--packets-per-second", type=float, default=50.0, help="default 50")


def channel(loss: float, burst: float, seed: int) -> Iterator[bool]:
    """True for each packet that is lost.

    Args:
        loss: how many are lost in the long run, 0 to below 1.
        burst: mean length of a run of losses; 1 = independent losses.
        seed: the same seed gives the same losses.
    """
    draw = random.Random(f"{seed}/{loss}/{burst}").random
    if burst == 1:
        while True:
            yield draw() < loss
    leave = 1 / burst
    enter = leave * loss / (1 - loss)
    bad = draw() < loss
    while True:
        yield bad
        bad = draw() >= leave if bad else draw() < enter


Delays = list[int]
"""For each unit, after how many packets it was there: 0 = it came, NEVER = it did not."""


def residual_pct(delays: Delays, window: int) -> float:
    """Units that were not there in time."""
    return 100 * sum(delay > window for delay in delays) / len(delays)


def tier_delays(losses: Iterator[bool], units: int, tier: FecTier, window: int, *, every: bool = False) -> Delays:
    """Send through the real encoder, channel and decoder.

    Args:
        every: write every field. Otherwise those that cannot matter are left out: of packets that are lost, or by whose
            time nothing is missing in the window that they cover.
    """
    encoder, decoder = FecEncoder(sound=False), FecDecoder(sound=False)
    delays: Delays = []
    missing: set[int] = set()
    last_missing = -NEVER
    for unit in range(units):
        lost = next(losses)
        matters = every or (not lost and unit - last_missing <= window)
        block = unit.to_bytes(4, "big")
        fec = encoder.protect(unit & 0xFFFF, block, tier=tier if matters else FecTier.F0, window=window)
        if lost:
            delays.append(NEVER)
            missing.add(unit)
            last_missing = unit
            continue
        delays.append(0)
        restored = decoder.receive(unit & 0xFFFF, block, fec)
        if isinstance(restored, Dropped):
            raise AssertionError(f"unit {unit} was dropped: {restored.reason}")
        for number, content in restored:
            back = int.from_bytes(content, "big")
            if back not in missing or back & 0xFFFF != number:
                raise AssertionError(f"restored {back} as {number}, which nobody lost")
            missing.remove(back)
            delays[back] = unit - back
        if restored:
            last_missing = max((each for each in missing if unit - each <= window), default=-NEVER)
    return delays


def no_protection_delays(losses: Iterator[bool], units: int) -> Delays:
    """What is lost stays lost."""
    return [NEVER if next(losses) else 0 for _ in range(units)]


def limit_delays(losses: Iterator[bool], units: int, window: int) -> Delays:
    """No code can do better: a unit is lost when it and all packets that would be in time are."""
    lost = [next(losses) for _ in range(units + window)]
    return [NEVER if all(lost[unit : unit + window + 1]) else 0 for unit in range(units)]


def previous_delays(losses: Iterator[bool], units: int) -> Delays:
    """RED (RFC 2198): every packet repeats the unit before."""
    lost = [next(losses) for _ in range(units + 1)]
    return [0 if not lost[unit] else NEVER if lost[unit + 1] else 1 for unit in range(units)]


def parity_delays(losses: Iterator[bool], units: int, repair: Callable[[list[int], list[int]], list[int]]) -> Delays:
    """Groups of four units, behind each its parity packets, sent together with the last unit.

    Args:
        repair: gets the four units and which of the group's packets were lost, and gives the units it restores.
    """
    delays: Delays = []
    for first in range(0, units, _GROUP):
        contents = [(first + index) * 167 & 0xFF for index in range(_GROUP)]
        lost = [index for index in range(_GROUP + (1 if repair is exclusive_or else 2)) if next(losses)]
        restored = repair(contents, lost) if lost and lost[0] < _GROUP else []
        for index in range(_GROUP):
            delays.append(0 if index not in lost else _GROUP - 1 - index if index in restored else NEVER)
    return delays


def exclusive_or(contents: list[int], lost: list[int]) -> list[int]:
    """One parity packet (RFC 5109 in its smallest form): one loss in five comes back."""
    if len(lost) > 1:
        return []
    parity = contents[0] ^ contents[1] ^ contents[2] ^ contents[3]
    for index in range(_GROUP):
        if index != lost[0]:
            parity ^= contents[index]
    return _checked(contents, lost, {lost[0]: parity})


def reed_solomon(contents: list[int], lost: list[int]) -> list[int]:
    """Two parity packets of a Reed–Solomon code: any two losses in six come back."""
    code = _RS.encode(bytes(contents))
    damaged = bytearray(0 if index in lost else byte for index, byte in enumerate(code))
    try:
        decoded = _RS.decode(damaged, erase_pos=lost)[0]
    except reedsolo.ReedSolomonError:
        return []
    return _checked(contents, lost, {index: decoded[index] for index in lost if index < _GROUP})


_RS: Final = reedsolo.RSCodec(2)


def _checked(contents: list[int], lost: list[int], restored: dict[int, int]) -> list[int]:
    if any(contents[index] != content for index, content in restored.items()):
        raise AssertionError(f"losses {lost} of {contents} came back as {restored}")
    return list(restored)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How much is sent per point."""

    units: int
    figure_units: int
    timed_units: int


def run(options: argparse.Namespace) -> Result:
    """Measure."""
    plan = _Plan(10_000, 250_000, 2_000) if options.quick else _Plan(100_000, 1_000_000, 5_000)
    packet_s = 1 / options.packets_per_second
    window = window_units(DEADLINES_MS[0] / 1000, packet_s)
    timings = _timings(plan.timed_units, window)

    def figure(tier: FecTier, burst: int) -> float:
        delays = tier_delays(channel(0.10, burst, options.seed), plan.figure_units, tier, window)
        return residual_pct(delays, window)

    figures = {
        "residual_pct_f1_random10": figure(FecTier.F1, 1),
        "residual_pct_f2_random10": figure(FecTier.F2, 1),
        "residual_pct_f2_burst2_10": figure(FecTier.F2, 2),
        "residual_pct_red_burst2_10": residual_pct(
            previous_delays(channel(0.10, 2, options.seed), plan.figure_units), window
        ),
        "us_per_packet": timings["sender"]["F2"],
    }
    details: dict[str, Any] = {
        "packets_per_second": options.packets_per_second,
        "window_units": {f"{ms}_ms": window_units(ms / 1000, packet_s) for ms in DEADLINES_MS},
        "units_per_figure": plan.figure_units,
        "units_per_point": plan.units,
        "smallest_residual_pct_a_point_can_show": 100 / plan.units,
        "residual_pct": _table(plan.units, packet_s, options.seed),
        "us_per_packet_by_part": timings,
        "overhead_bytes_per_unit": _overhead(window),
    }
    return Result(figures=figures, details=details)


def _table(units: int, packet_s: float, seed: int) -> list[dict[str, float]]:
    rows = []
    for burst in BURSTS:
        for loss in LOSSES:
            others = {
                "none": no_protection_delays(channel(loss, burst, seed), units),
                "red_previous": previous_delays(channel(loss, burst, seed), units),
                "xor_4_1": parity_delays(channel(loss, burst, seed), units, exclusive_or),
                "rs_4_2": parity_delays(channel(loss, burst, seed), units, reed_solomon),
            }
            for deadline_ms in DEADLINES_MS:
                window = window_units(deadline_ms / 1000, packet_s)
                row: dict[str, float] = {"loss_pct": 100 * loss, "mean_burst": burst, "within_ms": deadline_ms}
                row |= {name: residual_pct(delays, window) for name, delays in others.items()}
                for tier in (FecTier.F1, FecTier.F2, FecTier.F3):
                    delays = tier_delays(channel(loss, burst, seed), units, tier, window)
                    row[tier.name.lower()] = residual_pct(delays, window)
                row["limit"] = residual_pct(limit_delays(channel(loss, burst, seed), units, window), window)
                rows.append({name: round(value, 4) for name, value in row.items()})
    return rows


def _units(count: int) -> list[tuple[AccessUnit, bytes]]:
    """Units of realistic sizes with arbitrary content: size is all that time and overhead depend on."""
    draw = random.Random(1)
    flags, state = AccessUnitFlags.SPEECH, FaceState.SPEAKING
    units = []
    for number in range(count):
        frame = draw.randbytes(round(draw.triangular(_FRAME_BYTES[0], _FRAME_BYTES[2], _FRAME_BYTES[1])))
        opus = draw.randbytes(round(draw.triangular(_OPUS_BYTES[0], _OPUS_BYTES[2], _OPUS_BYTES[1])))
        unit = AccessUnit(epoch=1, sequence_number=number & 0xFFFF, flags=flags, state=state, frame=frame)
        units.append((unit, opus))
    return units


def _timings(count: int, window: int) -> dict[str, Any]:
    """Microseconds per packet with sound and motion: block and field at the sender; block and field at the receiver."""
    units = _units(count)
    sender: dict[str, float] = {}
    receiver: dict[str, float] = {}
    for tier in FecTier:
        fields: list[tuple[AccessUnit, bytes, bytes]] = []
        passes = [_send(units, tier, window, fields) for _ in range(_PASSES)]
        sender[tier.name] = _undisturbed_us(passes)
        for name, loss in (("", 0.0), (" at 10 % loss", 0.10)):
            kept = [field for field, lost in zip(fields, channel(loss, 1, 1), strict=False) if not lost]
            receiver[tier.name + name] = _undisturbed_us([_receive(kept) for _ in range(_PASSES)])
    symbol = sender["F1"] - sender["F0"]
    return {"sender": sender, "receiver": receiver, "sender_symbol_alone": symbol, "window_units": window}


def _undisturbed_us(passes: list[list[float]]) -> float:
    """Mean over all packets of each packet's fastest pass: what others do on the machine meanwhile does not count."""
    return round(statistics.fmean(map(min, zip(*passes, strict=True))) * 1e6, 2)


def _send(
    units: list[tuple[AccessUnit, bytes]], tier: FecTier, window: int, fields: list[tuple[AccessUnit, bytes, bytes]]
) -> list[float]:
    encoder, took = FecEncoder(sound=True), []
    fields.clear()
    for unit, opus in units:
        started = time.perf_counter()
        block = encode_block(unit, span_ticks=TICK_SAMPLES, opus=opus)
        fec = encoder.protect(unit.sequence_number, block, tier=tier, window=window)
        took.append(time.perf_counter() - started)
        fields.append((unit, opus, fec))
    return took


def _receive(fields: list[tuple[AccessUnit, bytes, bytes]]) -> list[float]:
    decoder, took = FecDecoder(sound=True), []
    for unit, opus, fec in fields:
        started = time.perf_counter()
        decoder.receive(unit.sequence_number, encode_block(unit, span_ticks=TICK_SAMPLES, opus=opus), fec)
        took.append(time.perf_counter() - started)
    return took


def _overhead(window: int) -> dict[str, dict[str, float]]:
    """Mean bytes of redundancy per unit, with what carries it."""
    units = _units(2_000)
    result: dict[str, dict[str, float]] = {}
    for name, sound in (("motion_alone", False), ("sound_and_motion", True)):
        blocks = [encode_block(unit, span_ticks=TICK_SAMPLES, opus=opus if sound else None) for unit, opus in units]
        mean = statistics.fmean(map(len, blocks))
        sizes = {"block_itself": mean}
        for tier in (FecTier.F1, FecTier.F2, FecTier.F3):
            encoder = FecEncoder(sound=sound)
            fields = [encoder.protect(number, block, tier=tier, window=window) for number, block in enumerate(blocks)]
            sizes[tier.name.lower()] = statistics.fmean(len(field) + 2 if field else 0 for field in fields)
        largest = statistics.fmean(max(map(len, blocks[first : first + 4])) for first in range(0, len(blocks), 4))
        sizes |= {
            "red_previous": mean + 1,
            "xor_4_1": (largest + _PACKET_OVERHEAD_BYTES) / _GROUP,
            "rs_4_2": 2 * (largest + _PACKET_OVERHEAD_BYTES) / _GROUP,
        }
        result[name] = {key: round(value, 1) for key, value in sizes.items()}
    return result
