"""Tests of the simulated PostgreSQL server, alone and against the real one."""
