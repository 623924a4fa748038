"""Every bound in the system, with its unit in its name and its reason beside it. One home for each number."""

from __future__ import annotations

from typing import Final

# --- media clock -------------------------------------------------------------------------------------------------
MEDIA_CLOCK_HZ: Final = 48_000
"""Ticks per second of media timestamps (RFC 7587: Opus over RTP always uses 48 kHz)."""
PTIME_MS: Final = 20
TICK_SAMPLES: Final = 960
"""48 kHz ticks in one access unit (20 ms)."""
TICK_S: Final = 0.020
PHASES_PER_TICK: Final = 4
"""The conductor serves a quarter of the sessions every 5 ms."""
IDLE_FRAMES_PER_PACKET: Final = 4
"""An idle track sends one 80 ms packet (four 20 ms frames); fewer packets would starve NetEQ."""

# --- packets -----------------------------------------------------------------------------------------------------
ACCESS_UNIT_SIZE_BYTES_MAX: Final = 1_150
"""libsrtp raises above ~1,250 B and QUIC datagrams block above ~1,150 B."""
MICROPHONE_PACKET_SIZE_BYTES_MAX: Final = 1_388
FRAME_HISTORY: Final = 64
"""Decoded frames a receiver keeps as possible baselines."""

# --- rig ---------------------------------------------------------------------------------------------------------
BLENDSHAPE_COUNT: Final = 52
JOINT_COUNT: Final = 7

# --- speech ------------------------------------------------------------------------------------------------------
LOG_MEL_BANDS: Final = 40
SPEECH_AHEAD_S_MAX: Final = 1.0
"""How far the origin may run ahead of real time with an utterance."""
SPEECH_QUEUE_PACKETS_MAX: Final = 150
"""Per session at the POP; overflow drops the newest packet and counts it."""
PHONEMES_PER_PACKET_MAX: Final = 16
TEXT_CHARS_MAX: Final = 2_000
"""Longest text a viewer may type."""

# --- fabric ------------------------------------------------------------------------------------------------------
FABRIC_MESSAGE_SIZE_BYTES_MAX: Final = 262_144
FABRIC_QUEUE_MESSAGES_MAX: Final = 2_048
"""Per subscription; overflow drops the oldest and counts it."""

# --- signalling --------------------------------------------------------------------------------------------------
SDP_SIZE_BYTES_MAX: Final = 65_536
CONTROL_MESSAGE_SIZE_BYTES_MAX: Final = 16_384
TOKEN_SIZE_BYTES_MAX: Final = 4_096
TICKET_LIFETIME_S: Final = 60
SESSION_IDLE_S_MAX: Final = 900
LISTENING_S_MAX: Final = 4.0
"""A face that hears nothing more goes back to idle."""
THINKING_S_MAX: Final = 15.0
"""A face whose origin says nothing more stops thinking; longer than the slowest spoken apology takes to come."""
IDLE_THIN_AFTER_S: Final = 0.4
"""An idle track keeps 20 ms packets this long, so that the mouth and the mood settle at full rate."""
CUT_FLAG_S: Final = 0.4
"""How long packets say CUT after a barge-in: longer than any jitter buffer holds."""
MICROPHONE_PREROLL_PACKETS: Final = 20
"""Microphone packets kept while nobody speaks (400 ms), so that the first consonant reaches the origin."""
MICROPHONE_HANGOVER_S: Final = 1.5
"""The microphone still goes to the origin this long after the user's last speech: the origin ends the turn."""
PLAYOUT_REPORT_S: Final = 0.2
"""How often the origin learns what the viewer has heard."""
UPLINK_QUEUE_MESSAGES_MAX: Final = 4_096
"""Messages of all sessions of a POP that wait for the bus; overflow drops the oldest and counts it."""
TICKS_BEHIND_MAX: Final = 10
"""A conductor that is later than this skips ticks instead of sending late."""
