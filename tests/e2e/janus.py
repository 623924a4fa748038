"""Janus as a relay that knows nothing of us: RTP in on a UDP port, WebRTC out to whoever watches."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx

__all__ = ["Janus", "Watching", "find_janus", "run_janus"]

_MOUNTPOINT: Final = 1
_START_S_MAX: Final = 10.0
_HTTP = """
general: {{ json = "plain" base_path = "/janus" http = true port = {port} ip = "127.0.0.1" https = false }}
admin: {{ admin_http = false admin_https = false }}
"""
_CORE = """
general: {{ configs_folder = "{folder}" debug_level = 3 server_name = "relay" }}
nat: {{ full_trickle = false }}
transports: {{ disable = "{others}" }}
"""
_OTHER_TRANSPORTS: Final = ("pfunix", "websockets", "nanomsg", "rabbitmq", "mqtt")


def find_janus() -> str | None:
    """Path of the machine's Janus."""
    return shutil.which("janus")


class Janus:
    """A running Janus with one mountpoint.

    Attributes:
        rtp_port: UDP port on 127.0.0.1 that takes Opus as plain RTP.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.rtp_port = 0

    async def open(self, payload_type: int) -> None:
        """Make the mountpoint."""
        watching = await self.watching()
        wanted = {"request": "create", "type": "rtp", "id": _MOUNTPOINT, "audio": True, "audioport": 0}
        wanted |= {"audiopt": payload_type, "audiocodec": "opus", "audiortpmap": "opus/48000/2"}
        made = await watching.message(wanted)
        self.rtp_port = int(made["plugindata"]["data"]["stream"]["audio_port"])

    async def watching(self) -> Watching:
        """A new session with a handle on the streaming plugin."""
        session = (await self._post("/janus", {"janus": "create"}))["data"]["id"]
        path = f"/janus/{session}"
        attach = {"janus": "attach", "plugin": "janus.plugin.streaming"}
        handle = (await self._post(path, attach))["data"]["id"]
        return Watching(self, path, f"{path}/{handle}")

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = (await self._http.post(path, json={**body, "transaction": "t"})).json()
        assert answer["janus"] in ("success", "ack"), answer
        return answer


class Watching:
    """One who watches the mountpoint."""

    def __init__(self, janus: Janus, session: str, handle: str) -> None:
        self._janus, self._session, self._handle = janus, session, handle

    async def message(self, body: dict[str, Any], jsep: dict[str, str] | None = None) -> dict[str, Any]:
        """Say something to the plugin."""
        content = {"janus": "message", "body": body}
        return await self._janus._post(self._handle, content if jsep is None else {**content, "jsep": jsep})

    async def offer(self) -> str:
        """Janus' offer."""
        await self.message({"request": "watch", "id": _MOUNTPOINT})
        while True:
            event = (await self._janus._http.get(self._session, params={"maxev": 1})).json()
            for found in event if isinstance(event, list) else [event]:
                if "jsep" in found:
                    return str(found["jsep"]["sdp"])

    async def start(self, answer: str) -> None:
        """Our answer; media begins."""
        await self.message({"request": "start"}, {"type": "answer", "sdp": answer})


@contextlib.asynccontextmanager
async def run_janus(executable: str, payload_type: int = 96) -> AsyncIterator[Janus]:
    """A Janus of one's own with a mountpoint of Opus, stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="janus-") as folder:
        others = ",".join(f"libjanus_{name}.so" for name in _OTHER_TRANSPORTS)
        core = _CORE.format(folder=folder, others=others)
        (Path(folder) / "janus.jcfg").write_text(core)
        (Path(folder) / "janus.transport.http.jcfg").write_text(_HTTP.format(port=port))
        log = (Path(folder) / "log.txt").open("wb")
        command = [executable, "-C", f"{folder}/janus.jcfg", "-F", folder]
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as http:
                janus = Janus(http)
                async with asyncio.timeout(_START_S_MAX):
                    while True:
                        with contextlib.suppress(httpx.HTTPError):
                            await http.get("/janus/info")
                            break
                        assert process.returncode is None, (Path(folder) / "log.txt").read_text()[-2_000:]
                        await asyncio.sleep(0.05)
                await janus.open(payload_type)
                yield janus
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 10.0)
            log.close()
