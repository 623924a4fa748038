from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from core.fabric.memory import MemoryBus
from core.host.clock import ManualClock
from core.speech.messages import SIGNING_KEYS_SUBJECT
from origin import key_rotation
from origin.key_rotation import due_in_s, rotate_in_time
from origin.tokens import load_signing_keys

DAY_S = 86_400


def test_a_key_signs_for_its_days_also_across_restarts(tmp_path: Path) -> None:
    made = int(load_signing_keys(tmp_path).rotated_wall)
    again = load_signing_keys(tmp_path)
    assert due_in_s(again, 30, made + 5) == 30 * DAY_S - 5
    assert due_in_s(again, 30, made + 31 * DAY_S) == 0.0
    again.rotate(made + 31 * DAY_S)
    assert due_in_s(again, 30, made + 31 * DAY_S) == 30 * DAY_S


def test_a_clock_that_was_set_back_does_not_keep_a_key_for_ever(tmp_path: Path) -> None:
    keys = load_signing_keys(tmp_path)
    assert due_in_s(keys, 30, keys.rotated_wall - 1_000 * DAY_S) == 0.0


async def _rotating(keys_directory: Path, days: int) -> tuple[str, str, bool]:
    """Key ids before and after the schedule was looked at once, and whether POPs were told."""
    keys = load_signing_keys(keys_directory)
    before, bus = keys.key_id, MemoryBus()
    told = await bus.subscribe(SIGNING_KEYS_SUBJECT)
    task = asyncio.create_task(rotate_in_time(keys, bus, ManualClock(wall=_NOW), days))
    heard = asyncio.ensure_future(anext(aiter(told)))
    await asyncio.wait({heard}, timeout=0.05)
    assert not task.done()
    for one in (task, heard):
        one.cancel()
    return before, keys.key_id, heard.done() and not heard.cancelled()


_NOW = 1_800_000_000


@pytest.mark.parametrize(("age_days", "rotated"), [(29, False), (31, True)])
async def test_an_old_key_is_replaced_and_pops_are_told(tmp_path: Path, age_days: int, rotated: bool) -> None:
    load_signing_keys(tmp_path)
    os.utime(tmp_path / "ticket-key-next.pem", (_NOW - age_days * DAY_S,) * 2)
    before, after, told = await _rotating(tmp_path, 30)
    assert (before != after) is told is rotated


async def test_keys_that_cannot_be_written_go_on_signing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_signing_keys(tmp_path)
    os.utime(tmp_path / "ticket-key-next.pem", (_NOW - 31 * DAY_S,) * 2)
    keys = load_signing_keys(tmp_path)
    before = keys.key_id
    (tmp_path / "ticket-key-next.pem").unlink()
    said: list[str] = []
    monkeypatch.setattr(key_rotation._log, "warning", lambda text, *values: said.append(text % values))
    task = asyncio.create_task(rotate_in_time(keys, MemoryBus(), ManualClock(wall=_NOW), 30))
    await asyncio.sleep(0)
    assert not task.done() and keys.key_id == before
    assert "cannot be rotated" in said[0]
    task.cancel()
