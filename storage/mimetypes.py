"""MIME types by content; the name only tells apart the many kinds of plain text."""

from __future__ import annotations

import codecs
import mimetypes as registry
import stat

SNIFFED_BYTES = 512
BINARY = "application/octet-stream"

# Offset, bytes found there, type; from the formats' own specifications. The first match counts.
_SIGNATURES: list[tuple[int, bytes, str]] = [
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"PK\x05\x06", "application/zip"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (257, b"ustar", "application/x-tar"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (8, b"WAVE", "audio/x-wav"),
    (0, b"\0\0\x01\0", "image/vnd.microsoft.icon"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"\x7fELF", "application/x-elf"),
    (0, b"MZ", "application/vnd.microsoft.portable-executable"),
    (0, b"\xca\xfe\xba\xbe", "application/java-vm"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/x-matroska"),
    (0, b"wOF2", "font/woff2"),
]

_TEXT_TYPES = {
    "application/json",
    "application/xml",
    "application/yaml",
    "application/toml",
    "application/javascript",
    "application/x-sh",
    "image/svg+xml",
}

_SPECIAL = {
    stat.S_IFDIR: "inode/directory",
    stat.S_IFLNK: "inode/symlink",
    stat.S_IFIFO: "inode/fifo",
    stat.S_IFSOCK: "inode/socket",
    stat.S_IFCHR: "inode/chardevice",
    stat.S_IFBLK: "inode/blockdevice",
}

_EXTENSIONS = {".yml": "application/yaml", ".yaml": "application/yaml", ".toml": "application/toml"}


def special_mimetype(mode: int) -> str:
    """The type of what is not a regular file, else an empty string."""
    return _SPECIAL.get(stat.S_IFMT(mode), "")


def mimetype_of(start: bytes, name: str) -> str:
    """The type of a file that begins with `start` (at most SNIFFED_BYTES of it)."""
    if not start:
        return "inode/x-empty"
    for offset, signature, kind in _SIGNATURES:
        if start.startswith(signature, offset) and (kind != "application/zip" or not name.endswith(".jar")):
            return kind
    if start.startswith(b"PK"):
        return "application/java-archive"
    return _text_type(name) if is_text(start) else BINARY


def is_text(start: bytes) -> bool:
    """Whether bytes read as UTF-8 text; a character cut off at the end is no objection."""
    if b"\0" in start:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True


def _text_type(name: str) -> str:
    dot = name.rfind(".")
    extension = name[dot:].lower() if dot > 0 else ""
    guessed = _EXTENSIONS.get(extension) or registry.types_map.get(extension, "")
    return guessed if guessed.startswith("text/") or guessed in _TEXT_TYPES else "text/plain"
