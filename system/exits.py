"""What the commands exit with: the same numbers everywhere, as the README lists them."""

VIOLATED = 1
"""A promise was broken, or what was asked for was not reached."""
USAGE = 2
"""The question was wrong; nothing was done."""
NOT_CONVERGED = 3
"""Everything was healed, and not everybody was caught up in time."""
COULD_NOT_RUN = 4
"""Something that was needed is missing or failed: nothing is known."""
INTERRUPTED = 130
"""Ctrl-C: 128 and the signal's number, as shells have it."""
