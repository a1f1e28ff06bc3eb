"""The simulated Redis, held to the real one."""
