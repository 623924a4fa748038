from __future__ import annotations

import asyncio
import struct
import sys

import pytest

from origin.dialogue.framing import FRAME_SIZE_BYTES_MAX, pack, read_frame
from origin.dialogue.worker_messages import Feed, stt_command_decoder


def reader(data: bytes) -> asyncio.StreamReader:
    stream = asyncio.StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    return stream


async def test_messages_come_back_one_by_one() -> None:
    messages = [Feed(id=number, pcm=bytes(number)) for number in (0, 1, 70_000)]
    stream = reader(b"".join(pack(message) for message in messages))
    assert [stt_command_decoder.decode(await read_frame(stream)) for _ in messages] == messages
    with pytest.raises(EOFError, match="gone"):
        await read_frame(stream)


@pytest.mark.parametrize(
    "data", [b"\0\0", struct.pack(">I", 9) + b"short", struct.pack(">I", FRAME_SIZE_BYTES_MAX + 1) + bytes(99)]
)
async def test_what_is_no_message_ends_the_stream(data: bytes) -> None:
    with pytest.raises(EOFError, match="worker"):
        await read_frame(reader(data))


async def test_a_worker_that_prints_does_not_break_the_framing() -> None:
    code = (
        "from origin.dialogue.framing import WorkerPipe, become_worker\n"
        "from origin.dialogue.worker_messages import Cancel\n"
        "import os\n"
        "become_worker()\n"
        "pipe = WorkerPipe()\n"
        "print('noise'); os.write(1, b'noise')\n"
        "while (body := pipe.receive()) is not None: pipe.send(Cancel(id=len(body)))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate(pack(Feed(id=1, pcm=b"xy")))
    body = await read_frame(reader(out))
    assert stt_command_decoder.decode(body).id == len(pack(Feed(id=1, pcm=b"xy"))) - 4
    assert errors.count(b"noise") == 2 and process.returncode == 0
