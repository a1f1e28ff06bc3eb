"""A host's clocks: a monotonic one that drifts, and a wall clock that also steps.

Both are functions of simulated time; a change of drift begins a new straight piece, so that the monotonic clock stays
continuous whatever is done to it.
"""

from __future__ import annotations

from sim.environment import Environment

EPOCH_NS = 1_767_225_600 * 1_000_000_000
"""2026-01-01T00:00:00Z: when every world begins."""
PPM = 1_000_000


class HostClock:
    """The clocks of one host. Drift in parts per million: +100 gains 0.36 s an hour."""

    def __init__(self, environment: Environment, *, offset_ns: int = 0, drift_ppm: int = 0) -> None:
        self._environment = environment
        self._piece_began_ns = environment.now_ns
        self._piece_mono_ns = 0
        self._offset_ns = offset_ns
        self.drift_ppm = drift_ppm
        self._read_at_ns = -1
        self._read_ns = 0
        self._read_s = 0.0

    def monotonic_ns(self) -> int:
        """Ns since this host's boot, by its own reckoning."""
        if self._environment._now != self._read_at_ns:
            self._read()
        return self._read_ns

    def monotonic_s(self) -> float:
        """The same in s."""
        if self._environment._now != self._read_at_ns:
            self._read()
        return self._read_s

    def _read(self) -> None:
        """Once a moment: loops and libraries ask for the time many times in each of their turns."""
        self._read_at_ns = now_ns = self._environment.now_ns
        elapsed_ns = now_ns - self._piece_began_ns
        if self.drift_ppm:
            elapsed_ns += elapsed_ns * self.drift_ppm // PPM
        self._read_ns = self._piece_mono_ns + elapsed_ns
        self._read_s = self._read_ns / 1e9

    def wall_ns(self) -> int:
        """Ns since the Unix epoch, by its own belief."""
        return EPOCH_NS + self._offset_ns + self.monotonic_ns()

    def step(self, by_ns: int) -> None:
        """Set the wall clock forward, or back."""
        self._offset_ns += by_ns

    def drift(self, ppm: int) -> None:
        """From now on gain (or lose) so many parts per million."""
        self._piece_mono_ns, self._piece_began_ns = self.monotonic_ns(), self._environment.now_ns
        self.drift_ppm = ppm

    def delay_until(self, mono_ns: int) -> int:
        """How many ns of simulated time from now until the monotonic clock shows this; 0 if it does."""
        left_ns = mono_ns - self.monotonic_ns()
        if left_ns <= 0:
            return 0
        return -(-left_ns * PPM // (PPM + self.drift_ppm)) if self.drift_ppm else left_ns
