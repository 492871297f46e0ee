"""Lines and fields of the protocol, and a socket that reads lines: shared by both peers."""

from __future__ import annotations

import hashlib
import re
import select
import socket
import struct
from typing import Dict, Optional, Sequence, Union

MAX_LINE = 4096  # with its line end
MAX_SIZE = 2**63 - 1
CHUNK = 65536

PERMANENT_CODES = frozenset(
    b"unknown-command bad-request line-too-long bad-name bad-size bad-id bad-range not-found"
    b" too-large no-space mismatch collision io read-only denied".split())
CLOSING_CODES = frozenset(b"line-too-long superseded busy timeout shutting-down".split())
CODES = PERMANENT_CODES | CLOSING_CODES

LIST_COMMANDS = (b"LIST_FILES", b"LIST FILES", b"LIST_FILE", b"LIST FILE")

UPLOAD_PROMPT = b"Please send the file name and file size"
READY_WORDS = b"Ready to receive the file"
DOWNLOAD_PROMPT = b"Please send a file ID"
EMPTY_STORE_WORDS = b"No files available at the moment"

Text = Union[bytes, str]


class Violation(Exception):
    """The other side broke the protocol."""


class Refused(Exception):
    """The other side answered ERROR."""

    def __init__(self, code: bytes, text: bytes):
        super().__init__((code + b" " + text).decode("utf-8", "backslashreplace"))
        self.code = code.decode("ascii")
        self.text = text


class EndOfStream(Exception):
    """The stream ended; `part` is what was received of a line."""

    def __init__(self, part: bytes = b""):
        super().__init__("the stream ended" + (" after %r" % part[:80] if part else ""))
        self.part = part


class DigestMismatch(Exception):
    """A complete file was received that does not hash to the requested id."""


class LineTooLong(Exception):
    pass


class Malformed(Exception):
    """A field or line that a server rejects with ERROR `code`."""

    def __init__(self, code: str, reason: str):
        super().__init__(code + ": " + reason)
        self.code = code
        self.reason = reason


# Fields (protocol section 2)

KEY = re.compile(rb"[a-z][a-z0-9-]*")
COMMAND = re.compile(rb"[A-Za-z][A-Za-z_ ]*")
DECIMAL = re.compile(rb"0|[1-9][0-9]*")
ID = re.compile(rb"[0-9A-Fa-f]{32}")
LOWER_ID = re.compile(rb"[0-9a-f]{32}")
ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
MUST_ESCAPE = re.compile(rb"[\x01-\x1f\x7f;%]")
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def to_bytes(text: Text) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else bytes(text)


def escape(name: Text) -> bytes:
    return MUST_ESCAPE.sub(lambda match: b"%%%02X" % match.group()[0], to_bytes(name))


def decode_name(wire: bytes) -> bytes:
    """The name that `wire` encodes; raises Malformed `bad-name` if it is invalid."""
    if b"%" in ESCAPE.sub(b"", wire):
        raise Malformed("bad-name", "a % without two hex digits")
    name = ESCAPE.sub(lambda match: bytes([int(match.group(1), 16)]), wire)
    if not 1 <= len(name) <= 1024 or any(len(part) > 255 for part in name.split(b"/")):
        raise Malformed("bad-name", "%d bytes" % len(name))
    if b"\0" in name:
        raise Malformed("bad-name", "a NUL")
    try:
        name.decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise Malformed("bad-name", "not UTF-8") from None
    if any(component in (b"", b".", b"..") for component in name.split(b"/")):
        raise Malformed("bad-name", "an empty, . or .. component")
    return name


def decode_size(wire: bytes) -> int:
    if not DECIMAL.fullmatch(wire) or len(wire) > 19 or int(wire) > MAX_SIZE:
        raise Malformed("bad-size", repr(wire))
    return int(wire)


def decode_id(wire: bytes) -> bytes:
    if not ID.fullmatch(wire):
        raise Malformed("bad-id", repr(wire))
    return wire.lower()


def decode_parameters(fields: Sequence[bytes], flags: Sequence[bytes] = (),
                      valued: Sequence[bytes] = ()) -> Dict[bytes, Optional[bytes]]:
    """Keys with their values, None for a flag; unknown keys are kept."""
    parameters: Dict[bytes, Optional[bytes]] = {}
    for field in fields:
        key, equals, value = field.partition(b"=")
        if not KEY.fullmatch(key):
            raise Malformed("bad-request", "not a key: %r" % key)
        if key in parameters:
            raise Malformed("bad-request", "%r twice" % key)
        if equals and not value or key in valued and not equals:
            raise Malformed("bad-request", "%r without a value" % key)
        if key in flags and equals:
            raise Malformed("bad-request", "%r with a value" % key)
        parameters[key] = value if equals else None
    return parameters


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Channel:
    """A socket with a read buffer."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.buffer = bytearray()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def fill(self) -> bool:
        data = self.sock.recv(CHUNK)
        self.buffer += data
        return bool(data)

    def line(self) -> bytes:
        """The next line with its end; only its length is checked."""
        while True:
            end = self.buffer.find(b"\n", 0, MAX_LINE)
            if end >= 0:
                return self.take(end + 1)
            if len(self.buffer) >= MAX_LINE:
                raise LineTooLong()
            if not self.fill():
                raise EndOfStream(bytes(self.buffer))

    def take(self, count: int) -> bytes:
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def read_some(self, max_size: int) -> bytes:
        """Reads 1 to `max_size` bytes."""
        if not self.buffer and not self.fill():
            raise EndOfStream()
        return self.take(min(max_size, len(self.buffer)))

    def has_input(self) -> bool:
        """Whether unread bytes are available; the end of the stream does not count."""
        if self.buffer:
            return True
        if not select.select([self.sock], [], [], 0)[0]:
            return False
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def end_sending(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a TCP reset, as if the peer had crashed."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()
