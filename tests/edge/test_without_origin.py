"""The origin dies: faces live on, who has a ticket gets in, and everybody is answered when it is back."""

from __future__ import annotations

import os
import re
import signal

from loadtests.stack import Stack, local_stack
from loadtests.tickets import fetch_ticket
from loadtests.viewer import Viewer


def _origin(stack: Stack) -> int:
    (pid,) = [pid for pid, line in stack.children().items() if re.search(r"core\.host\.child origin( |$)", line)]
    return pid


async def test_a_viewer_with_a_ticket_gets_in_while_the_origin_is_dead() -> None:
    with local_stack("origin.greet=false") as stack:
        async with Viewer.connect(origin=stack.origin_url, microphone=False) as first:
            assert await first.wait_until(lambda viewer: viewer.ready, 5.0)
            ticket = await fetch_ticket(stack.origin_url)
            os.kill(_origin(stack), signal.SIGKILL)
            second = Viewer(ticket, microphone=False)
            try:
                await second.start()
                units = first.screen.units
                assert await second.wait_until(lambda viewer: viewer.screen.units > 3, 2.0)
                assert await first.wait_until(lambda viewer: viewer.screen.units > units + 3, 2.0)
                for viewer in (first, second):
                    assert await _answered(viewer)
            finally:
                await second.aclose()


async def _answered(viewer: Viewer) -> bool:
    """Ask again and again until there is a voice: nobody says when the origin is back."""
    for _ in range(10):
        viewer.send_text("Tell me about Mars.")
        if await viewer.wait_until(lambda one: any(block.voice for block in one.recording.heard), 3.0):
            return True
    return False
