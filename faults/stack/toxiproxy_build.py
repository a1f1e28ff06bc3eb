"""The Toxiproxy server's program: from PATH, else built once from its Go module into the user's cache folder."""

from __future__ import annotations

from pathlib import Path

from faults.stack.go_build import GoProgram, built

VERSION = "2.12.0"
MODULE = "github.com/Shopify/toxiproxy/v2"
PROGRAM = GoProgram(
    name="toxiproxy-server",
    version=VERSION,
    package=f"{MODULE}/cmd/server",
    go="1.23",
    flags=(f"-ldflags=-s -w -X {MODULE}.Version={VERSION}",),  # a plain `go install` leaves it reporting "git"
)


def toxiproxy_server(cache: Path | None = None) -> Path:
    """The `toxiproxy-server` program; blocks for up to minutes when it is built. Raises PartUnavailable.

    `cache` is where a build is kept, by default the user's cache folder. Concurrent callers build once.
    """
    return built(PROGRAM, cache)
