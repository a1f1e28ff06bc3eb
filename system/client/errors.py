"""What the agent client raises.

ClientError
├── RelayRefused          a definite answer that no retry changes; .status
│   ├── CursorRefused     400: the position or the filter is malformed
│   └── TokenRefused      403, or 401 more often than the settings allow
├── RelayUnavailable      as many attempts as allowed brought no answer; another run may
├── ProtocolViolated      the relay sent what its contract does not allow, time and again
│   └── FrameTooLarge
├── HandlerFailed         the application could not handle one event; it is not passed over
├── StoreCorrupt          the stored cursor is unreadable; never 'start from scratch'
└── TokenUnavailable      for token providers: no token now, ask again later
"""

from __future__ import annotations


class ClientError(Exception):
    """The root of everything that the client raises of its own."""


class RelayRefused(ClientError):
    """The relay gave a definite refusal; trying again unchanged gives the same one."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)
        self.status = status

    def __str__(self) -> str:
        """The message alone; the status is already in it."""
        return str(self.args[0])


class CursorRefused(RelayRefused):
    """The relay could not read the position that was presented (400)."""


class TokenRefused(RelayRefused):
    """The token does not open this agent's stream (403), or no fresh token did (401)."""


class RelayUnavailable(ClientError):
    """No usable answer within the attempts that were allowed; nothing is wrong with the request."""


class ProtocolViolated(ClientError):
    """What arrived is not what the relay's contract allows; the place is kept."""


class FrameTooLarge(ProtocolViolated):
    """One SSE frame is larger than the limit; raise `frame_bytes_max` if the relay allows such events."""


class HandlerFailed(ClientError):
    """The handler raised for the same event as often as allowed; the cause is `__cause__`."""

    def __init__(self, message: str, event_id: str | None, cursor: str | None) -> None:
        super().__init__(message, event_id, cursor)
        self.event_id = event_id
        self.cursor = cursor

    def __str__(self) -> str:
        """The message alone; id and cursor are already in it."""
        return str(self.args[0])


class StoreCorrupt(ClientError):
    """A cursor was stored here, but what is there now is not one."""


class TokenUnavailable(ClientError):
    """Raised by a token provider that has no token at the moment; the client backs off and asks again."""
