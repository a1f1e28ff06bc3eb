"""The real stack: the servers and relays that faults are played on, each a process of its own on this machine."""

from __future__ import annotations

from faults.stack.embedded import EmbeddedStack
from faults.stack.errors import PartUnavailable, ProcessFailed, StackError, StackUnfit, WatchdogLost
from faults.stack.ports import ReservedPort
from faults.stack.process import ManagedProcess
from faults.stack.redis import RedisProcess
from faults.stack.relay import RelayProcess
from faults.stack.servers import NatsProcess, PostgresProcess

__all__ = [
    "EmbeddedStack",
    "ManagedProcess",
    "NatsProcess",
    "PartUnavailable",
    "PostgresProcess",
    "ProcessFailed",
    "RedisProcess",
    "RelayProcess",
    "ReservedPort",
    "StackError",
    "StackUnfit",
    "WatchdogLost",
]
