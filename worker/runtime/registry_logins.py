"""The operator's logins for registries, read from their file at each pull: a new one counts at once.

Nothing of them is ever logged, told to a client or given to a container; the engine gets one with the pull it is for.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from dataclasses import dataclass, field
from typing import Any

import structlog

from fleet.errors import Conflict
from fleet.images import HUB, registry_of

_HUB_ADDRESS = "https://index.docker.io/v1/"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Login:
    """One login; shown anywhere, its password stays hidden."""

    registry: str
    username: str
    password: str = field(repr=False)

    def header(self) -> str:
        """What the engine takes it as."""
        address = _HUB_ADDRESS if self.registry == HUB else self.registry
        fields = {"username": self.username, "password": self.password, "serveraddress": address}
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode("ascii")


class RegistryLogins:
    """The file of LIGHTD_REGISTRY_LOGINS; '' for none."""

    def __init__(self, path: str) -> None:
        self._path = path

    def login_for(self, image: str) -> Login | None:
        """The login for the registry of an image. Raises Conflict when the file cannot be used."""
        if not self._path:
            return None
        registry = registry_of(image)
        try:
            found = self._read().get(registry)
            return None if found is None else Login(registry, str(found["username"]), str(found["password"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = error if isinstance(error, OSError) else type(error).__name__
            _log.error("the file of LIGHTD_REGISTRY_LOGINS cannot be used", reason=str(reason))
        raise Conflict(
            "The operator's registry logins on this node cannot be used; see its log.",
            code="registry_logins",
        )

    def _read(self) -> dict[str, Any]:
        with open(self._path, "rb") as file:  # noqa: PTH123 (what is checked below is what was opened)
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise PermissionError(f"{self._path} may be readable only for its owner: chmod 600")
            logins: dict[str, Any] = json.load(file)
        return logins
