"""Free ports on loopback."""

from __future__ import annotations

import random
import socket

_RANGE = range(10_000, 25_000)
"""Below those that the kernel gives to outgoing connections: one of these could take a port before it is used here."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, address: str = "127.0.0.1") -> int:
    """A port that nothing on this machine listens on at this moment."""
    for port in random.sample(_RANGE, 100):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
