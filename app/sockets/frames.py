"""WebSocket frames as a server sends them: whole, unmasked, built once for all who get them (RFC 6455, section 5.2)."""

from __future__ import annotations

import struct

_TEXT = 0x81
_CLOSE = 0x88
_PING = 0x89

_REASON_BYTES = 123

PING = bytes([_PING, 0])


def text_frame(text: str) -> bytes:
    """One text message. `text` is JSON with everything beyond ASCII escaped, so it always encodes."""
    return _frame(_TEXT, text.encode())


def close_frame(code: int, reason: str = "") -> bytes:
    """The end of a connection; a reason that does not fit is cut."""
    return _frame(_CLOSE, struct.pack("!H", code) + reason.encode()[:_REASON_BYTES])


def _frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", first, length) + payload
    if length < 65536:
        return struct.pack("!BBH", first, 126, length) + payload
    return struct.pack("!BBQ", first, 127, length) + payload
