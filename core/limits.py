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
KEYFRAME_COPY_S_MIN: Final = 0.2
"""Between two reliable copies of keyframes: a viewer may ask with every packet, and each copy costs a stream."""

# --- forward error correction --------------------------------------------------------------------------------------
FEC_WINDOW_UNITS_MAX: Final = 15
"""How far back redundancy reaches (300 ms at 50 packets/s): four bits on the wire."""
FEC_HISTORY_UNITS: Final = 32
"""Units a receiver keeps for repairs: two windows, so that symbols that came early still help late ones."""

# --- rig ---------------------------------------------------------------------------------------------------------
BLENDSHAPE_COUNT: Final = 52
JOINT_COUNT: Final = 7

# --- speech ------------------------------------------------------------------------------------------------------
LOG_MEL_BANDS: Final = 40
SPEECH_AHEAD_S_MAX: Final = 1.0
"""How far the origin may run ahead of real time with an utterance."""
VOICE_BITRATE_BPS_MIN: Final = 6_000
"""Of the character's voice: below it Opus speaks no words."""
VOICE_BITRATE_BPS_MAX: Final = 64_000
"""Beyond it nobody hears a difference; a packet of it with its redundancy still fits."""
VOICE_PACKET_SIZE_BYTES_MAX: Final = 900
"""The voice in one packet: beside it a whole face and the packet's own headers still fit. Larger ones are dropped."""
VOICE_FORMAT_S_MIN: Final = 2.0
"""Between two wishes for another encoding of the voice."""
SPEECH_QUEUE_PACKETS_MAX: Final = 150
"""Per session at the POP; overflow drops the newest packet and counts it."""
LIVE_QUEUE_PACKETS_MAX: Final = 12
"""Packets of a live voice that wait at the POP: 240 ms, of which the student's lookahead takes 60. Beyond that the
newest is left out and counted."""
LIVE_JITTER_PACKETS: Final = 1
"""What a live voice waits for beyond the student's lookahead, so that a packet a little late is still heard in time."""
LIVE_SILENCE_S: Final = 0.07
"""A live voice that sends nothing for so long has ended its utterance, while what waits of it still plays."""
SPEECH_STALL_S_MAX: Final = 15.0
"""An unfinished utterance that waits this long for its next packet is over: its origin is gone, or its end was lost."""
PHONEMES_PER_PACKET_MAX: Final = 16
ESTIMATED_AHEAD_S_MAX: Final = 0.3
"""The same while its phonemes are estimates that will be better in a moment: what has left cannot be corrected."""
ALIGNMENTS_WAITING_MAX: Final = 16
"""Clauses whose phonemes are being looked for, all sessions together; further ones keep their estimate."""
ALIGNED_S_MAX: Final = 30.0
"""So much of one clause's sound is aligned; the phonemes after that are spread over the rest."""
ALIGN_EVERY_S: Final = 0.8
"""So much new sound of a clause that is still coming in is worth another look."""
CLAUSE_S_MAX: Final = 120.0
"""Sound of one clause; a voice that goes on longer is cut off there."""
TEXT_CHARS_MAX: Final = 2_000
"""Longest text a viewer may type."""
ADAPT_MATERIAL_S_MIN: Final = 20.0
"""Recordings to fit a character to: with less, the held-out quarter says nothing."""
ADAPT_MATERIAL_S_MAX: Final = 1_800.0
"""Beyond it nothing is gained and the memory of a small machine ends."""
RECORDING_S_MAX: Final = 600.0
"""One WAV file of a recording."""
RECORDING_RATE_HZ_MIN: Final = 16_000
"""What a recording must have been sampled with: log-mel reaches to 7,800 Hz."""
RECORDING_AUDIBLE_PART_MIN: Final = 0.05
"""Of a recording's frames; below it, it is silence."""
RECORDING_CLIPPED_PART_MAX: Final = 0.01
"""Samples at full scale: more is distortion that no microphone has to make."""
RECORDING_OFFSET_MAX: Final = 0.05
"""Mean of a recording's samples, of full scale: a sound card with more is broken."""

# --- agents ------------------------------------------------------------------------------------------------------
AGENT_TOKEN_LIFETIME_S: Final = 60.0
"""A session whose agent has not connected by then ends: nobody would ever answer in it."""
AGENT_HELLO_S_MAX: Final = 5.0
"""From a socket's opening to its hello."""
AGENT_HELLOS_WAITING_MAX: Final = 64
"""Sockets that have not said hello yet; beyond that new ones are refused."""
AGENT_GRACE_S: Final = 15.0
"""A session whose agent is lost waits this long for it; longer than a process takes to start again."""
AGENT_PING_S: Final = 5.0
"""How often an agent is asked whether it is there; one that does not answer within twice as long is lost."""
AGENT_MISSED_MAX: Final = 8
"""Texts that a viewer types while its agent is away; the oldest are forgotten."""
AGENT_MESSAGE_SIZE_BYTES_MAX: Final = 1_048_576
"""One message, sound included: eleven seconds of mono at 48 kHz."""
AGENT_CONTROL_SIZE_BYTES_MAX: Final = 65_536
"""One message of text."""
AGENT_SOUND_S_MAX: Final = 60.0
"""Sound that waits to be spoken, all utterances together; an agent that sends more is a flood and is closed."""
AGENT_UTTERANCES_MAX: Final = 64
"""Utterances that wait to be spoken; the same."""
AGENT_MESSAGES_PER_S_MAX: Final = 500
"""Messages of one agent, sound included, for as long as it likes: ten times real time in 20 ms packets."""
AGENT_MESSAGES_BURST_MAX: Final = 4_000
"""The same at once: a minute of 20 ms packets with their words. Beyond that it is a flood and is closed."""
AGENT_STALL_S_MAX: Final = 5.0
"""An utterance whose sound stops this long is over; until then its mouth rests."""
AGENT_ERRORS_MAX: Final = 64
"""Messages of one connection that could not be used; the next one closes it."""
AGENT_EVENTS_MAX: Final = 1_024
"""What waits to be read by an agent (20 s of microphone); one that reads no more is closed and may come back."""
AGENT_PHONEMES_S_MAX: Final = 0.15
"""How long an utterance's first sound waits for the phonemes of its words; they come within a few milliseconds."""
AGENT_TEXT_S_MAX: Final = 0.04
"""How long it waits for the end of a text without times, which may follow at once; then it goes by the sound alone."""
AGENT_WORDS_MAX: Final = 512
"""Words, or phonemes, in one message."""
AGENT_SPANS_MAX: Final = 20_000
"""Words and phonemes of one utterance: half an hour of talk. One that says more is a flood."""
AGENT_TEXTS_MAX: Final = 64
"""Texts that wait for their phonemes; beyond that the face goes by the sound alone."""
AGENT_TIME_S_MAX: Final = 3_600.0
"""Latest time within an utterance that an agent may name."""

# --- motion ------------------------------------------------------------------------------------------------------
WEIGHT_STEP_MAX: Final = 0.28
"""Largest change of any weight per 20 ms: lips close at up to 250 mm/s over a range of about 20 mm (Löfqvist 2000)."""
LID_STEP_MAX: Final = 0.5
"""For lids and the gaze weights: a blink shuts in 70 ms, fastest in its middle."""
JOINT_STEP_RAD_MAX: Final = 0.05
"""Largest turn of neck, head, spine or shoulder about one axis per 20 ms: 143 degrees a second, a brisk nod."""
EYE_STEP_RAD_MAX: Final = 0.2
"""Largest turn of an eye per 20 ms: saccades reach 500 to 600 degrees a second."""
NETEQ_DELAY_S: Final = 0.03
"""What a browser's own jitter buffer lets sound wait, until it says more: repairs that take longer are useless."""
PLAYOUT_DELAY_MS_MAX: Final = 133.0
"""The most that our own playout lets sound and motion wait for what is late: four frames of 30 per second."""
REPAIR_SLACK_MS: Final = 20.0
"""How much of PLAYOUT_DELAY_MS_MAX redundancy leaves unused: a packet that carries a repair is as late as any other."""
JITTER_BUFFER_PACKETS_MAX: Final = 256
"""Packets of sound that wait for their turn in our own playout (5 s); overflow drops the newest and counts it."""
PLAYOUT_FRAMES_MAX: Final = 256
"""Decoded frames that wait to be drawn (5 s); overflow drops the oldest."""
MOUTH_SPANS_KEPT_MAX: Final = 128
"""Newest phonemes of an utterance that a POP keeps for another that may take the face over; older ones move nothing."""
MOUTH_CURVE_AHEAD_S_MAX: Final = 60.0
"""Phonemes further ahead of the sound than this are refused and counted."""
MOUTH_SOUNDS_WAITING_MAX: Final = 2_048
"""Sounds of an utterance that wait to come near (a minute of the fastest speech); more are refused and counted."""
MOUTH_SOUNDS_NEAR_MAX: Final = 16
"""Sounds that move a mouth at once. The fastest speech has 14 of them within reach; beyond, the oldest give way."""
STUDENT_CATCH_UP_FRAMES_MAX: Final = 8
"""Frames that the student hears at once of a session that it has not heard yet; older ones are left out."""
UTTERANCES_PER_SLOT_MAX: Final = 4
"""Utterances whose phonemes the animator keeps per session; the oldest is forgotten first."""

UTTERANCES_PER_EPOCH_MAX: Final = 65_536
"""Numbers of turns and utterances that one owner of a session may use before they could be taken for the next one's."""

# --- leases ------------------------------------------------------------------------------------------------------
EPOCH_MAX: Final = (1 << 31) - 1
"""Fencing epochs travel as 32-bit numbers; at one a second they last for 68 years."""
EPOCH_BEGIN_WALL_S: Final = 1_735_689_600
"""1 January 2025: epochs of resources without a record count from here, so that they fit into 32 bits."""
HEARTBEAT_S: Final = 2.0
"""How often a holder proves that it lives; one proof renews all its leases."""
LEASE_TTL_S: Final = 6.0
"""A holder whose last proof is older is dead: two lost heartbeats are none."""
LEASE_SKEW_S: Final = 0.5
"""A holder stops this long before its time is over, by its own clock: clocks differ, and stopping takes a moment."""
LEASE_GRACE_S: Final = 1.0
"""Others take over this long after it, by theirs. More than the skew."""
LEASE_TRIES_MAX: Final = 8
"""Rounds of read and compare-and-set before a caller is told that it cannot be known."""
LEASE_RECORD_SIZE_BYTES_MAX: Final = 4_096
RESERVATION_S: Final = 5.0
"""A warm slot that a ticket was minted for waits this long for its viewer."""

HANDED_OVER_S_MAX: Final = 0.3
"""Whoever takes a conversation over waits this long for the POP to say what of the last answer is there."""
HANDED_OVER_TRIES: Final = 8
"""So many times; a POP whose way to the origin was broken is there a second or two later."""
RELEASE_S_MAX: Final = 20.0
"""A conversation that is to move waits this long for the end of a turn; then the turn is interrupted."""

CHECKPOINT_S: Final = 0.1
"""Between two writes of a conversation's memory: so much of what was said last may be forgotten with its process."""
WORKER_STATUS_S: Final = 1.0
"""How often a worker says how it is; it says so at once when something changes."""
WORKER_COMMAND_S_MAX: Final = 3.0
"""A worker that does not answer a command in this time gets the session back that it may have begun: it is ended."""
WORKER_WAIT_S_MAX: Final = 8.0
"""How long a ticket waits for a worker that is still warming up, before the client is told to ask again."""
WORKER_RECOVERY_S_MAX: Final = 30.0
"""How long a conversation whose worker is lost waits for another one; then it ends."""
WORKER_ORPHAN_S_MAX: Final = 60.0
"""A worker that sees no fabric for so long ends: whoever started it is gone for good."""
WORKER_BACKOFF_S_MIN: Final = 0.5
WORKER_BACKOFF_S_MAX: Final = 15.0
"""Before a worker that has ended is started again; doubled from the one to the other while it keeps ending."""
WORKER_STEADY_S: Final = 30.0
"""A worker that lived this long starts its backoff anew."""
WORKER_SLOTS_MAX: Final = 64
"""Conversations of one worker: beyond that a process with one interpreter cannot speak to all in time."""

# --- pool and placement --------------------------------------------------------------------------------------------
COLD_START_SHARE_MAX: Final = 0.001
"""Of all arrivals, how many may find no warm slot in forecast mode."""
POOL_SLOTS_MAX: Final = 100_000
POP_LOAD_MAX: Final = 0.7
"""A POP that is busier gets nobody new: what is left is for those who are there."""
POP_BEAT_S: Final = 2.0
"""How often a POP writes its record: that it lives, and how busy it is. Two lost ones are none."""
POP_SILENCE_S_MAX: Final = 5.0
"""A POP whose heartbeat is older gets nobody new; those who are there stay."""
RTT_CLASSES_MS: Final = (20.0, 40.0, 80.0, 160.0, 320.0)
"""Upper ends of the round-trip classes: within one, nobody hears a difference, and affinity and load decide."""
PLACEMENT_CANDIDATES_MAX: Final = 3
PLACEMENT_RETRY_AFTER_S: Final = 2
"""What a client that is refused for lack of room is told, at first; a warm-up takes about as long."""

# --- handoff -------------------------------------------------------------------------------------------------------
HANDOFF_STATE_SIZE_BYTES_MAX: Final = 16_384
HANDOFF_STEP_S_MAX: Final = 5.0
"""Reserving and copying; the viewer has not noticed anything by then."""
HANDOFF_INVITED_S_MAX: Final = 10.0
"""From GOAWAY to the first frame of the new side: a new connection on a bad network."""
HANDOFF_OVERLAP_S_MAX: Final = 0.3
"""Both sides send for at most this long: from the first decodable preview to the commit."""

HANDOFF_SUCCESSOR_S_MAX: Final = 30.0
"""A POP that a session was to move to lets go after this: its broker is gone, or the way to it. A move needs less."""
HANDOFF_BEHIND_S_MAX: Final = 0.5
"""A successor that is further behind what the viewer has from the owner catches up by this much, once."""
HANDOFFS_AT_ONCE_MAX: Final = 64
"""Moves that one broker has under way; more are asked to come again."""
DRAIN_MOVES_AT_ONCE: Final = 4
"""Sessions that a POP moves at a time: each costs the other one a handshake."""
DRAIN_RETRY_S: Final = 1.0
"""Between two attempts to move a session that could not be moved."""
DRAIN_DEADLINE_S_MAX: Final = 3_600.0

SUCCESSION_UNITS_MAX: Final = 256
"""Units of either track that a viewer remembers while its session moves: five seconds; the oldest are forgotten."""

# --- fabric ------------------------------------------------------------------------------------------------------
FABRIC_MESSAGE_SIZE_BYTES_MAX: Final = 262_144
FABRIC_QUEUE_MESSAGES_MAX: Final = 2_048
"""Per subscription; overflow drops the oldest and counts it."""
FABRIC_CALL_S_MAX: Final = 5.0
"""A store that is alive answers within milliseconds; one that does not in this time is hung or out of reach."""

# --- signalling --------------------------------------------------------------------------------------------------
SDP_SIZE_BYTES_MAX: Final = 65_536
ICE_CANDIDATES_MAX: Final = 32
"""Remote candidates per link: each one makes the POP send checks to an address the viewer chose."""
LINK_CONNECT_S_MAX: Final = 15.0
"""From the answer to DTLS being up."""
LINK_SILENCE_S_MAX: Final = 12.0
"""A link that receives nothing this long is lost; browsers report every 5 s at the latest (RFC 3550 section 6.2)."""
LINK_INBOX_DATAGRAMS_MAX: Final = 256
"""Datagrams of one link that wait to be handled; anybody may send to an open port. Overflow drops the newest."""
CAPSULE_SIZE_BYTES_MAX: Final = 1_028
"""A close capsule: its code and a reason of at most 1,024 bytes (draft-ietf-webtrans-http3 section 6)."""
QUIC_HALF_OPEN_MAX: Final = 256
"""Connections whose handshake is under way; each costs about 5 ms of work. Beyond that first packets are dropped."""
QUIC_HALF_OPEN_PER_ADDRESS_MAX: Final = 16
"""The same for one IP address: a network's viewers may share one, but not all arrive within one round trip."""
QUIC_BATCH_DATAGRAMS_MAX: Final = 64
"""Datagrams taken from the socket at a time, so that a flood leaves the conductor its turn."""
QUIC_STREAM_WINDOW_SIZE_BYTES: Final = 65_536
"""What a viewer may send on one stream before the POP has taken it."""
QUIC_STREAMS_MAX: Final = 16
"""Streams of each kind that a viewer may have open at once: HTTP/3 needs four, the control stream is one."""
UNKNOWN_STREAMS_MAX: Final = 64
"""Streams nobody asked for, in a session's life; beyond that it is closed with `too-many-streams`."""
LINK_QUEUE_UNITS_MAX: Final = 5
"""Units of sound that wait in front of QUIC while its congestion window is full; overflow drops the oldest."""
LINK_QUEUE_MOTION_UNITS_MAX: Final = 3
"""Of them, units without sound: what is not heard is worth less."""
LINK_QUEUE_AGE_S_MAX: Final = 0.150
"""Older units are not sent: the viewer's playout delay (PLAYOUT_DELAY_MS_MAX) is over."""
LINK_DATAGRAMS_PER_S_MAX: Final = 400
"""What one viewer may send: four microphones with 10 ms packets. Beyond that datagrams are dropped and counted."""
LINK_FLOOD_DATAGRAMS_MAX: Final = 2_000
"""Datagrams dropped for that in a link's life; beyond that it is closed with `flood`."""
KEYFRAME_STREAMS_MAX: Final = 8
"""Keyframe copies under way on streams of their own; beyond that a copy is dropped and counted."""
CERTIFICATE_LIFETIME_S: Final = 10 * 86_400
"""Browsers accept a certificate by its hash only if it is valid for less than 14 days."""
REQUEST_S_MAX: Final = 10.0
"""From a request's headers to the end of its body."""
CONTROL_BUFFER_SIZE_BYTES_MAX: Final = 262_144
"""What may wait on one control channel; overflow drops the newest message and counts it."""
CONTROL_MESSAGE_SIZE_BYTES_MAX: Final = 16_384
UNIT_CHANNEL_BUFFER_SIZE_BYTES_MAX: Final = 800
"""While more than this waits in front of SCTP on a data channel of access units, further ones are dropped and counted:
about 150 ms of usual ones, the viewer's playout delay."""
TOKEN_SIZE_BYTES_MAX: Final = 4_096
TICKET_LIFETIME_S: Final = 60
TICKET_CLOCK_SKEW_S: Final = 5
"""How far the origin's clock may run ahead of a POP's."""
PROOF_SIZE_BYTES_MAX: Final = 2_048
PROOF_AGE_S_MAX: Final = 30
"""A proof of possession is made for one request; clients set their clocks by the ticket, so it may be this old."""
PROOFS_SPENT_MAX: Final = 200_000
"""Proofs that are remembered until they are too old; beyond that nobody is let in rather than somebody twice."""
API_KEYS_MAX: Final = 10_000
API_KEY_SIZE_BYTES_MAX: Final = 256
REQUEST_ID_CHARS_MAX: Final = 128
REQUEST_ID_LIFETIME_S: Final = 3_600
"""So long the origin remembers which session a request was given, at least; longer while the session lives."""
RESIDENCY_REGIONS_MAX: Final = 32
RATE_LIMITED_PARTIES_MAX: Final = 10_000
"""Addresses, keys and sessions whose requests are counted; the one that has been quiet longest is forgotten."""
SESSION_TICKETS_PER_MINUTE_MAX: Final = 30
"""New tickets for one session: a viewer between two POPs that both refuse asks about once a second at most."""
TURN_CREDENTIALS_LIFETIME_S: Final = 86_400
"""A relay's user name is good so long; an allocation lives longer than any ticket."""
RESUME_GRACE_S: Final = 10.0
"""A session whose link is lost waits this long for another; a phone is back in 2 to 5 s after it changed networks."""
RESUME_TOKEN_LIFETIME_S: Final = 120.0
RESUME_REFRESH_S: Final = 45.0
"""How often a viewer gets a fresh token: one that was lost on the way is missed by the next."""
RESUME_TOKENS_PER_SESSION_MAX: Final = 8
"""Tokens of one session that a POP remembers, used ones too; the oldest is forgotten."""
SESSION_LINKS_MAX: Final = 4
"""Links of one session that may be open at once, those being made included; the oldest ones are closed."""
MISSED_MESSAGES_MAX: Final = 64
"""Captions, transcripts and the like that wait for a viewer's next link; the oldest are dropped."""
MICROPHONE_PACKETS_PER_S_MAX: Final = 150
"""Of one link: Opus packets of 10 ms, and half as many again after a stall."""
CONTROL_MESSAGES_PER_S_MAX: Final = 50
"""Of one link, bare feedback included, which comes ten times a second."""
SPENT_TICKETS_MAX: Final = 100_000
"""Ticket ids a POP remembers until they expire; beyond that it admits nobody rather than somebody twice."""
KEY_SET_SIZE_BYTES_MAX: Final = 65_536
KEY_SET_REFRESH_S_MIN: Final = 5.0
"""An unknown key id makes the key set be fetched again, at most this often."""
KEY_SET_TIMEOUT_S: Final = 3.0
KEY_SET_AGE_S_MAX: Final = 300.0
"""Older keys are fetched again, so that a withdrawn one stops counting; while the origin is away they still count."""
ADOPTED_SILENCE_S_MAX: Final = 150.0
"""A session that a restarted origin has taken over ends when its POP has not named it for two signs of life and
more."""
SESSION_IDLE_S_MAX: Final = 900
GUESSES_PER_TURN_MAX: Final = 4
"""Answers begun at pauses of one turn; who pauses more often is answered when the turn ends."""
CLAUSES_AHEAD_MAX: Final = 4
"""Clauses of an answer that are synthesised before they are spoken; a long answer's later ones wait as text."""
CLAUSE_TAKEN_S_MAX: Final = 30.0
"""Longer than any clause lasts: a clause that the voice swallowed holds back the next ones no longer than this."""
OPENINGS_SIZE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Sound of common openings kept per character; beyond that the one that was not used for longest is forgotten."""
LISTENING_S_MAX: Final = 4.0
"""A face that hears nothing more goes back to idle."""
THINKING_S_MAX: Final = 15.0
"""A face whose origin says nothing more stops thinking; longer than the slowest spoken apology takes to come."""
IDLE_THIN_AFTER_S: Final = 0.4
"""An idle track keeps 20 ms packets this long, so that the mouth and the mood settle at full rate."""
BARGE_IN_HEARD_S_MAX: Final = 1.0
"""A POP drops the cut answer's next clauses until its origin has answered the barge-in, but not longer than this."""
CUT_FLAG_S: Final = 0.4
"""How long packets say CUT after a barge-in: longer than any jitter buffer holds."""
MICROPHONE_PREROLL_PACKETS: Final = 20
"""Microphone packets kept while nobody speaks (400 ms), so that the first consonant reaches the origin."""
MICROPHONE_HANGOVER_S: Final = 1.5
"""The microphone still goes to the origin this long after the user's last speech: the origin ends the turn."""
PLAYOUT_REPORT_S: Final = 0.2
"""How often the origin learns what the viewer has heard."""
WORDS_PENDING_MAX: Final = 1_024
"""Words of an answer that wait to become audible; beyond that the oldest are not announced."""
SIGN_OF_LIFE_S: Final = 60.0
"""How often a POP repeats that its viewer is there, so that a silent viewer's session outlives SESSION_IDLE_S_MAX."""
ORIGIN_ECHO_S: Final = 1.0
"""How often a POP asks whether the origin answers. An outage between two of them goes unnoticed: a hub needs longer."""
ORIGIN_BACK_TIMES: Final = 3
"""So often, with so many answers in a row, a POP says that it has missed something: workers come back one by one."""
ORIGIN_CHECK_S: Final = 2.0
"""How often a POP looks whether the origin still knows its sessions; a viewer without its origin must reconnect."""
ADMISSION_LOAD_MAX: Final = 0.8
"""A POP lets nobody in whose frames would fill a phase beyond this share of its 5 ms: the rest is for the network."""
FIDELITY_LOWER_LOAD: Final = 0.75
"""Phases that are done later than this, as a share of their time, are too much work: faces get a cheaper tier."""
FIDELITY_RAISE_LOAD: Final = 0.5
"""Below this there is room for better ones; the gap keeps a step from undoing itself."""
FIDELITY_LOWER_S: Final = 0.5
"""Between two steps: half of what a step changes shows in the mean cost by then."""
FIDELITY_RAISE_S: Final = 3.0
"""How long it must have been calm before each step up."""
FIDELITY_STEP_SHARE: Final = 0.125
"""Share of the faces that a step moves; eight steps take all of them a tier down."""
SILENT_ACTIVITY_MAX: Final = 0.05
"""A face that spoke less than this share of the last seconds counts as silent."""
TICKS_BEHIND_MAX: Final = 10
"""A conductor that is later than this skips ticks instead of sending late."""
