"""What a browser saw and heard of a stretch of conversation, and what can be read from that: lip sync, barge-in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.avatar.frame import AnimationFrame
from core.avatar.rig import BLENDSHAPE_INDEX
from core.limits import MEDIA_CLOCK_HZ
from core.stream.playout_position import unwrap_timestamp
from core.wire.access_unit import AccessUnitFlags, decode_access_unit
from core.wire.frame_codec import FrameDecoder
from loadtests.audio import VoiceDecoder
from loadtests.lip_sync import Curve, LipSync, assemble, lip_sync, loudness
from tests.e2e.browser import Sound, Visit

__all__ = ["AUDIBLE_RMS", "Recorded", "lip_sync_of", "reaction_ms", "record", "sent_jaw_and_voice", "understood"]

AUDIBLE_RMS = 0.01
_JAW = BLENDSHAPE_INDEX["jawOpen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the browser saw and heard of one stretch of the conversation; times are performance.now() in seconds.

    Attributes:
        packets: (RTP timestamp, payload) as the worker got them, from the connection's first on.
        drawn, received, gains: the SDK's trace.
        voice: the character's voice before the page's own volume.
        microphone: what the microphone captured.
        transcript: text of the page's transcript.
        output_latency_s: what the browser says its loudspeaker adds.
    """

    packets: list[tuple[int, bytes]]
    drawn: list[dict[str, Any]]
    received: list[dict[str, Any]]
    gains: list[dict[str, Any]]
    voice: Sound
    microphone: Sound
    transcript: str
    output_latency_s: float


async def record(page: Visit) -> Recorded:
    """What there is to see and hear now."""
    stats = await page.page.evaluate("window.visavis.session.stats()")
    return Recorded(
        packets=await page.packets(),
        drawn=await page.trace("drawn"),
        received=await page.trace("received"),
        gains=await page.trace("gains"),
        voice=await page.heard("voice"),
        microphone=await page.heard("microphone"),
        transcript=await page.page.inner_text("#transcript"),
        output_latency_s=float(stats["outputLatencyMs"] or 0.0) / 1e3,
    )


def reaction_ms(recorded: Recorded) -> tuple[float, float]:
    """Milliseconds from the user's acoustic onset to a ducked and to a silent voice; inf where it never happened."""
    began = next(u["atMs"] for u in recorded.received if u["speech"]) / 1e3
    onset = recorded.microphone.first_above(AUDIBLE_RMS, began)
    assert onset is not None, "the user speaks into the answer"
    later = [(gain["atMs"] - onset * 1e3, gain["gain"]) for gain in recorded.gains if gain["atMs"] > onset * 1e3]
    arrived = [
        next((u["atMs"] - onset * 1e3 for u in recorded.received if u[flag] and u["atMs"] > onset * 1e3), np.inf)
        for flag in ("duck", "cut")
    ]
    found = [next((at for at, gain in later if gain <= level), np.inf) for level in (0.5, 0.01)]
    print(f"barge-in, ms after onset: duck, cut arrived {np.round(arrived)}, ducked, silent {np.round(found)}")
    return found[0], found[1]


def sent_jaw_and_voice(recorded: Recorded) -> tuple[Curve, list[tuple[float, NDArray[np.float32]]]]:
    """Jaw and voice as sent, on the media clock in seconds, decoded here and not by the page."""
    frames, voice = FrameDecoder(), VoiceDecoder()
    jaw: list[tuple[float, float]] = []
    sound: list[tuple[float, NDArray[np.float32]]] = []
    newest = recorded.packets[0][0]
    listened_from = recorded.received[0]["rtpTimestamp"]
    for timestamp, payload in recorded.packets:
        newest = unwrap_timestamp(timestamp, newest)
        unit = decode_access_unit(payload)
        assert unit is not None, "every downlink packet is an access unit"
        decoded = frames.decode(unit.frame, unit.sequence_number)
        if isinstance(decoded, AnimationFrame):
            jaw.append((newest / MEDIA_CLOCK_HZ, float(decoded.weights[_JAW])))
        pcm = voice.decode(payload)
        assert pcm is not None, "every access unit is a valid Opus packet"
        if AccessUnitFlags.SPEECH in unit.flags and newest >= unwrap_timestamp(listened_from, newest):
            sound.append((newest / MEDIA_CLOCK_HZ, pcm))
    points = np.array(jaw)
    return Curve(points[:, 0], points[:, 1]), sound


def lip_sync_of(recorded: Recorded) -> LipSync | None:
    """Drawn jaw and heard voice against sent jaw and sent voice."""
    sent_jaw, sound = sent_jaw_and_voice(recorded)
    media_begin = sound[0][0]
    loud_at = recorded.voice.first_above(AUDIBLE_RMS, recorded.voice.times_s[0])
    assert loud_at is not None
    shift = loud_at - media_begin
    stretch = recorded.voice.between(loud_at - 0.2, loud_at + (sound[-1][0] - media_begin) + 0.3)
    heard = stretch.curve().shifted(recorded.output_latency_s)
    drawn = np.array([(sample["atMs"] / 1e3, sample["jawOpen"]) for sample in recorded.drawn])
    return lip_sync(
        sent_jaw=sent_jaw.shifted(shift),
        drawn_jaw=Curve(drawn[:, 0], drawn[:, 1]),
        sent_voice=loudness(*assemble(sound)).shifted(shift),
        heard_voice=heard,
    )


def understood(transcript: str) -> bool:
    """The name was asked for: word by word, or at least so that the answer is the right one."""
    text = transcript.lower()
    return any(part in text for part in ("what is your name", "my name is mira", "i'm mira, your guide"))
