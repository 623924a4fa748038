"""Every error Visavis raises on purpose.

```
VisavisError
├── ProtocolError
│   ├── LocalProtocolError      our own caller broke the rules
│   └── RemoteProtocolError     the peer sent something that is not the protocol (has a code)
├── AdmissionError              a ticket was refused (has a code)
├── ConfigError                 configuration, flags or environment are wrong; the text says what to do
└── FabricError                 the bus or the store could not do it (has a code)
```
A malformed, late or replayed *datagram* is not an exception: it is `Dropped(reason)` and a counter.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AdmissionError",
    "ConfigError",
    "Dropped",
    "FabricError",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "VisavisError",
]


class VisavisError(Exception):
    """Root of all errors raised on purpose."""


class ProtocolError(VisavisError):
    """The rules of a protocol were broken."""


class LocalProtocolError(ProtocolError):
    """Our own side asked for something the protocol forbids."""


class _CodedError(VisavisError):
    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code


class RemoteProtocolError(_CodedError, ProtocolError):
    """The peer sent bytes or messages that are not the protocol.

    Attributes:
        code: short stable word in kebab-case, listed in core/wire/SPEC.md.
    """


class AdmissionError(_CodedError):
    """A ticket or key was refused.

    Attributes:
        code: short stable word in kebab-case; it goes into problem documents and metrics.
    """


class FabricError(_CodedError):
    """The bus or the store could not do what was asked.

    Attributes:
        code: `exists`, `conflict`, `not-found`, `unreachable`, `timeout`, `too-large`, `no-responder`,
            `responder-failed` or `overloaded`.
    """


class ConfigError(VisavisError):
    """Configuration is wrong. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """An input that was discarded on purpose.

    Attributes:
        reason: short stable word in kebab-case, used as the metric label.
    """

    reason: str
