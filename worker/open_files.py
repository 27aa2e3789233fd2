"""How many files a process may have open."""

from __future__ import annotations

import resource

_MOST = 65536


def allow_many() -> None:
    """Let this process have as many open as the host allows, for what keeps some open for each container."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _MOST), most))
