"""A viewer changes networks in the middle of a sentence, at a real origin and POP: the conversation goes on."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from core.stream.playout import MotionSource
from core.wire.access_unit import AccessUnitFlags
from loadtests.stack import Stack
from loadtests.turn import ask, settle
from loadtests.viewer import Viewer, ViewerError
from loadtests.viewer_link import Transport

_GAP_S_MAX = 1.0


def _longest_gap_s(times: list[float]) -> float:
    return max(after - before for before, after in pairwise(times))


async def _speaking(viewer: Viewer) -> None:
    """Ask something that takes long to answer, and listen for a moment."""
    viewer.recording.clear()
    viewer.send_text("Tell me about Mars.")
    assert await viewer.wait_until(lambda v: any(block.voice for block in v.recording.heard), 15.0)
    await viewer.wait_until(lambda _viewer: False, 0.5)


@pytest.mark.parametrize("dead", [False, True], ids=["alive", "dead"])
async def test_a_sentence_goes_on_over_another_network(stack: Stack, dead: bool) -> None:
    """Four moves of one session; the former link is told goodbye by nobody, or is dead already."""
    others: tuple[Transport, ...] = ("webrtc", "webtransport", "webtransport", "webrtc")
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url, microphone=False) as viewer:
        await settle(viewer, quiet_s=0.3)
        for other in others:
            await _moves(viewer, other, dead=dead)
            viewer.interrupt()
        assert (await ask(viewer, text="hello", timeout_s=10.0, listen_s=1.0)).answered


async def _moves(viewer: Viewer, other: Transport, *, dead: bool) -> None:
    await _speaking(viewer)
    token = viewer.resume_token
    if dead:
        viewer.lose_network()
    moved_at = viewer.now
    await viewer.switch_network(other)
    assert viewer.transport == other
    await viewer.wait_until(lambda _viewer: False, 1.2)
    seen = viewer.recording
    # The same session, the same face: numbers and media time go on where they were.
    arrived = sorted(seen.arrivals, key=lambda arrival: arrival.media_time)
    assert len({arrival.sequence_number for arrival in arrived}) == len(arrived)
    assert (arrived[-1].sequence_number - arrived[0].sequence_number) & 0xFFFF < 500
    assert _longest_gap_s(sorted(arrival.at for arrival in arrived)) < _GAP_S_MAX
    voiced = [a.at for a in arrived if a.at > moved_at and AccessUnitFlags.SPEECH in a.flags]
    assert len(voiced) > 20, "the answer was heard to go on"
    drawn = [picture.at for picture in seen.drawn if picture.source is not MotionSource.IDLE]
    assert _longest_gap_s([at for at in drawn if at > moved_at - 0.5]) < _GAP_S_MAX
    assert seen.undecodable == 0
    assert viewer.resume_token not in (None, token), "one token, one link; the POP gives another"


async def test_a_viewer_that_was_away_for_seconds_comes_back_to_its_session(stack: Stack) -> None:
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url, microphone=False) as viewer:
        await settle(viewer, quiet_s=0.3)
        viewer.lose_network()
        await asyncio.sleep(4.0)
        await viewer.switch_network()
        turn = await ask(viewer, text="Tell me about Mars.", timeout_s=10.0, listen_s=1.0)
        assert turn.answered


async def test_a_resume_token_opens_one_link_once(stack: Stack) -> None:
    async with Viewer.connect(origin=stack.origin_url, pop=stack.pop_url, microphone=False) as viewer:
        assert await viewer.wait_until(lambda v: v.resume_token is not None, 5.0)
        token = viewer.resume_token
        await viewer.switch_network()
        assert await viewer.wait_until(lambda v: v.resume_token is not None, 5.0)
        fresh, viewer.resume_token = viewer.resume_token, token
        with pytest.raises(ViewerError, match="token-spent"):
            await viewer.switch_network()
        viewer.resume_token = fresh
        await viewer.switch_network()
        assert (await ask(viewer, text="hello", timeout_s=10.0, listen_s=1.0)).answered
