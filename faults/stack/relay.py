"""The relay itself as a process of the stack: the production command, configured by its environment alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from faults.stack.ports import LOOPBACK, ReservedPort
from faults.stack.process import ManagedProcess, ProcessSpec
from faults.stack.servers import http_probe
from faults.stack.supervisor import Supervisor

SERVE = (sys.executable, "-m", "meshrelay", "serve")


class RelayProcess(ManagedProcess):
    """One `meshrelay serve` on a fixed port; it serves when `/readyz` answers 200. SIGTERM drains it."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        run_dir: Path,
        name: str,
        settings: Mapping[str, str],
        command: Sequence[str] = SERVE,
    ) -> None:
        """Prepare it, not started; `settings` are environment variables without their `MESHRELAY_` prefix.

        Raises OSError if the settings name an HTTP_PORT that is taken.
        """
        port = ReservedPort(int(settings.get("HTTP_PORT", "0")))
        folder = run_dir / name
        folder.mkdir(exist_ok=True)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("MESHRELAY_")}
        ours = {"HTTP_HOST": LOOPBACK, "HTTP_PORT": str(port.number)} | dict(settings)
        spec = ProcessSpec(
            name=name,
            argv=tuple(command),
            folder=folder,
            log_path=run_dir / f"{name}.log",
            probe=http_probe(f"http://{LOOPBACK}:{port.number}/readyz"),
            env=inherited | {f"MESHRELAY_{key}": value for key, value in ours.items()},
        )
        super().__init__(supervisor=supervisor, port=port, spec=spec)

    @property
    def url(self) -> str:
        """Its base address, without a slash at the end."""
        return f"http://{LOOPBACK}:{self.port}"

    def set(self, **settings: str) -> None:
        """Change settings (names without `MESHRELAY_`); they hold from its next start."""
        self.spec.env.update({f"MESHRELAY_{key}": value for key, value in settings.items()})
