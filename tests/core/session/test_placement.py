"""Who may go where, and in which order."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.limits import PLACEMENT_CANDIDATES_MAX, PLACEMENT_RETRY_AFTER_S, POP_LOAD_MAX, POP_SILENCE_S_MAX
from core.session.placement import Client, Placement, PopView, TurnedAway, place, rtt_class, why_not

NOW = 100.0
POP = PopView(name="fra", heard_at=NOW, load=0.1, protocols=frozenset({"webrtc"}), region="eu")
ANNA = Client(affinity="anna")


def names(result: Placement | TurnedAway) -> tuple[str, ...]:
    assert isinstance(result, Placement)
    return result.candidates


@pytest.mark.parametrize(
    ("pop", "client", "reason"),
    [
        (POP, ANNA, ""),
        (replace(POP, serving=False), ANNA, "not-serving"),
        (replace(POP, heard_at=NOW - POP_SILENCE_S_MAX - 0.01), ANNA, "silent"),
        (replace(POP, heard_at=NOW + 1), ANNA, "silent"),
        (replace(POP, heard_at=math.nan), ANNA, "silent"),
        (replace(POP, protocols=frozenset({"cmaf"})), ANNA, "protocol"),
        (POP, replace(ANNA, regions=frozenset({"us"})), "residency"),
        (POP, replace(ANNA, regions=frozenset({"eu"})), ""),
        (POP, replace(ANNA, regions=frozenset()), "residency"),
        (replace(POP, carrier="vodafone"), ANNA, "carrier"),
        (replace(POP, carrier="vodafone"), replace(ANNA, carrier="telekom"), "carrier"),
        (replace(POP, carrier="vodafone"), replace(ANNA, carrier="vodafone"), ""),
        (POP, replace(ANNA, carrier="vodafone"), ""),
        (replace(POP, load=POP_LOAD_MAX), ANNA, "load"),
        (replace(POP, load=math.nan), ANNA, "load"),
    ],
)
def test_who_may_not(pop: PopView, client: Client, reason: str) -> None:
    assert why_not(client, pop, NOW) == reason


@given(st.lists(st.sampled_from(["", "a", "b"]), max_size=8), st.sampled_from(["", "a", "b"]), st.floats(0, 500))
def test_nobody_gets_a_pop_inside_another_carriers_network(carriers: list[str], own: str, rtt: float) -> None:
    pops = [replace(POP, name=f"p{n}", carrier=carrier) for n, carrier in enumerate(carriers)]
    client = Client(affinity="x", carrier=own, rtt_ms={pop.name: rtt if pop.carrier else 400.0 for pop in pops})
    result = place(client, pops, NOW)
    if isinstance(result, Placement):
        by_name = {pop.name: pop.carrier for pop in pops}
        assert {by_name[name] for name in result.candidates} <= {"", own}
    else:
        assert all(carrier not in ("", own) for carrier in carriers)


def test_classes_of_round_trips() -> None:
    assert [rtt_class(rtt) for rtt in (0.0, 20.0, 20.1, 320.0, 321.0)] == [0, 0, 1, 4, 5]
    assert {rtt_class(rtt) for rtt in (None, -1.0, math.nan, math.inf)} == {6}


def test_the_nearest_class_comes_first_and_farther_ones_only_after_it() -> None:
    pops = [replace(POP, name=name, load=load) for name, load in (("far", 0.0), ("near", 0.6), ("unknown", 0.0))]
    client = replace(ANNA, rtt_ms={"far": 90.0, "near": 5.0, "nobody-of-this-name": 0.1})
    assert names(place(client, pops, NOW)) == ("near", "far", "unknown")


def test_a_full_near_pop_is_left_out_for_a_far_one() -> None:
    pops = [replace(POP, name="near", load=0.7), replace(POP, name="far", load=0.2)]
    assert names(place(replace(ANNA, rtt_ms={"near": 1.0, "far": 200.0}), pops, NOW)) == ("far",)


def test_the_same_client_gets_the_same_pops_whatever_the_order() -> None:
    pops = [replace(POP, name=f"p{number}") for number in range(9)]
    first = names(place(ANNA, pops, NOW))
    assert first == names(place(ANNA, list(reversed(pops)), NOW))
    assert len(first) == PLACEMENT_CANDIDATES_MAX
    without = names(place(ANNA, [pop for pop in pops if pop.name != first[2]], NOW))
    assert without[:2] == first[:2], "who leaves moves only its own clients"


def test_of_two_the_one_with_less_load() -> None:
    pops = [replace(POP, name=f"p{number}") for number in range(5)]
    first = names(place(ANNA, pops, NOW))[0]
    busy = [replace(pop, load=0.5) if pop.name == first else pop for pop in pops]
    assert names(place(ANNA, busy, NOW))[:2] != (first, *names(place(ANNA, busy, NOW))[1:2])


def test_load_is_spread_and_nobody_is_overloaded() -> None:
    loads = {f"p{number}": 0 for number in range(10)}
    capacity, turned = 100, 0
    for client in range(1_000):
        pops = [replace(POP, name=name, load=count / capacity) for name, count in loads.items()]
        result = place(Client(affinity=str(client)), pops, NOW)
        if isinstance(result, Placement):
            loads[result.candidates[0]] += 1
        else:
            turned += 1
            assert (result.code, result.retry_after_s, result.reasons) == (
                "overloaded",
                PLACEMENT_RETRY_AFTER_S,
                {"load": 10},
            )
    assert turned == 300 and set(loads.values()) == {70}


def test_two_choices_keep_the_loads_together() -> None:
    loads = Counter({f"p{number}": 0 for number in range(20)})
    for client in range(600):
        pops = [replace(POP, name=name, load=count / 100) for name, count in loads.items()]
        loads[names(place(Client(affinity=str(client)), pops, NOW))[0]] += 1
    assert max(loads.values()) - min(loads.values()) <= 6, loads


def test_who_can_never_be_served_is_told_so() -> None:
    result = place(replace(ANNA, regions=frozenset({"us"})), [POP, replace(POP, name="b", load=1.0)], NOW)
    assert result == TurnedAway("no-pop", PLACEMENT_RETRY_AFTER_S, {"residency": 2})
    assert place(ANNA, [], NOW) == TurnedAway("no-pop", PLACEMENT_RETRY_AFTER_S, {})
