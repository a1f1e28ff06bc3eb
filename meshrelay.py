"""The `meshrelay` command: mounts each folder's sub-commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

import system.cli

if TYPE_CHECKING:
    from reports.export.write import Deployment


def command(words: Sequence[str]) -> typer.Typer:
    """The root command for these words.

    `serve` gets the relay's own commands only: a relay that is started again must not first import charts and faults.
    """
    app = typer.Typer(name="meshrelay", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

    @app.callback()
    def root() -> None:
        """An event relay for AI agents over SSE, and the machine that tries to break it."""

    system.cli.register(app)
    if list(words[:1]) != ["serve"]:
        _mount_all(app)
    return app


def _mount_all(app: typer.Typer) -> None:
    import faults.bench.cli
    import faults.cli
    import faults.up
    import reports.export.cli
    import reports.schema.cli
    import sim.bench
    import sim.cli
    import sim.options.cli
    import sim.review.cli
    from system.settings import SettingsInvalid

    faults.up.register(app)
    faults.cli.register(app)
    sim.review.cli.register(app)
    reports.export.cli.register(app, deployment=_deployment, settings_invalid=SettingsInvalid)
    reports.schema.cli.register(app)
    faults.bench.cli.register(app, simulated=sim.bench.measure)
    sim.cli.register(app)
    sim.options.cli.register(app)


def _deployment() -> Deployment:
    """What an export must know of the relay's settings. Raises SettingsInvalid."""
    from reports.export.write import Deployment
    from system.settings import load_settings

    # it checks no token, so it need not be trusted with a key
    keyless = not {"MESHRELAY_JWT_HS256_SECRET", "MESHRELAY_JWKS_URL"} & os.environ.keys()
    settings = load_settings(**({"jwks_url": "https://nowhere.invalid/keys"} if keyless else {}))
    return Deployment(
        dsn=settings.postgres_dsn.get_secret_value(),
        stream=settings.stream,
        retention_critical_s=settings.retention_critical_s,
        retention_standard_s=settings.retention_standard_s,
        critical_types=settings.critical_types,
        sweep_interval_s=settings.sweep_interval_s,
    )


def main() -> None:
    """Run the command line."""
    command(sys.argv[1:])()


if __name__ == "__main__":
    main()
