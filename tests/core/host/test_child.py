"""A child whose parent dies, however it dies, goes too, with its workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from core.host.child import STOP_S_MAX
from tests.core.host.test_supervisor import alive, free_port


def wait_gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


@pytest.mark.parametrize("behaviour", ["parent", "stubborn"])
def test_a_killed_supervisor_leaves_no_orphans(behaviour: str) -> None:
    # The supervisor is a real process that can be killed without a chance to clean up.
    program = (
        "import asyncio\n"
        "from core.host.supervisor import ChildSpec, Supervisor\n"
        f"spec = ChildSpec(name='child', module='tests.core.host.children', "
        f"arguments=['{free_port()}', '{behaviour}'], port=1)\n"
        "async def main():\n"
        "    supervisor = Supervisor([spec], on_ready=lambda: None, write=lambda line: print(line, flush=True))\n"
        "    task = asyncio.create_task(supervisor.run())\n"
        "    while not supervisor._running: await asyncio.sleep(0.01)\n"
        "    print('pid', supervisor._running['child'].pid, flush=True)\n"
        "    await task\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pids = []
        for line in supervisor.stdout:
            if "pid" in line or "worker" in line:
                pids.append(int(line.split()[-1]))
            if ("worker" in line) if behaviour == "parent" else ("begins" in line):
                break
        assert all(alive(pid) for pid in pids)
        os.kill(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
    assert len(pids) == (2 if behaviour == "parent" else 1)
    assert all(wait_gone(pid, STOP_S_MAX + 3) for pid in pids)


def test_without_a_module_it_says_how() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "core.host.child"], capture_output=True, text=True, timeout=30, check=False
    )
    assert outcome.returncode == 1
    assert "usage: " in outcome.stderr
