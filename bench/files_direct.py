"""`python -m bench.files_direct`: direct transfers over TCP beside nginx on the same volume, in turn.

Needs nginx and curl.
nginx sends with `sendfile` and takes with its WebDAV module; its temporary files lie in the volume too, so that both
write to the same disk. curl is the client of both.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.figures import show
from fleet.links import Link, sign_link
from storage.volumes import volume_path
from tests.storage.conftest import VOLUME_ID, host_settings
from tests.storage.files_process import FilesProcess, running_files_process
from tests.support.deadline import eventually
from tests.support.ports import free_port

SIZE_MB = 512
ROUNDS = 7
CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; user root; worker_processes 2;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile on; tcp_nopush on; client_max_body_size 0; client_body_temp_path {volume}/nginx;
    server {{ listen 127.0.0.1:{port}; root {volume}; location / {{ dav_methods PUT; }} }}
}}
"""


def main() -> None:
    """Print one row for each direction."""
    with host_settings() as made:
        settings = replace(made, files_url=f"http://127.0.0.1:{free_port()}")
        with running_files_process(settings) as files:
            files.call("POST", f"/volumes/{VOLUME_ID}", {"size_mb": 4 * SIZE_MB})
            volume = volume_path(settings, VOLUME_ID)
            large = settings.data / "large"
            large.write_bytes(os.urandom(1024 * 1024) * SIZE_MB)
            with nginx(volume) as plain:
                compare(files, plain, large)


def compare(files: FilesProcess, plain: str, large: Path) -> None:
    """Each direction with both, in turn, several times."""
    ours: dict[str, list[float]] = {"upload": [], "download": []}
    theirs: dict[str, list[float]] = {"upload": [], "download": []}
    for _ in range(ROUNDS):
        ours["upload"].append(timed(lambda: curl("-T", str(large), link(files, "upload"))))
        theirs["upload"].append(timed(lambda: curl("-T", str(large), f"{plain}/theirs")))
        ours["download"].append(timed(lambda: curl(link(files, "download"))))
        theirs["download"].append(timed(lambda: curl(f"{plain}/theirs")))
    for direction, seconds in ours.items():
        share = median(theirs[direction]) / median(seconds)
        speeds = [f"{SIZE_MB / median(taken):.0f}" for taken in (seconds, theirs[direction])]
        show(f"direct {direction}", f"{speeds[0]} MB/s, nginx {speeds[1]} MB/s: {share:.0%}", "60 %")


def link(files: FilesProcess, action: str) -> str:
    """What `?direct=1` would lead to."""
    allowed = Link(files.settings.node, VOLUME_ID, "ours", action, int(time.time()) + 60)
    return f"{files.settings.files_url}/links/{sign_link(files.settings.signing_key(), allowed)}"


def curl(*arguments: str) -> None:
    subprocess.run(["curl", "-sSf", "-o", "/dev/null", *arguments], check=True)


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


@contextmanager
def nginx(volume: Path) -> Iterator[str]:
    """An nginx of our own that serves the volume's folder; its address."""
    (volume / "nginx").mkdir()
    address = f"http://127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="lightd-nginx-") as name:
        configuration = Path(name) / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(folder=name, volume=volume, port=address.rpartition(":")[2]))
        with subprocess.Popen(["nginx", "-c", str(configuration), "-p", name]) as process:
            try:
                probe = ["curl", "-s", "-o", "/dev/null", address]
                eventually(lambda: subprocess.run(probe).returncode == 0, within_seconds=10, what="nginx")
                yield address
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
