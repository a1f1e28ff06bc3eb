"""The simulated world: the unmodified relay, its servers, agents and faults, under one clock and one seed."""
