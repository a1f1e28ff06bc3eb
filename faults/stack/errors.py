"""What can go wrong with the real stack itself, as opposed to the faults that are asked of it."""

from __future__ import annotations


class StackError(RuntimeError):
    """The real stack could not be brought up, or a process of it could not be steered.

    StackError
      ├ PartUnavailable
      ├ ProcessFailed
      ├ StackUnfit
      └ WatchdogLost
    """


class PartUnavailable(StackError):
    """A part of the stack can't be had on this machine; a run that needs it reads *not run*, never green."""

    def __init__(self, part: str, remedy: str) -> None:
        super().__init__(f"{part} is not available: {remedy}")
        self.part = part


class ProcessFailed(StackError):
    """A process ended, or stayed unready, when it was expected to run."""


class StackUnfit(StackError):
    """A stack that others started is not as its stack file says, or can't play this plan as it is."""


class WatchdogLost(StackError):
    """The watchdog that owns the stack's processes is gone; nothing can be started or signalled any more."""
