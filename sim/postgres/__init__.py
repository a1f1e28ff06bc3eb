"""A simulated PostgreSQL server: the v3 wire protocol over small MVCC tables, for the relay's own statements only."""

from __future__ import annotations

from sim.postgres.disk import PostgresDisk
from sim.postgres.server import PostgresServer
from sim.postgres.settings import PostgresSettings

__all__ = ["PostgresDisk", "PostgresServer", "PostgresSettings"]
