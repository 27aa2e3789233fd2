"""A WebSocket client down to the bytes: it can read slowly, send what no library would, and count frames."""

from __future__ import annotations

import base64
import os
import socket
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit


class RawSocket:
    """One connection after its handshake. Use it in a `with`."""

    def __init__(self, url: str, *, receive_buffer_bytes: int | None = None) -> None:
        parts = urlsplit(url)
        self.socket = socket.socket()
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(60)
        self.socket.connect((parts.hostname, parts.port))
        self._read = b""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {parts.path}?{parts.query} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Extensions: permessage-deflate",
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._read:
            self._read += self._receive()
        self.response, _, self._read = self._read.partition(b"\r\n\r\n")
        assert self.response.startswith(b"HTTP/1.1 101 "), self.response

    def __enter__(self) -> RawSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send_frame(self, first: int, payload: bytes, *, masked: bool = True, length: int | None = None) -> None:
        """Send a frame whose first byte is `first`; `length` is what its header claims."""
        claimed = len(payload) if length is None else length
        mask_bit = 0x80 if masked else 0
        if claimed < 126:
            header = struct.pack("!BB", first, mask_bit | claimed)
        elif claimed < 65536:
            header = struct.pack("!BBH", first, mask_bit | 126, claimed)
        else:
            header = struct.pack("!BBQ", first, mask_bit | 127, claimed)
        mask = os.urandom(4) if masked else b""
        body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)) if masked else payload
        self.socket.sendall(header + mask + body)

    def reset(self) -> None:
        """End the connection without a farewell: the peer meets an error, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """`(opcode, payload)` of every frame until the connection ends; each must be whole, final and unmasked."""
        while True:
            header = self._take(2)
            if header is None:
                return
            first, length = header
            assert first & 0x80 and not first & 0x70 and not length & 0x80, header
            if length == 126:
                (length,) = struct.unpack("!H", self._need(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self._need(8))
            yield first & 0x0F, self._need(length)

    def close_code(self) -> int | None:
        """Read to the end; the code of the close frame, None when the connection just ended."""
        for opcode, payload in self.frames():
            if opcode == 8:
                return int.from_bytes(payload[:2], "big")
        return None

    def _need(self, size: int) -> bytes:
        taken = self._take(size)
        assert taken is not None, "the connection ended inside a frame"
        return taken

    def _take(self, size: int) -> bytes | None:
        parts, have = [self._read], len(self._read)
        while have < size:
            received = self._receive()
            if not received:
                assert have == 0, "the connection ended inside a frame"
                return None
            parts.append(received)
            have += len(received)
        whole = b"".join(parts)
        self._read = whole[size:]
        return whole[:size]

    def _receive(self) -> bytes:
        try:
            return self.socket.recv(256 * 1024)
        except ConnectionResetError:
            return b""
