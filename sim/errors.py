"""What the simulated world refuses."""


class NotModelled(Exception):
    """Something was asked of the simulated world that it does not model; the run can't go on, its verdict would lie."""


class Fenced(NotModelled):
    """Code inside the world reached for the real machine: its clock, entropy, threads, sockets or processes."""


class StandsStill(RuntimeError):
    """Something asks again and again to be called at once: simulated time would never pass."""
