from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from core.fabric.memory import MemoryBus
from core.limits import SPEECH_AHEAD_S_MAX, TICK_SAMPLES
from core.speech.messages import (
    BargeIn,
    Closed,
    Fault,
    MicrophonePacket,
    Mood,
    Opened,
    Playout,
    Ready,
    ReplyText,
    SpeechCancel,
    SpeechEnd,
    SpeechPacket,
    SpeechStart,
    StageTimes,
    Transcript,
    TurnState,
    UserText,
    VoiceFormat,
    encode,
    up_subject,
)
from origin.dialogue.character import Voice
from origin.dialogue.clauses import split_clauses
from origin.dialogue.services import Shared
from origin.dialogue.session import DialogueSession
from origin.dialogue.stt import Hearing
from origin.dialogue.tts import VoiceWorker
from origin.dialogue.worker_messages import Clause
from origin.dialogue.worker_process import WorkerGoneError
from tests.origin.libopus import has_fec
from tests.origin.viewer import Viewer, sound, synthesise


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_typed_text_is_answered_aloud(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    assert (await viewer.wait(Ready)).display_name == "Mira"
    asked = time.monotonic()
    await viewer.send(UserText(text="Thank you!"))
    end = await viewer.wait(SpeechEnd)
    packets = sound(viewer, 1)
    assert [packet.index for packet in packets] == list(range(end.packets))
    assert all(packet.opus and len(packet.log_mel) == 40 for packet in packets)
    assert viewer.all(SpeechStart)[0].turn_id == 1
    assert [turn.state for turn in viewer.all(TurnState)] == ["thinking", "speaking", "idle"]
    assert viewer.all(Mood)[0].label == "happy"
    for packet in packets:
        for span in packet.phonemes:
            assert packet.index * TICK_SAMPLES <= span.start < (packet.index + 1) * TICK_SAMPLES
            assert span.start < span.end
    words = [word for reply in viewer.all(ReplyText) for word in reply.words]
    assert words and all(a.end <= b.start for a, b in itertools.pairwise(words))
    assert words[-1].end <= end.packets * TICK_SAMPLES
    assert viewer.at(ReplyText) < viewer.at(SpeechPacket) < asked + 1.0
    assert set(viewer.all(StageTimes)[0].stages) == {"think", "speak"}
    await viewer.aclose()


async def test_speech_never_runs_further_ahead_than_allowed(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    await viewer.send(UserText(text="tell me about saturn"))
    await viewer.wait(SpeechPacket, when=lambda packet: packet.index >= 70)
    arrivals = [at for at, message in viewer.received if isinstance(message, SpeechPacket)]
    for index, at in enumerate(arrivals):
        assert index * 0.02 - (at - arrivals[0]) <= SPEECH_AHEAD_S_MAX + 0.005
    assert arrivals[40] - arrivals[0] < 0.5  # but the first second comes at once
    await viewer.aclose()


class BrokenBus(MemoryBus):
    """A fabric that takes nothing while it is away, as one over a network."""

    away = False

    @property
    def connected(self) -> bool:
        return not self.away

    def publish_nowait(self, subject: str, payload: bytes) -> None:
        if not self.away:
            super().publish_nowait(subject, payload)


async def test_an_answer_waits_for_the_fabric_and_what_was_lost_with_it_is_said_again(shared: Shared) -> None:
    bus = BrokenBus()
    viewer = await Viewer.connect(shared, bus=bus)
    await viewer.send(UserText(text="tell me about saturn"))
    await viewer.wait(SpeechPacket, when=lambda packet: packet.index >= 20)
    lost = sound(viewer, 1)[-10:]
    viewer.received = [(at, message) for at, message in viewer.received if message not in lost]
    bus.away = True
    await asyncio.sleep(0.05)
    before = len(viewer.all(SpeechPacket))
    assert viewer.session.snapshot().phase == "speaking"
    await asyncio.sleep(0.3)
    bus.away = False
    await asyncio.sleep(0.3)
    assert len(viewer.all(SpeechPacket)) == before, "it waits until the POP is heard"
    await viewer.send(Opened(epoch=1, transport="test", missed=True))
    end = await viewer.wait(SpeechEnd)
    assert {packet.index for packet in sound(viewer, 1)} == set(range(end.packets))
    assert [turn.state for turn in viewer.all(TurnState)].count("speaking") == 2, "the face is told where it is"
    await viewer.aclose()


async def test_spoken_question_is_understood_and_answered_at_once(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    spoke = await viewer.speak(await synthesise(shared, "What is your name?"))
    await viewer.wait(SpeechPacket)
    final = await viewer.wait(Transcript, when=lambda transcript: transcript.final)
    assert final.text == "what is your name" and final.turn_id == 1
    assert any("Mira" in reply.text for reply in viewer.all(ReplyText))
    # The floor is 150 ms of silence; the rest of a second is for a machine that does other things as well.
    assert 0.1 < viewer.at(SpeechPacket) - spoke < 1.0
    stages = viewer.all(StageTimes)[0].stages
    assert set(stages) == {"detect", "transcribe", "think", "speak"}
    assert sum(stages.values()) == pytest.approx(1e3 * (viewer.at(SpeechPacket) - spoke), abs=60)
    await viewer.aclose()


async def test_the_voice_follows_the_link_within_an_answer(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    await viewer.send(UserText(text="tell me about saturn"))
    await viewer.wait(SpeechPacket, when=lambda packet: packet.index >= 20)
    await viewer.send(VoiceFormat(bitrate_bps=12_000, loss_percent=0))
    end = await viewer.wait(SpeechEnd, timeout_s=15.0)
    packets = sound(viewer, 1)
    assert len(packets) == end.packets  # none is lost or doubled at the change
    before, after = packets[:20], packets[-60:]
    mean = [sum(len(packet.opus) for packet in part) / len(part) for part in (before, after)]
    assert mean[1] < 0.6 * mean[0]
    await viewer.aclose()


async def test_the_voice_carries_redundancy_on_a_link_that_loses(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    await viewer.send(VoiceFormat(bitrate_bps=24_000, loss_percent=7))
    await viewer.send(UserText(text="Thank you!"))
    await viewer.wait(SpeechEnd)
    packets = sound(viewer, 1)
    assert sum(has_fec(packet.opus) for packet in packets) > 0.4 * len(packets)
    await viewer.aclose()


async def test_an_impossible_voice_is_bounded_and_counted(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    for bitrate_bps, loss_percent in ((0, 0), (-5, 0), (1 << 40, 0), (24_000, -1), (24_000, 101)):
        await viewer.send(VoiceFormat(bitrate_bps=bitrate_bps, loss_percent=loss_percent))
    await viewer.send(UserText(text="Thank you!"))
    await viewer.wait(SpeechEnd)
    assert viewer.session.dropped == 5
    packets = sound(viewer, 1)
    # 24 kbit/s are 60 bytes per packet; nobody may ask for more than the origin's own setting (28 kbit/s).
    assert sum(len(packet.opus) for packet in packets) / len(packets) < 75
    await viewer.aclose()


async def test_barge_in_stops_at_once_and_keeps_what_was_heard(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    await viewer.send(UserText(text="tell me about jupiter"))
    reply = await viewer.wait(ReplyText)
    await viewer.wait(SpeechPacket)
    word = reply.words[2]
    await viewer.send(BargeIn(utterance_id=1, heard_until=word.end - 1))
    await viewer.wait(SpeechCancel)
    sent = len(viewer.all(SpeechPacket))
    heard = " ".join(word.text for word in reply.words[:3])
    assert viewer.session.history()[-1] == {"role": "assistant", "content": heard}
    await asyncio.sleep(0.15)
    assert len(viewer.all(SpeechPacket)) == sent
    # A later, more exact position corrects the history.
    await viewer.send(Playout(utterance_id=1, heard_until=reply.words[3].end))
    await asyncio.sleep(0.05)
    assert viewer.session.history()[-1]["content"] == " ".join(word.text for word in reply.words[:4])
    await viewer.aclose()


async def test_an_interruption_before_any_word_leaves_nothing_in_the_history(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    await viewer.send(UserText(text="tell me about jupiter"))
    await viewer.wait(SpeechPacket)
    await viewer.send(BargeIn(utterance_id=1, heard_until=0, cause="request"))
    await viewer.wait(SpeechCancel)
    assert [message["role"] for message in viewer.session.history()] == ["user"]
    await viewer.aclose()


async def test_typed_text_interrupts_speech_and_is_answered(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    await viewer.send(UserText(text="tell me about saturn"))
    await viewer.wait(SpeechPacket)
    await viewer.send(UserText(text="goodbye"))
    assert (await viewer.wait(SpeechCancel)).utterance_id == 1
    await viewer.wait(SpeechEnd, when=lambda end: end.utterance_id == 2)
    kinds = [
        (type(message), message.utterance_id)
        for _, message in viewer.received
        if isinstance(message, (SpeechCancel, SpeechStart, SpeechPacket))
    ]
    after = kinds[kinds.index((SpeechCancel, 1)) :]
    assert (SpeechPacket, 1) not in after and (SpeechPacket, 2) in after
    await viewer.aclose()


async def test_noise_and_silence_get_no_answer(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    hiss = np.random.default_rng(3).normal(0, 900, 48_000).astype(np.int16)
    await viewer.speak(hiss, tail_s=0.8)
    assert viewer.all(SpeechPacket) == []
    assert viewer.all(Transcript) == []
    await viewer.aclose()


async def test_bad_messages_are_dropped_and_the_session_lives(shared: Shared) -> None:
    viewer = await Viewer.connect(shared)
    await viewer.bus.publish(up_subject("s"), b"\xff garbage")
    await viewer.send(MicrophonePacket(opus=b"", timestamp=0))
    await viewer.send(MicrophonePacket(opus=b"\xff" * 7, timestamp=960))
    await viewer.send(UserText(text="x" * 2_001))
    await viewer.send(UserText(text="  "))
    await viewer.send(Playout(utterance_id=99, heard_until=5))
    await viewer.send(BargeIn(utterance_id=99, heard_until=5))
    await viewer.send(UserText(text="thanks"))
    await viewer.wait(SpeechEnd)
    assert viewer.session.dropped >= 4
    await viewer.aclose()


async def test_a_dead_voice_is_restarted_and_the_clause_is_spoken(shared: Shared) -> None:
    assert shared.voice is not None
    viewer = await Viewer.connect(shared)
    shared.voice.process.kill()
    await viewer.send(UserText(text="thanks"))
    await viewer.wait(SpeechEnd)
    assert len(viewer.all(SpeechPacket)) > 20
    await viewer.aclose()


async def test_a_dead_recogniser_is_admitted_and_restarted(shared: Shared) -> None:
    assert shared.ears is not None
    viewer = await Viewer.connect(shared)
    pcm = await synthesise(shared, "How far away is the moon?")
    talking = asyncio.create_task(viewer.speak(pcm, tail_s=1.0))
    await asyncio.sleep(0.9)
    before = shared.ears.ears[0].process.restarts
    shared.ears.ears[0].process.kill()
    await talking
    assert (await viewer.wait(Fault)).code == "stt-failed"
    reply = await viewer.wait(ReplyText)
    assert "ears" in reply.text or "catch" in reply.text
    await shared.ears.ears[0].process.wait_up(10)
    assert shared.ears.ears[0].process.restarts == before + 1
    await viewer.send(BargeIn(utterance_id=1, heard_until=0))
    await viewer.speak(pcm, tail_s=0.8)
    final = await viewer.wait(Transcript, when=lambda transcript: transcript.final)
    assert final.text == "how far away is the moon"
    await viewer.aclose()


class Hoarse(VoiceWorker):
    """Dies of the first clauses."""

    def __init__(self, shared: Shared, deaths: int) -> None:
        super().__init__()
        self._shared = shared
        self._deaths = deaths

    async def speak(self, text: str, voice: Voice, *, silent: bool = False) -> Clause:
        if self._deaths:
            self._deaths -= 1
            raise WorkerGoneError("the voice's worker has died")
        assert self._shared.voice is not None
        return await self._shared.voice.speak(text, voice)


async def test_fifty_sessions_leave_nothing_behind(shared: Shared) -> None:
    async def one(index: int) -> None:
        viewer = await Viewer.connect(shared, f"s{index}")
        await viewer.send(UserText(text="thanks"))
        await viewer.wait(SpeechPacket)
        await viewer.send(Closed(reason="test"))
        async with asyncio.timeout(3):
            await viewer.session.closed.wait()
        await viewer.aclose()

    for index in range(10):  # allocators and caches fill
        await one(index)
    tasks = {task.get_name() for task in asyncio.all_tasks()}
    gc.collect()
    before = _resident_bytes()
    for index in range(50):
        await one(index)
    gc.collect()
    await asyncio.sleep(0.05)
    left = [task for task in asyncio.all_tasks() if task.get_name() not in tasks]
    assert not left, left
    grown = _resident_bytes() - before
    assert grown < 8 * 1024 * 1024, f"{grown / 1024:.0f} KiB in 50 sessions"


async def test_a_voice_that_fails_again_and_again_ends_the_turn_and_not_the_session(shared: Shared) -> None:
    viewer = await Viewer.connect(dataclasses.replace(shared, voice=Hoarse(shared, deaths=4), openings={}))
    await viewer.send(UserText(text="what is a planetarium"))  # two clauses, asked for twice each
    await viewer.wait(TurnState, when=lambda turn: turn.state == "idle")
    assert [fault.code for fault in viewer.all(Fault)] == ["tts-failed"] * 4
    assert viewer.all(SpeechPacket) == []
    await viewer.send(UserText(text="thanks"))
    await viewer.wait(SpeechEnd)
    assert viewer.all(Fault)[4:] == []
    await viewer.aclose()


async def test_a_character_that_loses_its_voice_says_so_with_what_was_made_ready(shared: Shared) -> None:
    apology = shared.characters["mira"].apologies["tts-failed"]
    async with asyncio.timeout(5):
        while any(clause not in shared.openings["mira"] for clause in split_clauses(apology)):
            await asyncio.sleep(0.01)
    viewer = await Viewer.connect(dataclasses.replace(shared, voice=Hoarse(shared, deaths=4)))
    await viewer.send(UserText(text="what is a planetarium"))  # its first clause is ready as well
    end = await viewer.wait(SpeechEnd)
    assert [fault.code for fault in viewer.all(Fault)] == ["tts-failed"] * 2
    assert [reply.text for reply in viewer.all(ReplyText)][1:] == split_clauses(apology)
    assert len(viewer.all(SpeechPacket)) == end.packets > 100
    await viewer.aclose()


async def test_speech_without_words_is_admitted(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Hearing.settle
    monkeypatch.setattr(Hearing, "settle", lambda hearing, report: settle(hearing, structs.replace(report, text="")))
    viewer = await Viewer.connect(shared)
    await viewer.speak(await synthesise(shared, "Some words that nobody understands."))
    reply = await viewer.wait(ReplyText)
    assert any(line.startswith(reply.text) for line in shared.characters["mira"].not_heard)
    assert viewer.all(Fault) == []
    assert [message["role"] for message in viewer.session.history()] in ([], ["assistant"])
    await viewer.aclose()


async def test_two_viewers_who_speak_at_once_are_both_answered(shared: Shared) -> None:
    texts = {"one": "How far away is the moon?", "other": "What is a black hole?"}
    viewers = {name: await Viewer.connect(shared, name) for name in texts}
    sounds = {name: await synthesise(shared, text) for name, text in texts.items()}
    await asyncio.gather(*(viewers[name].speak(sounds[name]) for name in texts))
    for name, text in texts.items():
        final = await viewers[name].wait(Transcript, when=lambda transcript: transcript.final)
        assert final.text == text.lower().rstrip("?")
        await viewers[name].wait(SpeechPacket)
        await viewers[name].aclose()


async def test_a_viewer_who_has_gone_quiet_frees_the_session(shared: Shared) -> None:
    bus = MemoryBus()
    session = DialogueSession("quiet", shared.characters["mira"], shared, bus, open_s_max=0.05, idle_s_max=0.4)
    await session.start()
    began = time.monotonic()
    await bus.publish(up_subject("quiet"), encode(Opened(epoch=1, transport="test")))
    await asyncio.sleep(0.3)
    await bus.publish(up_subject("quiet"), encode(Playout(utterance_id=1, heard_until=0)))
    async with asyncio.timeout(3):
        await session.closed.wait()
    assert session.reason == "idle"
    assert time.monotonic() - began >= 0.7


async def test_a_ticket_nobody_uses_frees_its_session(shared: Shared) -> None:
    session = DialogueSession("unused", shared.characters["mira"], shared, MemoryBus(), open_s_max=0.05)
    await session.start()
    async with asyncio.timeout(3):
        await session.closed.wait()
    assert session.reason == "not-opened"
