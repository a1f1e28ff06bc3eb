"""How long tests look for what they don't know yet: as long as everybody waits for, or all night.

MESHRELAY_NIGHTLY=1 in the environment makes every number that is taken from here the nightly one; pytest says in its
header which they are.
"""

from __future__ import annotations

import os

VARIABLE = "MESHRELAY_NIGHTLY"
IS_NIGHTLY = os.environ.get(VARIABLE) == "1"


def count(usual: int, nightly: int) -> int:
    """How many to play now."""
    return nightly if IS_NIGHTLY else usual


def header() -> str:
    """A line that says which numbers hold."""
    return (
        f"random tests: nightly numbers ({VARIABLE}=1)" if IS_NIGHTLY else f"random tests: usual ({VARIABLE}=1: more)"
    )
