"""Hand-written histories: every class of finding is hit by one, and legitimate behaviour by none."""
