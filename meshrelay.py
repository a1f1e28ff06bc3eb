"""The `meshrelay` command: mounts each folder's sub-commands."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from system.exits import INTERRUPTED

if TYPE_CHECKING:
    import typer

    from reports.export.write import Deployment

TERMINATED = 128 + signal.SIGTERM


def command(words: Sequence[str]) -> typer.Typer:
    """The root command for these words.

    The relay's own commands are mounted alone: a relay that is started again must not first import charts and faults.
    """
    import typer

    import system.cli

    app = typer.Typer(name="meshrelay", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

    @app.callback()
    def root() -> None:
        """An event relay for AI agents over SSE, and the machine that tries to break it."""

    system.cli.register(app)
    if not {*words[:1]} & {one.callback.__name__ for one in app.registered_commands if one.callback is not None}:
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
    """Run the command line; whoever ends it, by Ctrl-C or SIGTERM, finds what it wrote for itself alone removed."""
    signal.signal(signal.SIGTERM, _terminated)  # `serve` and `up` have handlers of their own once they run
    try:
        command(sys.argv[1:])()
    except KeyboardInterrupt:  # while modules are loaded; a command that runs has an end of its own
        sys.exit(INTERRUPTED)


def _terminated(*_: object) -> NoReturn:
    sys.exit(TERMINATED)


if __name__ == "__main__":
    main()
