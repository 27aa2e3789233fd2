"""Volumes: folders of a limited size on this host. `Volumes` in `storage.volumes.store` is the way in."""

from storage.volumes.driver import QuotaDriver, Usage
from storage.volumes.layout import volume_path
from storage.volumes.store import Volumes

__all__ = ["QuotaDriver", "Usage", "Volumes", "volume_path"]
