"""The production event relay and its agent client; it never learns that it is being tested."""
