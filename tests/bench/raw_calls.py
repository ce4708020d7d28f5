"""Calls as a hostile client sends them, frame by frame: whatever body, compressed beforehand, at no cost to itself.

Just enough of HTTP/2 (RFC 9113) for one call at a time on one connection.
"""

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
_FRAME_BYTES = 16_384
_WINDOW_BYTES = 65_535
_INITIAL_WINDOW_SETTING = 4


def framed(message: bytes, *, is_compressed: bool = False) -> bytes:
    """A message as gRPC puts it into a body."""
    return struct.pack(">BI", is_compressed, len(message)) + message


def header_block(path: str, headers: Mapping[str, str]) -> bytes:
    """The headers of a call."""
    pseudo = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost"}
    fields = {**pseudo, "te": "trailers", "content-type": "application/grpc", **headers}
    return b"".join(_literal(name, value) for name, value in fields.items())


@dataclass
class _Answer:
    is_over: bool = False
    sent_bytes: int = 0


class RawConnection:
    """A connection that makes calls one after the other."""

    def __init__(self, port: int, timeout: float, *, source: str = "127.0.0.1") -> None:
        """`source`: the local address that it comes from."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0))
        self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
        self._unread = b""
        self._next_stream = 1
        self._window = self._stream_window = self._initial_window = _WINDOW_BYTES
        self._stream, self._answer = 0, _Answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def begin(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Make a call with a small body, and neither wait for its answer nor read it."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._socket.sendall(frame(HEADERS, END_HEADERS, stream, header_block(path, headers)))
        self._socket.sendall(frame(DATA, END_STREAM, stream, body))

    def begin_silently(self, path: str, headers: Mapping[str, str]) -> None:
        """Begin a call and send nothing more of it."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._socket.sendall(frame(HEADERS, END_HEADERS, stream, header_block(path, headers)))

    def call(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Make a call and wait for its end; how many bytes of the body the other side took.

        Raises:
            OSError: if the connection breaks, or nothing happens for as long as its timeout.
        """
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._socket.sendall(frame(HEADERS, END_HEADERS, stream, header_block(path, headers)))
        self._stream, self._stream_window, self._answer = stream, self._initial_window, _Answer()
        while self._answer.sent_bytes < len(body) and not self._answer.is_over:
            room = min(self._window, self._stream_window, _FRAME_BYTES)
            if room <= 0:
                self._read()
                continue
            part = body[self._answer.sent_bytes : self._answer.sent_bytes + room]
            self._answer.sent_bytes += len(part)
            flags = END_STREAM if self._answer.sent_bytes == len(body) else 0
            self._socket.sendall(frame(DATA, flags, stream, part))
            self._window -= len(part)
            self._stream_window -= len(part)
        while not self._answer.is_over:
            self._read()
        return self._answer.sent_bytes

    def _read(self) -> None:
        while len(self._unread) < 9 or len(self._unread) < 9 + int.from_bytes(self._unread[:3], "big"):
            came = self._socket.recv(65_536)
            if not came:
                raise ConnectionResetError("the server closed the connection")
            self._unread += came
        length = int.from_bytes(self._unread[:3], "big")
        kind, flags = self._unread[3], self._unread[4]
        stream = int.from_bytes(self._unread[5:9], "big") & 0x7FFFFFFF
        payload, self._unread = self._unread[9 : 9 + length], self._unread[9 + length :]
        self._take(kind, flags, stream, payload)

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == GOAWAY:
            raise ConnectionResetError("the server sent us away")
        if kind in {SETTINGS, PING} and not flags & ACK:
            self._confirm(kind, payload)
        elif kind == WINDOW:
            (more,) = struct.unpack(">I", payload)
            self._window += more if stream == 0 else 0
            self._stream_window += more if stream == self._stream else 0
        elif kind == DATA and payload:
            self._socket.sendall(frame(WINDOW, 0, 0, struct.pack(">I", len(payload))))
        if stream == self._stream and (kind == RST or (kind in {HEADERS, DATA} and flags & END_STREAM)):
            self._answer.is_over = True

    def _confirm(self, kind: int, payload: bytes) -> None:
        if kind == PING:
            self._socket.sendall(frame(PING, ACK, 0, payload))
            return
        for place in range(0, len(payload), 6):
            number, value = struct.unpack(">HI", payload[place : place + 6])
            if number == _INITIAL_WINDOW_SETTING:
                self._initial_window = value
        self._socket.sendall(frame(SETTINGS, ACK, 0, b""))


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame as it goes over the wire."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: str, value: str) -> bytes:
    """A header field that is never indexed, nor in Huffman's code (RFC 7541, 6.2.3)."""
    return b"\x10" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    length, rest = b"\x7f", len(data) - 127
    while rest >= 128:
        length += bytes((rest % 128 + 128,))
        rest //= 128
    return length + bytes((rest,)) + data
