"""Known ways to lose, repeat, leak, reorder or hush up events, planted into a relay from outside, to prove the judge.

`python -m faults.planted NAME serve` is `meshrelay serve` with a line or two of the relay broken. `system/` knows
nothing of it. Each bug names what a run with it must be found guilty of; a judge that acquits one is blind.
"""

from faults.planted import consuming, feeding, replaying, serving, storing, sweeping
from faults.planted.plant import PLANTED, PlantedBug, planted, unknown

__all__ = [
    "PLANTED",
    "PlantedBug",
    "consuming",
    "feeding",
    "planted",
    "replaying",
    "serving",
    "storing",
    "sweeping",
    "unknown",
]
