"""What Redis must be for the promises to hold, and what a feed refuses to write into."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from redis.exceptions import ResponseError

from system.settings import Settings
from system.transport.redis.link import RedisLink

log = structlog.get_logger(__name__)

VERSION_MIN = (6, 2)
"""The first with XTRIM MINID and with ranges of stream entries that leave out their start."""
WANTED = {
    "appendonly": ("yes", "what was fed is lost with the process"),
    "appendfsync": ("always", "a power failure loses what was fed just before, and it is fed again late"),
    "maxmemory-policy": ("noeviction", "events would be dropped for want of room, and nobody told"),
}


class RedisUnsafe(Exception):
    """Redis can't be used as it is; the message says why and what to do."""


async def check_redis(settings: Settings, link: RedisLink) -> None:
    """Raises RedisUnsafe if it can't keep what it is given and nobody has said that it need not; RedisUnavailable."""
    async with link.lend() as lent:
        info, *answers = await lent.answers(("INFO", "server"), *(("CONFIG", "GET", name) for name in WANTED))
    version = _version(info)
    if version is not None and version < VERSION_MIN:
        raise RedisUnsafe(f"Redis version: expected 6.2 or later, got {'.'.join(map(str, version))}")
    found: dict[str, str] = {}
    for answer in answers:
        if isinstance(answer, ResponseError):
            # managed services forbid CONFIG; that says nothing about how they are set
            log.warning("safety.redis_unchecked", error=str(answer), expected={k: v for k, (v, _) in WANTED.items()})
            return
        found |= {str(answer[0], "ascii"): str(answer[1], "ascii")} if answer else {}
    problems = unsafe(found)
    if problems and not settings.allow_unsafe_storage:
        raise RedisUnsafe("; ".join(problems) + ". To go on all the same: MESHRELAY_ALLOW_UNSAFE_STORAGE=true")
    if problems:
        log.error("safety.unsafe_redis", problems=problems)


def unsafe(found: Mapping[str, str]) -> list[str]:
    """What is wrong with these values of Redis's settings."""
    return [
        f"Redis {name}: expected {expected}, got {found.get(name, 'nothing')}: {why}"
        for name, (expected, why) in WANTED.items()
        if found.get(name) != expected
    ]


def _version(info: object) -> tuple[int, ...] | None:
    """The version within the answer to INFO, or None if there is none to be read."""
    if not isinstance(info, bytes):
        return None
    for line in info.decode(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "redis_version":
            parts = value.split(".")[:2]
            return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else None
    return None
