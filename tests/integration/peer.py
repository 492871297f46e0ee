#!/usr/bin/env python3
"""A second implementation of the filexfer protocol, written from its text alone.

It shares nothing with the library, not even the hasher, so that a mistake that
both ends of the library make alike shows here. The standard library of Python
3.9 is enough.

Client  a blocking client that believes nothing: every byte that the protocol
        fixes is checked, and a breach raises Violation.
Server  a threaded server on 127.0.0.1 with its files in memory, by default
        without FEATURES. It notes each breach of a client in `violations`, and
        breaks the protocol itself where its Behaviour says so.
ServerProcess, run_tests
        what the tests need to run the programs of this project.

`peer.py --selftest` runs the two against each other.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import hashlib
import io
import os
import queue
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from typing import Callable, Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Tuple, Union

MAX_LINE = 4096  # with its line end
MAX_SIZE = 2**63 - 1
CHUNK = 65536

PERMANENT_CODES = frozenset(
    b"unknown-command bad-request line-too-long bad-name bad-size bad-id bad-range not-found"
    b" too-large no-space mismatch collision io read-only".split())
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
    """The stream ended; `part` is what came of a line."""

    def __init__(self, part: bytes = b""):
        super().__init__("the stream ended" + (" after %r" % part[:80] if part else ""))
        self.part = part


class DigestMismatch(Exception):
    """A whole file came that does not hash to the id asked for."""


class LineTooLong(Exception):
    pass


class Malformed(Exception):
    """A field or a line that a server answers with ERROR `code`."""

    def __init__(self, code: str, what: str):
        super().__init__(code + ": " + what)
        self.code = code
        self.what = what


# Fields (protocol section 2)

_KEY = re.compile(rb"[a-z][a-z0-9-]*")
_COMMAND = re.compile(rb"[A-Za-z][A-Za-z_ ]*")
_DECIMAL = re.compile(rb"0|[1-9][0-9]*")
_ID = re.compile(rb"[0-9A-Fa-f]{32}")
_LOWER_ID = re.compile(rb"[0-9a-f]{32}")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_MUST_ESCAPE = re.compile(rb"[\x01-\x1f\x7f;%]")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


def to_bytes(text: Text) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else bytes(text)


def escape(name: Text) -> bytes:
    return _MUST_ESCAPE.sub(lambda match: b"%%%02X" % match.group()[0], to_bytes(name))


def decode_name(wire: bytes) -> bytes:
    """The name that `wire` stands for; Malformed `bad-name` where it is none."""
    if b"%" in _ESCAPE.sub(b"", wire):
        raise Malformed("bad-name", "a % without two hex digits")
    name = _ESCAPE.sub(lambda match: bytes([int(match.group(1), 16)]), wire)
    if not 1 <= len(name) <= 255:
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
    if not _DECIMAL.fullmatch(wire) or len(wire) > 19 or int(wire) > MAX_SIZE:
        raise Malformed("bad-size", repr(wire))
    return int(wire)


def decode_id(wire: bytes) -> bytes:
    if not _ID.fullmatch(wire):
        raise Malformed("bad-id", repr(wire))
    return wire.lower()


def decode_parameters(fields: Sequence[bytes], flags: Sequence[bytes] = (),
                      valued: Sequence[bytes] = ()) -> Dict[bytes, Optional[bytes]]:
    """Keys with their values, None for a flag; keys that are not known stay in."""
    parameters: Dict[bytes, Optional[bytes]] = {}
    for field in fields:
        key, equals, value = field.partition(b"=")
        if not _KEY.fullmatch(key):
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
    """A socket with what was read ahead of it."""

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
        """The next line with its end; nothing but the protocol's limit is judged."""
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

    def some(self, most: int) -> bytes:
        """One to `most` bytes."""
        if not self.buffer and not self.fill():
            raise EndOfStream()
        return self.take(min(most, len(self.buffer)))

    def has_input(self) -> bool:
        """Whether bytes are there that nobody has read; the end of the stream is none."""
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
        """Close with a TCP reset, as a peer that crashed looks."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


# The client


class Entry(NamedTuple):
    id: str
    name: bytes  # decoded
    size: int
    parameters: Dict[bytes, Optional[bytes]]


class Uploaded(NamedTuple):
    id: str  # what the server computed
    digest: str  # what hashlib computed
    size: int
    sent: int  # bytes that went over the wire
    offset: Optional[int]  # of the ready line


class Downloaded(NamedTuple):
    entry: Entry
    data: bytes
    digest: str


def parse_error(line: bytes) -> Optional[Refused]:
    """The error that a reply is, None for a yes (protocol section 3)."""
    if line != b"ERROR" and not line.startswith(b"ERROR "):
        return None
    code, _, text = line[6:].partition(b" ")
    if code not in CODES:
        raise Violation("an ERROR whose code is none of the protocol's: %r" % line)
    return Refused(code, text)


def parse_entry(line: bytes, may_carry: Sequence[bytes] = ()) -> Entry:
    fields = line.split(b";")
    if len(fields) < 3:
        raise Violation("an entry is id;name;size, not %r" % line)
    if not _LOWER_ID.fullmatch(fields[0]):
        raise Violation("an id is 32 lower-case hex digits, not %r" % fields[0])
    try:
        name = decode_name(fields[1])
        size = decode_size(fields[2])
        parameters = decode_parameters(fields[3:], valued=(b"offset", b"length", b"mtime"))
    except Malformed as error:
        raise Violation("%s in the entry %r" % (error, line)) from None
    if escape(name) != fields[1]:
        raise Violation("the name %r is written %r" % (fields[1], escape(name)))
    for key in parameters:
        if key not in may_carry:
            raise Violation("nobody asked for %r in the entry %r" % (key, line))
    return Entry(fields[0].decode("ascii"), name, size, parameters)


class Client:
    """One connection; `host` and `port`, or the "host:port" that a server printed."""

    def __init__(self, host: str, port: Optional[int] = None, timeout: float = 15):
        if port is None:
            host, _, number = host.rpartition(":")
            port = int(number)
        self.channel = Channel(socket.create_connection((host, port), timeout))
        self.told: FrozenSet[bytes] = frozenset()  # parameters that the server takes

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.channel.close()

    # Raw access

    def send(self, data: bytes) -> None:
        self.channel.send(data)

    def send_line(self, line: Text) -> None:
        self.send(to_bytes(line) + b"\n")

    def line(self) -> bytes:
        """The next line without its end, held against protocol section 1."""
        try:
            raw = self.channel.line()
        except LineTooLong:
            self.close()
            raise Violation("a line of more than %d bytes" % MAX_LINE) from None
        if raw.endswith(b"\r\n"):
            raise Violation("a line that ends in CR LF: %r" % raw)
        if _CONTROL.search(raw[:-1]):
            raise Violation("a control byte in a line: %r" % raw)
        return raw[:-1]

    def reply(self) -> bytes:
        """The next line, unless it is an error, which is raised."""
        line = self.line()
        error = parse_error(line)
        if error:
            raise error
        return line

    def words(self) -> bytes:
        """A yes whose words do not matter."""
        line = self.reply()
        if b";" in line:
            raise Violation("a yes in words holds no ';': %r" % line)
        return line

    def end_sending(self) -> None:
        self.channel.end_sending()

    def rest(self) -> bytes:
        """Everything up to the end of the stream."""
        while self.channel.fill():
            pass
        return self.channel.take(len(self.channel.buffer))

    def expect_end(self) -> None:
        # What comes is a breach already: a stream that stays open must not hold up the report.
        if self.channel.buffer or self.channel.fill():
            raise Violation("the stream should end here, but brings %r" % bytes(self.channel.buffer[:200]))

    # Commands

    def features(self) -> Optional[Dict[bytes, Optional[bytes]]]:
        """Features with their values, None of a server without FEATURES."""
        self.send_line(b"FEATURES")
        found: Dict[bytes, Optional[bytes]] = {}
        try:
            line = self.reply()
        except Refused as refused:
            if refused.code != "unknown-command":
                raise
            return None
        while line:
            key, equals, value = line.partition(b"=")
            if not _KEY.fullmatch(key) or equals and not value or b";" in line:
                raise Violation("not a feature: %r" % line)
            if key in found:
                raise Violation("the feature %r twice" % key)
            found[key] = value if equals else None
            line = self.reply()
        for key in (b"resume", b"have", b"nowait", b"mtime", b"prefix"):
            if found.get(key) is not None:
                raise Violation("the feature %r is a flag" % key)
        if b"max-size" in found:
            try:
                decode_size(found[b"max-size"] or b"")
            except Malformed as error:
                raise Violation("max-size: %s" % error) from None
        told = set(found) & {b"resume", b"have", b"nowait", b"mtime", b"prefix"}
        if found.get(b"version") == b"1":
            told |= {b"id", b"offset", b"length"}
        self.told = frozenset(told)
        return found

    def list_files(self, command: Text = b"LIST_FILES") -> List[Entry]:
        self.send_line(command)
        return self.read_list()

    def read_list(self) -> List[Entry]:
        line = self.reply()
        if not line:
            raise Violation("a list without entries begins with a line of words")
        if b";" not in line:
            if self.reply():
                raise Violation("more than one line of words in a list")
            return []
        entries: List[Entry] = []
        seen = set()
        while line:
            entry = parse_entry(line)
            if entry[:2] in seen:
                raise Violation("an entry stands twice in the list: %r" % line)
            seen.add(entry[:2])
            entries.append(entry)
            line = self.reply()
        return entries

    def upload(self, name: Text, source: Union[bytes, io.BufferedIOBase],
               id: Optional[str] = None, extra: bytes = b"") -> Uploaded:
        """Upload `source`, bytes or a seekable file; `extra` is added to the details line."""
        if id is not None and b"id" not in self.told:
            raise ValueError("the server was not asked whether it takes id=")
        stream = io.BytesIO(source) if isinstance(source, (bytes, bytearray)) else source
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        self.send_line(b"UPLOAD")
        self.words()
        line = escape(name) + b";%d" % size
        if id is not None:
            line += b";id=" + to_bytes(id)
        self.send_line(line + extra)
        offset = self.read_ready(size, id is not None)
        digest = hashlib.md5()
        position = 0
        while position < size:
            data = stream.read(CHUNK)
            digest.update(data)
            if position >= (offset or 0):
                self.send_watching(data)
            elif position + len(data) > (offset or 0):
                self.send_watching(data[(offset or 0) - position:])
            position += len(data)
        return Uploaded(self.read_id(), digest.hexdigest(), size, size - (offset or 0), offset)

    def read_ready(self, size: int, gave_id: bool) -> Optional[int]:
        """The offset of the ready line. Only a held file has one here: resume is not sent."""
        line = self.reply()
        try:
            parameters = decode_parameters(line.split(b";")[1:], valued=(b"offset",))
            value = parameters.pop(b"offset", None)
            offset = None if value is None else decode_size(value)
        except Malformed as error:
            raise Violation("%s in the ready line %r" % (error, line)) from None
        if parameters:
            raise Violation("a parameter that the protocol does not have: %r" % line)
        if offset is not None and (not gave_id or offset != size):
            raise Violation("an offset that nobody asked for: %r" % line)
        return offset

    def read_id(self) -> str:
        """The last line of an upload: an id in lower case and nothing else."""
        line = self.reply()
        if not _LOWER_ID.fullmatch(line):
            raise Violation("an id is 32 lower-case hex digits, not %r" % line)
        return line.decode("ascii")

    def send_watching(self, data: bytes) -> None:
        """Send bytes of an upload; an ERROR that comes meanwhile is raised."""
        try:
            if self.channel.has_input():
                line = self.reply()
                raise Violation("a reply before the last byte: %r" % line)
            self.send(data)
        except (BrokenPipeError, ConnectionResetError):
            # The ERROR that explains it may be there already.
            try:
                line = self.reply()
            except (OSError, EndOfStream):
                raise EndOfStream() from None
            raise Violation("a reply before the last byte: %r" % line) from None

    def download(self, id: Text, offset: Optional[int] = None,
                 length: Optional[int] = None) -> Downloaded:
        wire = to_bytes(id)
        asked = []
        for key, value in ((b"offset", offset), (b"length", length)):
            if value is not None:
                if key not in self.told:
                    raise ValueError("the server was not asked whether it takes %r" % key)
                asked.append(key)
                wire += b";%s=%d" % (key, value)
        self.send_line(b"DOWNLOAD")
        self.words()
        self.send_line(wire)
        return self.read_download(to_bytes(id), offset, length)

    def read_download(self, id: bytes, offset: Optional[int] = None,
                      length: Optional[int] = None) -> Downloaded:
        asked = {b"offset": offset, b"length": length}
        entry = parse_entry(self.reply(), [key for key, value in asked.items() if value is not None])
        if entry.id != id.lower().decode("ascii"):
            raise Violation("asked for %r, got %r" % (id, entry.id))
        try:
            start = decode_size(entry.parameters.get(b"offset") or b"0")
            count = decode_size(entry.parameters.get(b"length") or b"%d" % (entry.size - start))
        except Malformed as error:
            raise Violation("%s in the entry line" % error) from None
        if b"offset" in entry.parameters and start != offset:
            raise Violation("asked for offset %r, got %d" % (offset, start))
        if start > entry.size:
            raise Violation("an offset past the end")
        if b"length" in entry.parameters and count != min(length or 0, entry.size - start):
            raise Violation("asked for %r bytes, got %d" % (length, count))
        data = bytearray()
        while len(data) < count:
            data += self.channel.some(count - len(data))
        digest = md5(bytes(data))
        if count == entry.size and digest != entry.id:
            raise DigestMismatch("%s was asked for, %s came" % (entry.id, digest))
        return Downloaded(entry, bytes(data), digest)


# The server


class Store:
    """Files in memory: bytes by id, and the pairs (name, id) that the list shows."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.data: Dict[bytes, bytes] = {}
        self.names: List[Tuple[bytes, bytes]] = []

    def add(self, name: Text, data: bytes) -> bytes:
        """Store bytes that a connection or a test brings; Malformed `collision` if others are there."""
        id = md5(data).encode("ascii")
        with self.lock:
            if self.data.setdefault(id, data) != data:
                raise Malformed("collision", "other bytes have this id")
            self._name(to_bytes(name), id)
        return id

    def add_name(self, name: bytes, id: bytes, size: int) -> bool:
        """Give a name to what is held; False if it is not."""
        with self.lock:
            if id not in self.data or len(self.data[id]) != size:
                return False
            self._name(name, id)
            return True

    def _name(self, name: bytes, id: bytes) -> None:
        if (name, id) not in self.names:
            self.names.append((name, id))

    def entries(self) -> List[Tuple[bytes, bytes, int]]:
        with self.lock:
            return [(id, name, len(self.data[id])) for name, id in self.names]

    def find(self, id: bytes) -> Optional[Tuple[bytes, bytes]]:
        """A name and the bytes."""
        with self.lock:
            for name, named in self.names:
                if named == id:
                    return name, self.data[id]
        return None

    def content(self) -> Dict[bytes, bytes]:
        """Bytes by name, for stores in which a name stands once."""
        with self.lock:
            return {name: self.data[id] for name, id in self.names}


@dataclasses.dataclass
class Behaviour:
    """How a Server differs from a plain one.

    A point is the line that the server is about to send: "feature", "upload-prompt",
    "ready", "id", "download-prompt", "entry", "list-words", "list-entry", "list-end".
    """

    # What a client has to put up with.
    crlf: bool = False
    upper_ids: bool = False
    other_words: bool = False
    byte_by_byte: bool = False
    extra_features: Sequence[bytes] = ()
    extra_parameters: bytes = b""  # on the ready line and on entries

    # Errors that the protocol has.
    busy: bool = False
    refuse_upload: Optional[bytes] = None  # the ERROR's code and text, to the details line
    refuse_download: Optional[bytes] = None  # the same, to the id line
    fail_upload_after: Optional[int] = None  # ERROR no-space after so many bytes, and close
    fail_list_after: Optional[int] = None  # ERROR io in place of the entry after so many

    # Breaches.
    wrong_id: bool = False  # in the last line of an upload
    wrong_entry_id: bool = False  # in the entry line of a download
    flip_byte: Optional[int] = None  # of a download's bytes
    truncate_download: Optional[int] = None  # close after so many bytes
    hostile_name: Optional[bytes] = None  # as it stands on the wire, in every entry
    overlong_at: Optional[str] = None
    close_at: Optional[str] = None  # "connect", or in place of the line
    cut_at: Optional[str] = None  # in the middle of the line
    rewrite: Optional[Callable[[str, bytes], bytes]] = None  # (point, line) to what is sent

    # Silence; `stalled` is set then, and `release` ends it.
    stall_download_after: Optional[int] = None
    stall_upload_after: Optional[int] = None


class _Close(Exception):
    pass


class Server:
    """Serves until it is left: `with Server() as server: ... server.address`."""

    def __init__(self, features: bool = False, max_size: Optional[int] = None,
                 behaviour: Optional[Behaviour] = None, timeout: float = 20):
        self.features = features
        self.max_size = max_size
        self.behaviour = behaviour or Behaviour()
        self.timeout = timeout
        self.store = Store()
        self.violations: List[str] = []
        self.log: List[Tuple[str, object]] = []  # ("command", line), ("details", line), ...
        self.stalled = threading.Event()
        self.release = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._wake, self._waker = socket.socketpair()
        self._lock = threading.Lock()
        self._sessions: List[Tuple[threading.Thread, Session]] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def address(self) -> str:
        return "127.0.0.1:%d" % self.port

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End every connection and wait for its thread."""
        self.release.set()
        self._waker.close()
        self._acceptor.join()
        for _, session in self._sessions:
            session.abort()
        self.wait()
        self._listener.close()
        self._wake.close()

    def wait(self) -> None:
        """Wait until every connection so far has ended; the notes are complete then."""
        with self._lock:
            sessions = list(self._sessions)
        for thread, _ in sessions:
            thread.join()

    def logged(self, kind: str) -> List[object]:
        return [value for name, value in self.log if name == kind]

    def _accept(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self._wake], [], [])
            if self._wake in ready:
                return
            sock, _ = self._listener.accept()
            sock.settimeout(self.timeout)
            session = Session(self, sock)
            thread = threading.Thread(target=session.run, daemon=True)
            with self._lock:
                self._sessions.append((thread, session))
            thread.start()


class Session:
    """One connection of a Server."""

    def __init__(self, server: Server, sock: socket.socket):
        self.server = server
        self.behaviour = server.behaviour
        self.store = server.store
        self.channel = Channel(sock)
        self.told = False  # whether this client has seen FEATURES answered

    def run(self) -> None:
        try:
            self.serve()
        except (_Close, EndOfStream):
            pass
        except OSError:
            self.note("connection-broke", None)
        finally:
            self.channel.close()

    def abort(self) -> None:
        try:
            self.channel.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def serve(self) -> None:
        if self.behaviour.busy:
            self.fail(b"busy too many connections")
        if self.behaviour.close_at == "connect":
            raise _Close()
        try:
            while True:
                self.command()
        except LineTooLong:
            self.violation("a line of more than %d bytes" % MAX_LINE)
            self.fail(b"line-too-long a line has at most %d bytes" % MAX_LINE)
        except socket.timeout:
            self.fail(b"timeout the peer was silent for too long")

    # What a client must keep to

    def violation(self, what: str) -> None:
        self.server.violations.append(what)

    def note(self, kind: str, value: object) -> None:
        self.server.log.append((kind, value))

    def line(self, kind: str) -> bytes:
        raw = self.channel.line()
        if raw.endswith(b"\r\n"):
            self.violation("a line that ends in CR LF: %r" % raw)
            raw = raw[:-1]
        line = raw[:-1]
        self.note(kind, line)
        if _CONTROL.search(line):
            self.violation("a control byte in a line: %r" % line)
            raise Malformed("bad-request", "a control byte")
        return line

    def parameters(self, fields: Sequence[bytes], known: Sequence[bytes]) -> Dict[bytes, bytes]:
        """Those that this server has told of and knows. The others are ignored, and noted."""
        valued = known if self.server.features else ()
        found = decode_parameters(fields, valued=valued)
        for key in found:
            if not self.told or key not in known:
                self.violation("a parameter that the client was not told of: %r" % key)
        return {key: found[key] or b"" for key in valued if key in found}

    def id(self, wire: bytes) -> bytes:
        id = decode_id(wire)
        if id != wire:
            self.violation("an id in upper case: %r" % wire)
        return id

    def silent(self, before: str) -> None:
        """Note bytes that came before the reply that the client has to wait for."""
        if self.channel.has_input():
            self.violation("bytes came before %s was sent" % before)

    # Replies

    def words(self, words: bytes) -> bytes:
        return b"yes, go ahead" if self.behaviour.other_words else words

    def reply(self, point: str, line: bytes) -> None:
        behaviour = self.behaviour
        if not self.told or point == "ready":
            self.silent("the line " + repr(line))
        if behaviour.rewrite:
            line = behaviour.rewrite(point, line)
        if behaviour.close_at == point:
            raise _Close()
        if behaviour.overlong_at == point:
            line += b"x" * (MAX_LINE + 1 - len(line))
        data = line + (b"\r\n" if behaviour.crlf else b"\n")
        if behaviour.cut_at == point:
            self.send(data[:len(data) // 2])
            raise _Close()
        self.send(data)

    def send(self, data: bytes) -> None:
        if self.behaviour.byte_by_byte:
            for position in range(len(data)):
                self.channel.send(data[position:position + 1])
        else:
            self.channel.send(data)

    def error(self, error: Malformed) -> None:
        self.note("error", error.code)
        self.reply("error", b"ERROR " + error.code.encode("ascii") + b" " + escape(error.what[:200]))

    def fail(self, code_and_text: bytes) -> None:
        """Send an ERROR, end the sending side, drop for at most 2 s, close."""
        self.send(b"ERROR " + code_and_text + b"\n")
        self.channel.end_sending()
        deadline = time.monotonic() + 2
        try:
            while time.monotonic() < deadline:
                self.channel.sock.settimeout(max(0.01, deadline - time.monotonic()))
                self.channel.buffer.clear()
                if not self.channel.fill():
                    break
        except OSError:
            pass
        raise _Close()

    def written_id(self, id: bytes, wrong: bool = False) -> bytes:
        if wrong:
            id = md5(b"wrong " + id).encode("ascii")
        return id.upper() if self.behaviour.upper_ids else id

    def written_name(self, name: bytes) -> bytes:
        hostile = self.behaviour.hostile_name
        return escape(name) if hostile is None else hostile

    # Commands

    def command(self) -> None:
        try:
            fields = self.line("command").split(b";")
            name = fields[0]
            if fields == [b""]:
                raise Malformed("unknown-command", "an empty line")
            if not _COMMAND.fullmatch(name):
                raise Malformed("bad-request", "this is no command")
            commands: Dict[bytes, Callable[[], None]] = {
                b"UPLOAD": self.upload, b"DOWNLOAD": self.download}
            commands.update(dict.fromkeys(LIST_COMMANDS, self.list_files))
            if self.server.features:
                commands[b"FEATURES"] = self.features
            if name not in commands:
                raise Malformed("unknown-command", name.decode("ascii"))
            self.parameters(fields[1:], ())
        except Malformed as error:
            if error.code == "bad-request":
                self.violation("%s: %r" % (error, self.server.log[-1]))
                self.fail(b"bad-request " + escape(error.what))
            if fields != [b"FEATURES"]:
                self.violation("%s" % error)
            self.error(error)
            return
        commands[name]()

    def features(self) -> None:
        lines = [b"version=1", b"digest=md5"]
        if self.server.max_size is not None:
            lines.append(b"max-size=%d" % self.server.max_size)
        for line in lines + list(self.behaviour.extra_features):
            self.reply("feature", line)
        self.reply("feature", b"")
        self.told = True

    def list_files(self) -> None:
        entries = self.store.entries()
        behaviour = self.behaviour
        if not entries:
            self.reply("list-words", self.words(EMPTY_STORE_WORDS))
        for count, (id, name, size) in enumerate(entries):
            if behaviour.fail_list_after == count:
                self.reply("error", b"ERROR io the disk does not answer")
                return
            self.reply("list-entry", b"%s;%s;%d" % (
                self.written_id(id), self.written_name(name), size) + behaviour.extra_parameters)
        if behaviour.fail_list_after is not None and behaviour.fail_list_after >= len(entries):
            self.reply("error", b"ERROR io the disk does not answer")
            return
        self.reply("list-end", b"")

    def upload(self) -> None:
        self.reply("upload-prompt", self.words(UPLOAD_PROMPT))
        try:
            name, size, id = self.details()
        except Malformed as error:
            if error.code != "too-large":
                self.violation("%s in a details line" % error)
            self.error(error)
            return
        if self.behaviour.refuse_upload is not None:
            self.reply("error", b"ERROR " + self.behaviour.refuse_upload)
            return
        ready = self.words(READY_WORDS)
        if id is not None and self.store.add_name(name, id, size):
            self.reply("ready", ready + b";offset=%d" % size)
        else:
            self.reply("ready", ready + self.behaviour.extra_parameters)
            data = self.receive(size)
            computed = md5(data).encode("ascii")
            try:
                if id is not None and computed != id:
                    raise Malformed("mismatch", "these bytes hash to " + computed.decode("ascii"))
                id = self.store.add(name, data)
            except Malformed as error:
                self.error(error)
                return
        self.reply("id", self.written_id(id, self.behaviour.wrong_id))

    def details(self) -> Tuple[bytes, int, Optional[bytes]]:
        fields = self.line("details").split(b";")
        if len(fields) < 2:
            raise Malformed("bad-request", "name;size")
        size = decode_size(fields[1])
        if self.server.max_size is not None and size > self.server.max_size:
            raise Malformed("too-large", "at most %d bytes" % self.server.max_size)
        name = decode_name(fields[0])
        if escape(name) != fields[0]:
            self.violation("the name %r is written %r" % (fields[0], escape(name)))
        found = self.parameters(fields[2:], (b"id",))
        return name, size, self.id(found[b"id"]) if b"id" in found else None

    def receive(self, size: int) -> bytes:
        behaviour = self.behaviour
        data = bytearray()
        stops = [stop for stop in (behaviour.fail_upload_after, behaviour.stall_upload_after)
                 if stop is not None and stop <= size]
        while len(data) < size or stops:
            if len(data) in stops:
                stops.remove(len(data))
                if behaviour.fail_upload_after == len(data):
                    self.fail(b"no-space the disk is full")
                self.stall()
                continue
            data += self.channel.some(min(stops + [size]) - len(data))
        self.note("bytes", len(data))
        return bytes(data)

    def stall(self) -> None:
        self.server.stalled.set()
        self.server.release.wait()

    def download(self) -> None:
        behaviour = self.behaviour
        self.reply("download-prompt", self.words(DOWNLOAD_PROMPT))
        try:
            name, data, id, start, end, applied = self.wanted()
        except Malformed as error:
            if error.code != "not-found":
                self.violation("%s in an id line" % error)
            self.error(error)
            return
        if behaviour.refuse_download is not None:
            self.reply("error", b"ERROR " + behaviour.refuse_download)
            return
        self.reply("entry", b"%s;%s;%d" % (
            self.written_id(id, behaviour.wrong_entry_id), self.written_name(name), len(data))
            + applied + behaviour.extra_parameters)
        part = bytearray(data[start:end])
        if behaviour.flip_byte is not None:
            part[behaviour.flip_byte] ^= 0x01
        stop = behaviour.stall_download_after
        if stop is not None and stop <= len(part):
            self.send(bytes(part[:stop]))
            self.stall()
            del part[:stop]
        if behaviour.truncate_download is not None:
            self.send(bytes(part[:behaviour.truncate_download]))
            raise _Close()
        self.send(bytes(part))

    def wanted(self) -> Tuple[bytes, bytes, bytes, int, int, bytes]:
        """Name, bytes, id, first byte, the one behind the last, the parameters that hold."""
        fields = self.line("id").split(b";")
        id = self.id(fields[0])
        found = self.parameters(fields[1:], (b"offset", b"length"))
        try:
            offset = decode_size(found.get(b"offset", b"0"))
            length = decode_size(found.get(b"length", b"%d" % MAX_SIZE))
        except Malformed as error:
            raise Malformed("bad-range", error.what) from None
        file = self.store.find(id)
        if file is None:
            raise Malformed("not-found", "no file has this id")
        name, data = file
        if offset > len(data):
            raise Malformed("bad-range", "the file has %d bytes" % len(data))
        end = offset + min(length, len(data) - offset)
        applied = b""
        if b"offset" in found:
            applied += b";offset=%d" % offset
        if b"length" in found:
            applied += b";length=%d" % (end - offset)
        return name, data, id, offset, end, applied


# The programs of this project


def program(name: str) -> str:
    """The path of a program, "" where it was not built."""
    folder = os.environ.get("FILEXFER_BIN")
    path = os.path.abspath(os.path.join(folder, name)) if folder else ""
    return path if path and os.access(path, os.X_OK) else ""


def restore_signals() -> None:
    # A test run in the background may have been started with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class ServerProcess:
    """A running filexfer-server, or a program that is started like it, on a free port of 127.0.0.1."""

    def __init__(self, *arguments: str, store: str = "memory", wait: float = 15, name: str = "filexfer-server"):
        self.log_file = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [program(name), "--listen", "127.0.0.1:0", "--store", store, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log_file,
            preexec_fn=restore_signals)
        self._lines: "queue.Queue[bytes]" = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            line = self._lines.get(timeout=wait)
        except queue.Empty:
            line = b""
        match = re.fullmatch(rb"listening on (127\.0\.0\.1:(\d+))\n", line)
        if not match:
            self.kill()
            raise AssertionError("filexfer-server printed %r instead of its address; its log:\n%s"
                                 % (line, self.log()))
        self.address = match.group(1).decode("ascii")

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def client(self, timeout: float = 15) -> Client:
        return Client(self.address, timeout=timeout)

    def log(self) -> str:
        self.log_file.seek(0)
        return self.log_file.read().decode("utf-8", "backslashreplace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._finish()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self, wait: float = 15) -> None:
        """SIGTERM; AssertionError unless it exits with 0 and wrote nothing but its address."""
        self.terminate()
        self.join(wait)

    def join(self, wait: float = 15) -> None:
        try:
            code = self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("filexfer-server did not stop; its log:\n" + self.log()) from None
        self._reader.join()
        rest = self._lines.get()
        if code != 0 or rest:
            raise AssertionError("filexfer-server exited with %d, printed %r; its log:\n%s"
                                 % (code, rest, self.log()))
        self._finish()

    def _finish(self) -> None:
        self._reader.join()
        assert self.process.stdout
        self.process.stdout.close()

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.process.poll() is None:
            if kind is None:
                self.stop()
            else:
                self.kill()
        self.log_file.close()


def run_tests(*needed: str, limit: float = 500) -> None:
    """unittest.main for a script that needs these programs; 77 tells CTest that it was skipped."""
    missing = [name for name in needed if not program(name)]
    if missing:
        print("skipped: %s not found, FILEXFER_BIN names no folder with it" % ", ".join(missing))
        sys.exit(77)
    # A test that hangs shows where, before ctest ends it.
    faulthandler.dump_traceback_later(limit, exit=True)
    unittest.main(module="__main__", verbosity=2)


# The two against each other


class PeersTest(unittest.TestCase):
    def served(self, **arguments) -> Tuple[Server, Client]:
        server = Server(**arguments)
        self.addCleanup(server.stop)
        client = Client("127.0.0.1", server.port, timeout=10)
        self.addCleanup(client.close)
        return server, client

    def misbehaving(self, features: bool = True, **how) -> Client:
        server, client = self.served(features=features, behaviour=Behaviour(**how))
        server.store.add("a", b"hello")
        server.store.add("b", b"world")
        if features:
            client.told = frozenset({b"id", b"offset", b"length"})
        return client

    def refused(self, code: str, call: Callable[..., object], *arguments, **keywords) -> None:
        with self.assertRaises(Refused) as caught:
            call(*arguments, **keywords)
        self.assertEqual(caught.exception.code, code)

    def test_files_go_there_and_back(self) -> None:
        for features in (False, True):
            server, client = self.served(features=features)
            self.assertEqual(client.features() is not None, features)
            self.assertEqual(client.list_files(), [])
            for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7):
                data = os.urandom(size)
                name = "size %d;%%\x01" % size
                uploaded = client.upload(name, data)
                self.assertEqual(uploaded.id, uploaded.digest)
                self.assertEqual(uploaded.sent, size)
                downloaded = client.download(uploaded.id)
                self.assertEqual(downloaded.data, data)
                self.assertEqual(downloaded.entry.name, name.encode())
            self.assertEqual(len(client.list_files(b"LIST FILE")), 6)
            client.close()
            server.wait()
            self.assertEqual(server.violations, [])

    def test_a_file_object_is_uploaded(self) -> None:
        _, client = self.served()
        data = os.urandom(200000)
        with tempfile.TemporaryFile() as file:
            file.write(data)
            self.assertEqual(client.upload("f", file).id, md5(data))

    def test_what_is_held_is_not_sent_again(self) -> None:
        server, client = self.served(features=True)
        client.features()
        first = client.upload("one", b"hello")
        second = client.upload("two", b"hello", id=first.id)
        self.assertEqual((second.id, second.sent, second.offset), (first.id, 0, 5))
        self.assertEqual(sorted(server.store.content()), [b"one", b"two"])
        self.refused("mismatch", client.upload, "three", b"longer than that", id=first.id)
        self.assertEqual(len(client.list_files()), 2)
        client.close()
        server.wait()

    def test_ranges(self) -> None:
        _, client = self.served(features=True)
        client.features()
        id = client.upload("digits", b"0123456789").id
        for offset, length, data in ((0, None, b"0123456789"), (4, None, b"456789"),
                                       (None, 3, b"012"), (8, 9, b"89"), (10, None, b""), (3, 0, b"")):
            self.assertEqual(client.download(id, offset, length).data, data)
        self.refused("bad-range", client.download, id, 11)

    def test_the_largest_size_is_told_and_kept(self) -> None:
        _, client = self.served(features=True, max_size=4)
        self.assertEqual((client.features() or {}).get(b"max-size"), b"4")
        client.upload("four", b"four")
        self.refused("too-large", client.upload, "five", b"fives")

    def test_a_base_server_ignores_what_it_does_not_know(self) -> None:
        server, client = self.served()
        client.told = frozenset({b"id", b"offset"})
        self.assertEqual(client.upload("a", b"hello", id=md5(b"other")).id, md5(b"hello"))
        self.assertEqual(client.download(md5(b"hello"), offset=2).data, b"hello")
        client.close()
        server.wait()
        self.assertEqual(len(server.violations), 2)

    def test_the_server_answers_and_notes_each_breach(self) -> None:
        id = md5(b"hello").encode()
        upload = b"UPLOAD\n"
        download = b"DOWNLOAD\n"
        cases = (
            (b"LIST_FILES\r\n", None), (b"LIST_FILES;x\n", None),
            (b"\n", "unknown-command"), (b"HELLO\n", "unknown-command"),
            (b"A" * 4095 + b"\n", "unknown-command"), (b"A" * 4096, "line-too-long"),
            (b"GET / HTTP/1.1\r\n", "bad-request"), (b"LIST_FILES;\n", "bad-request"),
            (b"LIST_FILES\t\n", "bad-request"),
            (upload + b"a\n", "bad-request"), (upload + b"a;01\n", "bad-size"),
            (upload + b"a;9223372036854775808\n", "bad-size"), (upload + b"../a;1\n", "bad-name"),
            (upload + b"a%0;1\n", "bad-name"), (upload + b"\xff;1\n", "bad-name"),
            (upload + b"a%00;1\n", "bad-name"), (upload + b"a%2F..;1\n", "bad-name"),
            (upload + b"a" * 256 + b";1\n", "bad-name"), (upload + b"a;1;id=x\n", "bad-id"),
            (upload + b"a;1;id\n", "bad-request"), (upload + b"a;1;x;x\n", "bad-request"),
            (upload + b"a%3b;0\n", None), (upload + b"%61;0\n", None), (upload + b"b;1\nbc", "unknown-command"),
            (download + b"x\n", "bad-id"), (download + id.upper() + b"\n", None),
            (download + id + b";offset=x\n", "bad-range"), (download + id + b";offset=6\n", "bad-range"),
        )
        for data, code in cases:
            with self.subTest(data=data[:60]):
                with Server(features=True) as server, Client(server.address, timeout=10) as client:
                    server.store.add("a", b"hello")
                    client.features()
                    client.send(data + (b"" if len(data) > 4095 else b"\n" * data.endswith(b"bc")))
                    client.end_sending()
                    answer = client.rest()
                    server.wait()
                    self.assertNotEqual(server.violations, [])
                    if code:
                        self.assertIn(b"ERROR " + code.encode(), answer)
                    else:
                        self.assertNotIn(b"ERROR", answer)

    def test_bytes_before_the_ready_line_are_noted(self) -> None:
        server, client = self.served(features=True)
        client.features()
        client.send(b"UPLOAD\na;5\nhello")
        client.end_sending()
        self.assertTrue(client.rest().endswith(md5(b"hello").encode() + b"\n"))
        server.wait()
        self.assertEqual(len(server.violations), 1)

    def test_the_client_names_each_breach(self) -> None:
        hello = md5(b"hello")
        for how in ({"crlf": True}, {"upper_ids": True}, {"extra_parameters": b";x=1"},
                    {"hostile_name": b"../x"}, {"hostile_name": b"a%3b"}, {"hostile_name": b"%61"},
                    {"hostile_name": b"a\tb"}, {"overlong_at": "list-entry"},
                    {"rewrite": lambda point, line: b"" if point == "list-entry" else line},
                    {"rewrite": lambda point, line: line.replace(b";5", b";05")},
                    {"rewrite": lambda point, line: b"ERROR" if point == "list-end" else line},
                    {"rewrite": lambda point, line: b"ERROR odd" if point == "list-end" else line},
                    {"rewrite": lambda point, line: line or b"words"},
                    {"hostile_name": b"same", "rewrite": lambda point, line: line.replace(
                        md5(b"world").encode(), hello.encode())}):
            with self.subTest(how=how):
                self.assertRaises(Violation, self.misbehaving(**how).list_files)
        for how in ({"wrong_entry_id": True}, {"overlong_at": "entry"}, {"overlong_at": "download-prompt"},
                    {"extra_parameters": b";offset=1"}):
            with self.subTest(how=how):
                self.assertRaises(Violation, self.misbehaving(**how).download, hello)
        for how in ({"extra_parameters": b";offset=0"}, {"upper_ids": True}, {"extra_parameters": b";x"},
                    {"rewrite": lambda point, line: line + b";" if point == "upload-prompt" else line}):
            with self.subTest(how=how):
                self.assertRaises(Violation, self.misbehaving(**how).upload, "c", b"bytes")

    def test_a_wrong_id_and_a_flipped_byte_show(self) -> None:
        uploaded = self.misbehaving(wrong_id=True).upload("c", b"bytes")
        self.assertNotEqual(uploaded.id, uploaded.digest)
        self.assertRaises(DigestMismatch, self.misbehaving(flip_byte=3).download, md5(b"hello"))

    def test_a_short_stream_is_no_file_and_no_list(self) -> None:
        client = self.misbehaving(truncate_download=3)
        self.assertRaises(EndOfStream, client.download, md5(b"hello"))
        for point in ("list-entry", "list-end"):
            self.assertRaises(EndOfStream, self.misbehaving(cut_at=point).list_files)
            self.assertRaises(EndOfStream, self.misbehaving(close_at=point).list_files)
        self.assertRaises((EndOfStream, OSError), self.misbehaving(close_at="connect").list_files)

    def test_errors_are_understood_wherever_they_stand(self) -> None:
        self.refused("busy", self.misbehaving(busy=True).reply)
        self.refused("io", self.misbehaving(fail_list_after=1).list_files)
        client = self.misbehaving(fail_upload_after=1000)
        self.refused("no-space", client.upload, "c", bytes(32 * 1024 * 1024))
        client = self.misbehaving(refuse_download=b"not-found")
        self.refused("not-found", client.download, md5(b"hello"))
        self.assertEqual(len(client.list_files()), 2)

    def test_a_stalled_download_goes_on_when_released(self) -> None:
        server, client = self.served(behaviour=Behaviour(stall_download_after=2, byte_by_byte=True))
        server.store.add("a", b"hello")
        client.send_line(b"DOWNLOAD")
        client.words()
        client.send_line(md5(b"hello"))
        self.assertTrue(server.stalled.wait(10))
        server.release.set()
        self.assertEqual(client.read_download(md5(b"hello").encode()).data, b"hello")


def _selftest() -> None:
    faulthandler.dump_traceback_later(120, exit=True)
    unittest.main(module="__main__", argv=[sys.argv[0]], verbosity=2)


if __name__ == "__main__":
    if sys.argv[1:] != ["--selftest"]:
        sys.exit("usage: peer.py --selftest")
    _selftest()
