"""The commands of `./lightd` and their options; what each does is in the module of its name.

Modules are imported by the command that needs them, so that a small command doesn't wait for a large library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fleet.errors import LightdError
from scripts.configuration import configured
from scripts.failure import Failure


class Commands(click.Group):
    """Expected errors end a command with their sentence, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LightdError as error:
            raise Failure(error.message) from error


def with_token_spelled_as_option(arguments: list[str]) -> list[str]:
    """`--token what` means `token what`."""
    if arguments and arguments[0] == "--token":
        return ["token", *arguments[1:]]
    if arguments and arguments[0].startswith("--token="):
        return ["token", arguments[0].removeprefix("--token="), *arguments[1:]]
    return arguments


@click.group(cls=Commands, epilog="`--token what|reset|set` is another spelling of `token what|reset|set`.")
def commands() -> None:
    """Lightd: one API for running other people's servers. Settings are LIGHTD_* variables: docs/settings.md."""


@commands.command()
@click.option("--detach", "-d", is_flag=True, help="Run in the background; `./lightd down` ends it.")
@click.pass_context
def up(ctx: click.Context, detach: bool) -> None:
    """Start Lightd on this host and wait until it is ready."""
    from scripts.up import up as start

    ctx.exit(start(configured(), detach=detach))


@commands.command()
def down() -> None:
    """End all processes of Lightd on this host; containers keep running."""
    from scripts.down import down as end

    settings = configured()
    click.echo("Lightd has ended; containers keep running." if end(settings) else "Lightd is not running.")


@commands.command()
@click.pass_context
def status(ctx: click.Context) -> None:
    """Show what runs. Exit code: 0 ready, 1 not ready, 3 not running."""
    from scripts.status import status as show

    ctx.exit(show(configured()))


@commands.command()
@click.option("--fix", is_flag=True, help="Mend what is safe to mend.")
@click.pass_context
def doctor(ctx: click.Context, fix: bool) -> None:
    """Show how record, engine, disk and firewall of this host differ. Exit code: 0 not at all, 1 they do."""
    from scripts.doctor import doctor as examine

    ctx.exit(examine(configured(), fix=fix))


@commands.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(file: Path) -> None:
    """Write everything that the record store holds into FILE."""
    from scripts.backup import backup as save

    click.echo(save(configured(), file))


@commands.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """Fill an empty record store from FILE, which `backup` wrote; then run `recover` on every host."""
    from scripts.backup import restore as fill

    click.echo(fill(configured(), file))


@commands.command()
@click.option(
    "--force", is_flag=True, help="Replace other things of the same ids; go on without what cannot come back."
)
@click.pass_context
def recover(ctx: click.Context, force: bool) -> None:
    """Write into an emptied store what this host holds: volumes, containers, their ports and states."""
    from scripts.recover import recover as bring_back

    ctx.exit(bring_back(configured(), force=force))


@commands.command()
@click.argument("name", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is added.")
@click.option("--lines", "-n", default=50, show_default=True, type=click.IntRange(0), help="How many to begin with.")
def logs(name: str | None, follow: bool, lines: int) -> None:
    """Show the end of the log of the process NAME, or of all."""
    from scripts.logs import follow_all, last_lines, log_paths

    paths = log_paths(configured(), name)
    width = max(len(path.stem) for path in paths)
    latest = ((path.stem, line) for path in paths for line in last_lines(path, lines))
    for source, line in follow_all(paths, lines) if follow else latest:
        click.echo(line if name else f"{source:{width}} | {line}")


@commands.group()
def token() -> None:
    """The master token, which may do everything."""


@token.command()
def what() -> None:
    """Show it."""
    from scripts.token import current

    click.echo(f"Current Token: {current(configured())}")


@token.command()
def reset() -> None:
    """Replace it by a new one; the old one is dead at once."""
    from scripts.token import replace

    click.echo(f"Current Token: {replace(configured())}")


@token.command(name="set")
@click.argument("value")
def set_token(value: str) -> None:
    """Make VALUE the master token: `lightd_` and more, at least 20 characters."""
    from scripts.token import replace

    click.echo(f"Current Token: {replace(configured(), value)}")


@commands.command()
@click.argument("container")
@click.option("--url", envvar="LIGHTD_URL", help="The API's address; this host's unless given.")
@click.option(
    "--token", envvar="LIGHTD_TOKEN", help="Better in LIGHTD_TOKEN than here; this host's master token unless given."
)
@click.option("--new", "only_new", is_flag=True, help="Only what is new, without what is kept.")
def console(container: str, url: str | None, token: str | None, only_new: bool) -> None:
    """Watch and steer CONTAINER: type lines, F5 starts, F6 stops, F7 restarts, F8 kills, Ctrl-D leaves."""
    from scripts.console.command import console as talk

    talk(configured(), container, url, token, only_new=only_new)


@commands.command()
@click.argument("name")
def run(name: str) -> None:
    """Run the one process NAME in the foreground, as compose.yaml does."""
    from scripts.run import run as become

    become(configured(), name)


@commands.command(context_settings={"ignore_unknown_options": True})
@click.option("--all", "everything", is_flag=True, help="Run the long suites too.")
@click.option("--chaos", is_flag=True, help="Only let everything die that can, under load, and look what is left.")
@click.option("--seed", type=int, help="The seed of the chaos, to have the same faults again.")
@click.option("--minutes", type=float, help="How long the chaos goes on at least.")
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def test(
    ctx: click.Context,
    everything: bool,
    chaos: bool,
    seed: int | None,
    minutes: float | None,
    pytest_arguments: tuple[str, ...],
) -> None:
    """Check everything: format, lint, types, tests. With PYTEST_ARGUMENTS only the tests that they choose."""
    from scripts.checks import chaos_arguments, check

    if chaos:
        everything, pytest_arguments = True, (*chaos_arguments(seed, minutes), *pytest_arguments)
    ctx.exit(check(configured(), everything=everything, pytest_arguments=pytest_arguments))
