"""The fault vocabulary: plans, the real stack, and the player that makes faults happen on it."""
