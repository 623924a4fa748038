"""The origin's echo: POPs measure with it how long a message takes."""

from __future__ import annotations

from core.fabric.bus import Bus, Message, Subscription
from core.speech.messages import ECHO_SUBJECT

__all__ = ["serve_echo"]


async def serve_echo(bus: Bus) -> Subscription:
    """Answer every request with its own payload until the subscription is closed."""
    return await bus.respond(ECHO_SUBJECT, _echo)


async def _echo(message: Message) -> bytes:
    return message.payload
