"""The folder that a container sees as `/app/data`: the scripts it is started with."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from fleet.models import Spec

ENTRYPOINT = "entrypoint.sh"
INSTALL = "install.sh"
INSTALL_INSIDE = f"/app/data/{INSTALL}"
_MODE = 0o755
_NO_INSTALL = "#!/bin/sh\n"
"""Stands beside an entry point whose container has no install script."""


# tini gives the signal to the whole process group, so the command gets it although a shell stands before it.
# The shell outlives it (its traps do nothing and are not inherited) to pass the command's exit code on, and
# waits for whatever is still saving: a wrapper script may die of a signal before the server that it started.
# A command may end with a backslash: the empty line after it is for that.
_ENTRYPOINT = """\
#!/bin/sh
stty -echo -onlcr 2>/dev/null
unset TINI_KILL_PROCESS_GROUP
asked_to_stop=
trap 'asked_to_stop=yes' HUP INT QUIT TERM USR1 USR2
cd /home/container || exit 1
{command}

code=$?
group_runs() {{
  for stat in /proc/[0-9]*/stat; do
    {{ read -r line < "$stat"; }} 2>/dev/null || continue
    pid=${{line%% *}}
    set -- ${{line##*) }}
    if [ "$3" = $$ ] && [ "$pid" != $$ ] && [ "$1" != Z ]; then return 0; fi
  done
  return 1
}}
while [ "$asked_to_stop" ] && group_runs; do sleep 0.1 || break; done
exit "$code"
"""


def write_entrypoint(folder: Path, spec: Spec) -> None:
    """Make sure that the script which starts the server is there; its command is the client's, word for word.

    Clients may count on an install script beside it, so one that does nothing stands in for none.
    """
    _write(folder / ENTRYPOINT, _ENTRYPOINT.format(command=_unix_lines(spec.startup_command)))
    if not spec.install_script:
        write_install(folder, _NO_INSTALL)


def write_install(folder: Path, script: str) -> tuple[str, ...]:
    """Write the install script; the command that runs it, obeying its `#!` line."""
    text = _unix_lines(script)
    _write(folder / INSTALL, text)
    return (INSTALL_INSIDE,) if text.startswith("#!") else ("/bin/sh", INSTALL_INSIDE)


def read_install(folder: Path) -> str | None:
    """The install script that was written there; None when there was none."""
    try:
        text = (folder / INSTALL).read_text()
    except FileNotFoundError:
        return None
    return None if text == _NO_INSTALL else text


def remove_folder(folder: Path) -> None:
    """Remove it with all scripts; fine when there is none."""
    if folder.exists():
        shutil.rmtree(folder)


def _unix_lines(text: str) -> str:
    """With line ends as a shell wants them: panels on Windows send others."""
    return text.replace("\r\n", "\n")


def _write(path: Path, text: str) -> None:
    """Replace the file at once; one that is right already stays."""
    content = text.encode()
    if path.exists() and path.read_bytes() == content and path.stat().st_mode & 0o777 == _MODE:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fresh.write_bytes(content)
    os.chmod(fresh, _MODE)  # noqa: PTH101 (the mode exactly, whatever the umask)
    fresh.replace(path)
