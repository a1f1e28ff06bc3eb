"""Measuring the judge: a source of long correct histories, and a process that judges one and says what it took."""
