"""The link model: one seed is one trace, and the statistics are those that were asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from loadtests.link_model import DeliveryTrace, LinkModel, LinkProfile, read_trace
from loadtests.profiles import PROFILES, profile_named


def _trace(profile: LinkProfile, seed: int, count: int = 400) -> list[tuple[float, ...]]:
    model = LinkModel(profile, seed)
    return [model.send(number * 0.02, 160) for number in range(count)]


@pytest.mark.parametrize("name", PROFILES)
def test_one_seed_is_one_trace(name: str) -> None:
    profile = profile_named(name)
    assert _trace(profile, 7) == _trace(profile, 7)
    assert name == "perfect" or _trace(profile, 7) != _trace(profile, 8)


def test_a_perfect_link_does_nothing() -> None:
    assert _trace(PROFILES["perfect"], 1, 3) == [(0.0,), (0.02,), (0.04,)]


@pytest.mark.parametrize("name", ["lte-good", "lte-moving", "congested", "train"])
def test_losses_and_bursts_are_what_the_profile_says(name: str) -> None:
    profile = replace(profile_named(name), outage_every_s=0.0, rate_bps=None)
    trace = _trace(profile, 3, 60_000)
    lost = [not times for times in trace]
    bursts = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert sum(lost) / len(lost) == pytest.approx(profile.loss, rel=0.2)
    assert sum(lost) / bursts == pytest.approx(1 / profile.loss_leave, rel=0.2)


def test_delay_and_jitter_are_what_the_profile_says() -> None:
    profile = LinkProfile(name="x", delay_s=0.05, jitter_s=0.005)
    model = LinkModel(profile, 1)
    delays = [model.send(number * 0.1, 100)[0] - number * 0.1 for number in range(2_000)]
    mean = sum(delays) / len(delays)
    assert mean == pytest.approx(0.05, abs=0.001)
    assert (sum((delay - mean) ** 2 for delay in delays) / len(delays)) ** 0.5 == pytest.approx(0.005, rel=0.1)
    assert min(delays) >= 0.05 - 2.5 * 0.005 - 1e-9


def test_jitter_keeps_the_order_and_reordering_does_not() -> None:
    steady = [times[0] for times in _trace(LinkProfile(name="x", delay_s=0.05, jitter_s=0.03), 2)]
    assert steady == sorted(steady)
    shuffled = [times[0] for times in _trace(LinkProfile(name="x", reorder=0.2, reorder_s=0.05), 2)]
    assert shuffled != sorted(shuffled)


def test_duplicates_come_twice_and_later() -> None:
    model = LinkModel(LinkProfile(name="x", duplicate=1.0), 1)
    first, second = model.send(0.0, 100)
    assert second > first
    assert model.fates == {"delivered": 1, "duplicated": 1}


def test_a_bottleneck_delays_and_then_drops() -> None:
    model = LinkModel(LinkProfile(name="x", rate_bps=80_000.0, queue_s_max=0.25), 1)
    assert [model.send(0.0, 1_000) for _ in range(4)] == [(0.1,), (0.2,), (), ()]
    assert model.fates["queue-full"] == 2
    assert model.send(1.0, 1_000) == (1.1,)


def test_nothing_passes_in_an_outage() -> None:
    profile = LinkProfile(name="x", outage_every_s=2.0, outage_s=(0.5, 1.0))
    model = LinkModel(profile, 5)
    outages = model.outages(60.0)
    assert 10 < len(outages) < 40
    for now in (number * 0.01 for number in range(6_000)):
        inside = any(outage.start_s <= now < outage.end_s for outage in outages)
        assert bool(model.send(now, 100)) != inside
    assert all(0.5 <= outage.end_s - outage.start_s <= 1.0 for outage in outages)


def test_losses_do_not_depend_on_other_settings() -> None:
    plain = LinkProfile(name="x", loss_enter=0.1, loss_leave=0.4)
    other = replace(plain, delay_s=0.1, jitter_s=0.02, duplicate=0.3, reorder=0.1)
    assert [bool(times) for times in _trace(plain, 9)] == [bool(times) for times in _trace(other, 9)]


def test_a_trace_delivers_at_its_opportunities(tmp_path: Path) -> None:
    file = tmp_path / "a.trace"
    file.write_text("10\n20\n\n100\n")
    trace = read_trace(file)
    assert trace == DeliveryTrace((0.01, 0.02, 0.1))
    model = LinkModel(LinkProfile(name="x", trace=trace), 1)
    sent = [model.send(0.0, 1_000)[0], model.send(0.0, 1_000)[0], model.send(0.05, 100)[0], model.send(0.101, 100)[0]]
    assert sent == pytest.approx([0.01, 0.02, 0.1, 0.11])


def test_a_trace_drops_what_waits_too_long() -> None:
    model = LinkModel(LinkProfile(name="x", trace=DeliveryTrace((0.0, 1.0)), queue_s_max=0.2), 1)
    assert model.send(0.5, 100) == ()


@pytest.mark.parametrize("text", ["", "ten\n", "10\n5\n", "-1\n", "0\n", "1.5\n", "é\n"])
def test_a_bad_trace_says_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.trace"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        read_trace(file)


def test_a_missing_trace_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_trace(tmp_path / "none")


@pytest.mark.parametrize(
    "bad",
    [
        {"loss_enter": 1.5}, {"duplicate": -0.1}, {"delay_s": -1.0}, {"jitter_s": float("nan")}, {"rate_bps": 0.0},
        {"outage_s": (2.0, 1.0)}, {"loss_enter": 0.1, "loss_leave": 0.0}, {"queue_s_max": float("inf")},
    ],
)  # fmt: skip
def test_impossible_profiles_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        LinkProfile(name="x", **bad)  # type: ignore[arg-type]


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="lte-moving"):
        profile_named("3g")


@settings(max_examples=50)
@given(
    profile=st.builds(
        LinkProfile,
        name=st.just("x"),
        loss_enter=st.floats(0, 1),
        loss_leave=st.floats(0.01, 1),
        delay_s=st.floats(0, 1),
        jitter_s=st.floats(0, 1),
        reorder=st.floats(0, 1),
        duplicate=st.floats(0, 1),
        rate_bps=st.one_of(st.none(), st.floats(1_000, 1e7)),
    ),
    gaps=st.lists(st.floats(0, 0.5), max_size=60),
    seed=st.integers(0, 1_000),
)
def test_no_packet_arrives_before_it_was_sent(profile: LinkProfile, gaps: list[float], seed: int) -> None:
    model, now = LinkModel(profile, seed), 0.0
    for gap in gaps:
        now += gap
        assert all(arrival >= now for arrival in model.send(now, 200))
    assert sum(model.fates[fate] for fate in ("delivered", "lost", "outage", "queue-full")) == len(gaps)
