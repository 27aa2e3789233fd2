"""How a command ends when something is in its way: one sentence for the person who must act."""

from __future__ import annotations

import click


class Failure(click.ClickException):
    """Printed as `Error: <message>`; the command ends with exit code 1."""


class SettingsFailure(Failure):
    """A setting cannot be used: exit code 2."""

    exit_code = 2
