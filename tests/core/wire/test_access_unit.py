from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import LocalProtocolError, RemoteProtocolError
from core.limits import ACCESS_UNIT_SIZE_BYTES_MAX
from core.session.state import FaceState
from core.wire.access_unit import AccessUnit, AccessUnitFlags, decode_access_unit, encode_access_unit
from core.wire.opus_padding import embed, silence, strip
from tests.core.wire.strategies import mutated, opus_packets

_UINT16 = st.integers(0, 0xFFFF)
_UNITS = st.builds(
    AccessUnit,
    epoch=_UINT16,
    sequence_number=_UINT16,
    flags=st.integers(0, 15).map(lambda bits: AccessUnitFlags(bits << 2)),
    state=st.sampled_from(FaceState),
    frame=st.binary(max_size=120),
    fec=st.binary(max_size=120),
)
_CODES = {"bad-opus", "too-short", "unknown-version", "unknown-flags", "bad-length"}


@given(unit=_UNITS, packet=opus_packets().filter(lambda packet: len(packet) < 700))
def test_round_trip(unit: AccessUnit, packet: bytes) -> None:
    data = encode_access_unit(unit, packet)
    assert len(data) <= ACCESS_UNIT_SIZE_BYTES_MAX
    assert decode_access_unit(data) == unit
    assert strip(data) == strip(packet)


@given(data=st.data(), unit=_UNITS)
def test_damage_gives_a_value_or_an_error(data: st.DataObject, unit: AccessUnit) -> None:
    try:
        decode_access_unit(mutated(encode_access_unit(unit, silence()), data.draw))
    except RemoteProtocolError as error:
        assert error.code in _CODES


@given(side=st.binary(max_size=40))
def test_any_side_data_gives_a_value_or_an_error(side: bytes) -> None:
    try:
        decode_access_unit(embed(silence(), b"\x11\x01" + side))
        decode_access_unit(embed(silence(), side))
    except RemoteProtocolError as error:
        assert error.code in _CODES


def _unit(**changes: object) -> AccessUnit:
    fields: dict[str, object] = {
        "epoch": 1, "sequence_number": 2, "flags": AccessUnitFlags(0), "state": FaceState.IDLE, "frame": b"x",
    }  # fmt: skip
    return AccessUnit(**{**fields, **changes})  # type: ignore[arg-type]


def test_header_fits_eight_bytes() -> None:
    assert len(encode_access_unit(_unit(frame=b""), silence())) - len(embed(silence(), b"")) <= 8


@pytest.mark.parametrize(
    "changes",
    [{"epoch": 65_536}, {"epoch": -1}, {"sequence_number": 65_536}, {"flags": AccessUnitFlags(0x40)}],
)
def test_our_own_mistakes_are_local_errors(changes: dict[str, object]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_access_unit(_unit(**changes), silence())


def test_a_unit_that_cannot_travel_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="can travel"):
        encode_access_unit(_unit(frame=bytes(ACCESS_UNIT_SIZE_BYTES_MAX)), silence())
