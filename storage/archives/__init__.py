"""Archives: zip, tar, tar.gz, tar.bz2 and tar.zst, made and opened through descriptors only."""

from storage.archives.formats import ArchiveFormat, format_named
from storage.archives.packing import Report, compress, stream_archive
from storage.archives.unpacking import Unpacked, decompress

__all__ = ["ArchiveFormat", "Report", "Unpacked", "compress", "decompress", "format_named", "stream_archive"]
