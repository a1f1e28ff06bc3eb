"""What each transport takes back of the guarantees G1 to G8, in the relay's own words.

Said in the log when a replica starts, and shown by reports. A limit is a condition on which a guarantee holds; what is
not offered holds on no condition. The promises themselves are in the README.
"""

from __future__ import annotations

from collections.abc import Mapping

LIMITS: Mapping[str, Mapping[str, str]] = {"cursor": {}, "jetstream": {}, "redis": {}}
"""By transport and guarantee: one sentence each, with what to do about it."""

NOT_OFFERED: Mapping[str, Mapping[str, str]] = {"cursor": {}, "jetstream": {}, "redis": {}}
"""By transport and guarantee: why not."""
