from __future__ import annotations

import pytest

from core import errors


@pytest.mark.parametrize("cls", [errors.RemoteProtocolError, errors.AdmissionError, errors.FabricError])
def test_coded_errors_say_their_code_when_there_is_no_text(cls: type[errors.FabricError]) -> None:
    assert (cls("expired").code, str(cls("expired"))) == ("expired", "expired")
    assert (cls("expired", "the ticket has expired").code, str(cls("expired", "too late"))) == ("expired", "too late")


def test_one_root_catches_all() -> None:
    for name in errors.__all__:
        cls = getattr(errors, name)
        if isinstance(cls, type) and issubclass(cls, Exception):
            assert issubclass(cls, errors.VisavisError)
    assert issubclass(errors.RemoteProtocolError, errors.ProtocolError)
    assert not issubclass(errors.RemoteProtocolError, errors.LocalProtocolError)


def test_a_drop_is_a_value() -> None:
    assert errors.Dropped("late") == errors.Dropped("late")
    assert not isinstance(errors.Dropped("late"), Exception)
