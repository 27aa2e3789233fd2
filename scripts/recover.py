"""`./lightd recover`: write into an emptied store what this host holds."""

from __future__ import annotations

import click

from fleet.settings import Settings
from fleet.store import store_errors
from worker.open_files import allow_many
from worker.recovery.compose import create_recovery


def recover(settings: Settings, *, force: bool) -> int:
    """Bring the record back and print what was done; answers the exit code, 1 when something was left behind."""
    allow_many()
    complete = True
    with store_errors():
        for outcome in create_recovery(settings).run(force=force):
            complete = complete and outcome.ok
            click.echo(outcome.sentence if outcome.ok else f"! {outcome.sentence}")
    return 0 if complete or force else 1
