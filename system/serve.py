"""`meshrelay serve`: the relay as a process, with its signals and logs."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import Any

import structlog

from system.host import Host
from system.relay import Relay
from system.settings import Settings


def configure_logs(settings: Settings) -> None:
    """Structured logs to standard error: JSON for machines, or coloured lines for people."""
    renderer: Any = (
        structlog.processors.JSONRenderer() if settings.log_format == "json" else structlog.dev.ConsoleRenderer()
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then drain; answers the exit code: 0 drained, 1 a part failed."""
    configure_logs(settings)
    if sys.platform != "win32":
        try:
            import uvloop
        except ImportError:
            return asyncio.run(_main(settings))
        return uvloop.run(_main(settings))
    return asyncio.run(_main(settings))


async def _main(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    relay = Relay(settings, Host.real())
    await relay.start()
    relay.failed.add_done_callback(lambda _: stopping.set())
    await stopping.wait()
    await relay.drain()
    return 1 if relay.failed.done() else 0
