"""A second Docker engine on this machine that a test may end and start again."""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import docker
from docker.errors import APIError

from scripts.engine import end_dockerd, start_dockerd
from tests.support.images import BUSYBOX


class OwnEngine:
    """A `dockerd` with data, socket and bridge of its own: without that bridge it would touch the first one's.

    `folder` must be short, as Unix sockets need it. With `live_restore` its containers run on while it is away;
    `log_options` are its defaults for logs.
    """

    def __init__(self, folder: Path, *, live_restore: bool = False, log_options: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._bridge = f"lt{secrets.token_hex(4)}"
        self._live_restore = live_restore
        self._more = ["--live-restore"] if live_restore else []
        self._more += [f"--log-opt={option}" for option in log_options]
        self._daemon: subprocess.Popen[bytes] | None = None
        self.address = f"unix://{folder}/docker.sock"
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"198.18.{secrets.randbelow(200) + 1}.1/24", "dev", self._bridge)

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [
            f"--data-root={self._folder}/data",
            f"--exec-root={self._folder}/exec",
            f"--pidfile={self._folder}/pid",
            f"--bridge={self._bridge}",
            "--iptables=false",
            "--ip6tables=false",
            *self._more,
        ]
        self._daemon = start_dockerd(self.address, self._folder / "log", options)

    def stop(self) -> None:
        """End it as an administrator does; its containers end with it, unless it is to restore them."""
        assert self._daemon
        end_dockerd(self._daemon)

    def signal(self, number: signal.Signals) -> None:
        """Freeze it or let it go on; its containers run on."""
        assert self._daemon
        self._daemon.send_signal(number)

    def client(self) -> docker.DockerClient:
        """A client; the caller closes it."""
        return docker.DockerClient(base_url=self.address, version="auto", timeout=60)

    def take_busybox(self, first: docker.DockerClient) -> None:
        """Copy the small image from the first engine."""
        with contextlib.closing(self.client()) as second:
            second.images.load(b"".join(first.images.get(BUSYBOX).save(named=True)))

    def close(self) -> None:
        """Remove all containers, end it, and take its interfaces away."""
        with contextlib.closing(self.client()) as client:
            for container in client.containers.list(all=True):
                with contextlib.suppress(APIError):
                    container.remove(force=True)
            client.networks.prune()
        self.stop()
        data = f"{self._folder}/data"
        if f" {data} " in Path("/proc/self/mounts").read_text():  # left by one that restores, or that did not start
            subprocess.run(["umount", data], check=True)
        _ip("link", "delete", self._bridge)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
