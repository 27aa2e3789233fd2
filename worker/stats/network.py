"""What a container has received and sent: its own view of its network interfaces, without loopback."""

from __future__ import annotations

from worker.stats.kernel_file import read_kernel_file

_HEADER_LINES = 2
_SENT_BYTES_FIELD = 8


def network_bytes(pid: int) -> tuple[int, int]:
    """Bytes received and sent in the network of a process; raises OSError when it has ended."""
    received = sent = 0
    for line in read_kernel_file(f"/proc/{pid}/net/dev").splitlines()[_HEADER_LINES:]:
        name, _, counters = line.partition(b":")
        if name.strip() != b"lo":
            fields = counters.split()
            received += int(fields[0])
            sent += int(fields[_SENT_BYTES_FIELD])
    return received, sent
