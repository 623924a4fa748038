"""What one session's frame needs."""

from __future__ import annotations

import msgspec

from core.session.state import FaceState

__all__ = ["AnimatorRow"]


class AnimatorRow(msgspec.Struct, gc=False):
    """See the module.

    Attributes:
        slot: from `Animator.open`.
        media_time: unwrapped 48 kHz ticks of this frame.
        state: what the face is doing.
        utterance_id: the utterance whose sound this frame accompanies, 0 = silence.
        utterance_ticks: position of this frame within that utterance; negative shortly before its sound.
        log_mel: 40 bytes of `core.speech.features`, or b"" (any other length counts as b"").
        user_level: the user's speech energy in [0, 1].
        heard: what the student hears with this frame, from `core.stream.speech_track.SpeechTrack.hear`: log-mel through
            LOOKAHEAD_FRAMES after it that no frame before had; b"" when nothing is new, and the mouth stands still.
    """

    slot: int
    media_time: int
    state: FaceState
    utterance_id: int = 0
    utterance_ticks: int = 0
    log_mel: bytes = b""
    user_level: float = 0.0
    heard: bytes = b""
