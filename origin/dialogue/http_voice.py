"""A voice behind HTTP: text in, WAV out, as Piper's server does it. Piper, Kokoro and servers of one's own speak so.

Pipecat has such a service, but its module loads Piper itself (GPL-3.0) into the process; this one only knows the API:
`POST /synthesize` (older Pipers: `POST /`) with `{"text", "voice"}`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import httpx
from pipecat.frames.frames import Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from core.limits import CLAUSE_S_MAX, MEDIA_CLOCK_HZ
from origin.dialogue.frames import FaultFrame
from origin.dialogue.wav_stream import WavError, WavStream

__all__ = ["HttpVoiceTTSService"]

_log = logging.getLogger(__name__)

_PATHS: Final = ("/synthesize", "/")
_OVERLOADED: Final = frozenset({429, 503})
_RETRY_S: Final = 0.3
"""A server that was restarted or has too much to do is asked once more after this."""


class _VoiceError(Exception):
    """A sentence for people: what the voice did wrong."""


class _NotNowError(_VoiceError):
    """Before any sound, in a way that may be over in a moment."""


class HttpVoiceTTSService(TTSService):
    """See the module. Whatever goes wrong is a FaultFrame "tts-failed"; the next clause is tried again.

    Args:
        url: gives the server's address, "" while it has none.
        voice: what to ask for; "": the server's usual one.
        timeout_s: longest wait for the first sound, and for more of it.
    """

    def __init__(self, url: Callable[[], str], voice: str, timeout_s: float) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            stop_frame_timeout_s=timeout_s + 1.0,
            sample_rate=MEDIA_CLOCK_HZ,
            max_consecutive_zero_audio_contexts=0,
            settings=TTSSettings(model=None, voice=voice or None, language=None),
        )
        self._url = url
        self._voice_name = voice
        self._timeout_s = timeout_s
        self._path = 0
        self._client = httpx.AsyncClient(timeout=timeout_s, trust_env=False)

    async def cleanup(self) -> None:
        """See FrameProcessor; also closes the connections."""
        await super().cleanup()
        await self._client.aclose()

    async def on_turn_context_completed(self) -> None:
        """See TTSService. All sound is there by now, even if it is none: nobody waits for more."""
        self._is_yielding_frames_synchronously = True
        await super().on_turn_context_completed()

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """See TTSService."""
        try:
            async with aclosing(self._speak_twice(text.strip())) as sound:
                async for audio, rate_hz, channels in sound:
                    yield TTSAudioRawFrame(audio, rate_hz, channels, context_id=context_id)
        except _VoiceError as error:
            _log.warning("%s", error)
            await self.push_frame(FaultFrame(code="tts-failed", message=str(error)))

    async def _speak_twice(self, text: str) -> AsyncGenerator[tuple[bytes, int, int], None]:
        for last in (False, True):
            try:
                async with aclosing(self._speak(text)) as sound:
                    async for piece in sound:
                        yield piece
            except _NotNowError:
                if last:
                    raise
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _speak(self, text: str) -> AsyncGenerator[tuple[bytes, int, int], None]:
        wav = WavStream()
        seconds = 0.0
        try:
            async with aclosing(self._answer(text)) as pieces:
                async for data in pieces:
                    sound = wav.push(data)
                    if sound:
                        seconds += len(sound) / (2 * wav.channels * wav.rate_hz)
                        yield sound, wav.rate_hz, wav.channels
                    if seconds > CLAUSE_S_MAX:
                        raise _VoiceError(f"The voice spoke one clause for more than {CLAUSE_S_MAX:.0f} s.")
        except WavError as error:
            raise _VoiceError(f"The voice sent something else than sound: {error}.") from None
        except (httpx.TimeoutException, TimeoutError):
            said = "broke off" if seconds else "did not answer"
            raise _VoiceError(f"The voice {said}: nothing came for {self._timeout_s:g} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if seconds:
                raise _VoiceError(f"The voice broke off ({type(error).__name__}).") from None
            raise _NotNowError(f"The voice cannot be reached ({type(error).__name__}).") from None
        if not seconds:
            raise _VoiceError("The voice sent no sound.")
        if wav.missing:
            raise _VoiceError("The voice broke off in the middle of a clause.")

    async def _answer(self, text: str) -> AsyncGenerator[bytes, None]:
        body = {"text": text, "voice": self._voice_name} if self._voice_name else {"text": text}
        while True:
            url = self._url().rstrip("/")
            if not url:
                raise _NotNowError("The voice's server is not up.")
            async with self._client.stream("POST", url + _PATHS[self._path], json=body) as response:
                status = response.status_code
                if status in (404, 405) and self._path + 1 < len(_PATHS):
                    self._path += 1
                    continue
                if status in _OVERLOADED:
                    raise _NotNowError(f"The voice has too much to do (HTTP {status}).")
                if status != httpx.codes.OK:
                    raise _VoiceError(f"The voice refused a clause (HTTP {status}).")
                async for data in response.aiter_bytes():
                    yield data
            return
