"""Free ports on loopback."""

from __future__ import annotations

import random
import socket

_RANGE = range(10_000, 25_000)
"""Below those that the kernel gives to outgoing connections: one of these could take a port before it is used here."""

_told: set[int] = set()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, address: str = "127.0.0.1") -> int:
    """A port that nothing on this machine listens on at this moment; never one that this process was told before."""
    for port in random.sample([port for port in _RANGE if port not in _told], 100):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            _told.add(port)
            return port
    raise AssertionError("no port is free")
