"""`./lightd doctor`: what differs between record, engine, disk and firewall of this host, in plain words."""

from __future__ import annotations

import click

from celery_app import dispatch
from fleet.settings import Settings
from fleet.store import store_errors
from worker.doctor.compose import doctor_of_host


def doctor(settings: Settings, *, fix: bool) -> int:
    """Print every difference, and with `fix` mend what is safe; answers the exit code, 1 when a difference is left."""
    with store_errors():
        examining = doctor_of_host(settings, dispatch)
        found = examining.differences()
        left = 0
        for difference in found:
            if fix:
                failure = examining.mend(difference)
                left += bool(failure)
                click.echo(
                    f"! {difference.sentence} Not mended: {failure}." if failure else f"{difference.sentence} Mended."
                )
            else:
                left += 1
                click.echo(f"! {difference.sentence}{'' if difference.mend is None else ' (--fix mends it)'}")
    if not found:
        click.echo("Record, engine, disk and firewall agree.")
    return 1 if left else 0
