"""The `meshrelay` command: mounts each folder's sub-commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

import system.cli


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
    import sim.bench
    import sim.cli
    import sim.options.cli
    import sim.review.cli

    faults.up.register(app)
    faults.cli.register(app)
    sim.review.cli.register(app)
    faults.bench.cli.register(app, simulated=sim.bench.measure)
    sim.cli.register(app)
    sim.options.cli.register(app)


def main() -> None:
    """Run the command line."""
    command(sys.argv[1:])()


if __name__ == "__main__":
    main()
