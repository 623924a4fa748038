"""A viewer's link over WebTransport: what a session may ask of it, and what waits until QUIC takes it."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, Protocol

from core.errors import Dropped
from core.limits import (
    ACCESS_UNIT_SIZE_BYTES_MAX,
    CONTROL_BUFFER_SIZE_BYTES_MAX,
    CONTROL_MESSAGE_SIZE_BYTES_MAX,
    KEYFRAME_STREAMS_MAX,
)
from core.wire.webtransport import (
    CONTROL_FEEDBACK,
    CONTROL_TEXT,
    FEEDBACK_DATAGRAM,
    MICROPHONE_DATAGRAM,
    encode_control,
    encode_unit,
    encode_welcome,
)
from edge.transports.link import LinkEvents
from edge.transports.webtransport.microphone import MicrophoneStream
from edge.transports.webtransport.unit_queue import UnitQueue

__all__ = ["Carrier", "WebTransportLink"]

_log = logging.getLogger(__name__)

_PACKET_OVERHEAD_BYTES: Final = 40
"""What a QUIC packet adds to a datagram's payload, at most, without an acknowledgement in it."""


class Carrier(Protocol):
    """The WebTransport session below a link."""

    def wake(self) -> None:
        """`fill` is wanted in this phase."""

    @property
    def room_bytes(self) -> int:
        """How much more the congestion window lets through."""

    @property
    def control_busy(self) -> bool:
        """Bytes of the control stream still wait to be sent."""

    @property
    def lone_streams(self) -> int:
        """Keyframe streams that the viewer has not acknowledged."""

    def send_datagram(self, data: bytes) -> None:
        """Send a datagram of the session."""

    def send_control(self, data: bytes) -> None:
        """Send bytes on the control stream."""

    def send_alone(self, data: bytes) -> None:
        """Send bytes on a unidirectional stream of their own."""

    def close(self, reason: str) -> None:
        """Close the session with this reason."""


class WebTransportLink:
    """Implements `edge.transports.link.ViewerLink`. Made by a session whose hello was admitted.

    Args:
        carrier: the session below.
        events: told of the link; `on_closed` comes exactly once.
        clock: monotonic seconds.
        on_dropped: counts what is dropped, by reason.

    Attributes:
        protocol: "webtransport".
        dropped: what was dropped, by reason.
        packets_sent: access units handed to QUIC.
    """

    protocol = "webtransport"
    plays_sound_itself = True

    def __init__(
        self,
        carrier: Carrier,
        events: LinkEvents,
        *,
        clock: Callable[[], float],
        on_dropped: Callable[[str], None],
    ) -> None:
        self.dropped: Counter[str] = Counter()
        self.packets_sent = 0
        self._carrier = carrier
        self._events: LinkEvents | None = events
        self._clock = clock
        self._on_dropped = on_dropped
        self._units = UnitQueue(self.drop)
        self._control: deque[bytes] = deque((encode_welcome(),))
        self._control_bytes = 0
        self._microphone = MicrophoneStream()

    # --- ViewerLink --------------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """It carries nothing any more."""
        return self._events is None

    @property
    def packets_received(self) -> int:
        """Microphone packets received."""
        return self._microphone.packets

    def send_packet(self, payload: bytes, timestamp: int) -> bool:
        """See `ViewerLink.send_packet`. It leaves at the end of the phase, or waits a little for the congestion window
        and is dropped and counted if that takes too long: then this said True."""
        if self._events is None:
            self.drop("not-connected")
            return False
        if len(payload) > ACCESS_UNIT_SIZE_BYTES_MAX:
            self.drop("access-unit-oversize")
            return False
        self._units.push(payload, encode_unit(payload, timestamp), self._clock())
        self._carrier.wake()
        return True

    def send_keyframe(self, payload: bytes, timestamp: int) -> None:
        """See `ViewerLink.send_keyframe`: on a unidirectional stream of its own."""
        if self._events is None:
            self.drop("not-connected")
        elif self._carrier.lone_streams >= KEYFRAME_STREAMS_MAX:
            self.drop("keyframe-overflow")
        else:
            self._carrier.send_alone(encode_unit(payload, timestamp))
            self._carrier.wake()

    def send_control(self, data: str | bytes) -> None:
        """See `ViewerLink.send_control`."""
        content = data.encode() if isinstance(data, str) else data
        if self._events is None:
            self.drop("not-connected")
        elif len(content) > CONTROL_MESSAGE_SIZE_BYTES_MAX:
            self.drop("control-oversize")
        elif self._control_bytes + len(content) > CONTROL_BUFFER_SIZE_BYTES_MAX:
            self.drop("control-overflow")
        else:
            self._control.append(encode_control(CONTROL_TEXT if isinstance(data, str) else CONTROL_FEEDBACK, content))
            self._control_bytes += len(content)
            self._carrier.wake()

    async def aclose(self, reason: str) -> None:
        """See `ViewerLink.aclose`."""
        if self._events is not None:
            self._carrier.close(reason)

    # --- the session below -------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Something waits for QUIC."""
        return bool(self._units or self._control)

    def fill(self, now: float) -> None:
        """Hand over what waits, as far as QUIC can send it at once: its own queues never grow."""
        carrier = self._carrier
        if self._control and not carrier.control_busy:
            carrier.send_control(b"".join(self._control))
            self._control.clear()
            self._control_bytes = 0
        if not self._units:
            return
        room = carrier.room_bytes - _PACKET_OVERHEAD_BYTES
        while (datagram := self._units.pop(room, now)) is not None:
            carrier.send_datagram(datagram)
            self.packets_sent += 1
            room -= len(datagram) + _PACKET_OVERHEAD_BYTES

    def connected(self) -> None:
        """Media may flow."""
        self._tell(lambda events, now: events.on_connected(now))

    def datagram_received(self, data: bytes) -> None:
        """A datagram of the session came."""
        kind = data[0] if data else -1
        if kind == MICROPHONE_DATAGRAM:
            unit = self._microphone.receive(data)
            if isinstance(unit, Dropped):
                self.drop(unit.reason)
            else:
                self._tell(lambda events, now: events.on_microphone(unit, now))
        elif kind == FEEDBACK_DATAGRAM:
            self._tell(lambda events, now: events.on_control(data, now))
        else:
            self.drop("datagram-kind")

    def control_received(self, kind: int, content: bytes) -> None:
        """A control message after the hello came."""
        if kind == CONTROL_TEXT:
            try:
                text = content.decode()
            except UnicodeDecodeError:
                self.drop("bad-control")
                return
            self._tell(lambda events, now: events.on_control(text, now))
        elif kind == CONTROL_FEEDBACK:
            self._tell(lambda events, now: events.on_control(content, now))
        else:
            self.drop("control-kind")

    def lost(self, reason: str) -> None:
        """The session below is over."""
        events, self._events = self._events, None
        self._units.clear()
        self._control.clear()
        if events is None:
            return
        try:
            events.on_closed(reason, self._clock())
        except Exception:
            _log.exception("a link's listener failed")

    def drop(self, reason: str) -> None:
        """Count something that is dropped."""
        self.dropped[reason] += 1
        self._on_dropped(reason)

    def _tell(self, event: Callable[[LinkEvents, float], None]) -> None:
        if self._events is None:
            return
        try:
            event(self._events, self._clock())
        except Exception:
            # A listener that broke once would break with every packet: its viewer comes back to a new one.
            _log.exception("a link's listener failed")
            self._carrier.close("internal-error")
