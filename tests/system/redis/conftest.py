"""Every relay of this folder reads Redis, a server of the test's own, which may be killed, paused and emptied."""

from __future__ import annotations

from typing import Any

import pytest

from faults.stack import RedisProcess


@pytest.fixture
def transport(fresh_redis: RedisProcess) -> dict[str, Any]:
    """The settings of relays that read this test's Redis, and that soon notice when nothing is as it was."""
    return {
        "transport": "redis",
        "redis_url": fresh_redis.url,
        "idle_check_s": 0.5,
        "database_timeout_s": 2,
        "bookmark_s": 0.2,
    }
