"""A blocking client that checks every byte that the protocol fixes; a breach raises Violation."""

from __future__ import annotations

import hashlib
import io
import os
import socket
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Sequence, Union

from peer_wire import (CHUNK, CODES, CONTROL, KEY, LOWER_ID, MAX_LINE, Channel, DigestMismatch,
                       EndOfStream, LineTooLong, Malformed, Refused, Text, Violation, decode_name,
                       decode_parameters, decode_size, escape, md5, to_bytes)


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
    """The error in a reply line, None for a yes (protocol section 3)."""
    if line != b"ERROR" and not line.startswith(b"ERROR "):
        return None
    code, _, text = line[6:].partition(b" ")
    if code not in CODES:
        raise Violation("an ERROR whose code is none of the protocol's: %r" % line)
    return Refused(code, text)


def parse_entry(line: bytes, allowed: Sequence[bytes] = ()) -> Entry:
    fields = line.split(b";")
    if len(fields) < 3:
        raise Violation("an entry is id;name;size, not %r" % line)
    if not LOWER_ID.fullmatch(fields[0]):
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
        if key not in allowed:
            raise Violation("nobody asked for %r in the entry %r" % (key, line))
    return Entry(fields[0].decode("ascii"), name, size, parameters)


class Client:
    """One connection, to `host` and `port`, or to the "host:port" that a server printed."""

    def __init__(self, host: str, port: Optional[int] = None, timeout: float = 15):
        if port is None:
            host, _, number = host.rpartition(":")
            port = int(number)
        self.channel = Channel(socket.create_connection((host, port), timeout))
        self.supported: FrozenSet[bytes] = frozenset()  # parameters that the server accepts

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
        """The next line without its end, checked against protocol section 1."""
        try:
            raw = self.channel.line()
        except LineTooLong:
            self.close()
            raise Violation("a line of more than %d bytes" % MAX_LINE) from None
        if raw.endswith(b"\r\n"):
            raise Violation("a line that ends in CR LF: %r" % raw)
        if CONTROL.search(raw[:-1]):
            raise Violation("a control byte in a line: %r" % raw)
        return raw[:-1]

    def reply(self) -> bytes:
        """The next line; an error is raised."""
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
        # Any byte is a breach, reported at once: the stream may stay open.
        if self.channel.buffer or self.channel.fill():
            raise Violation("the stream should end here, but brings %r"
                            % bytes(self.channel.buffer[:200]))

    # Commands

    def features(self) -> Optional[Dict[bytes, Optional[bytes]]]:
        """Features with their values; None from a server without FEATURES."""
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
            if not KEY.fullmatch(key) or equals and not value or b";" in line:
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
        supported = set(found) & {b"resume", b"have", b"nowait", b"mtime", b"prefix"}
        if found.get(b"version") == b"1":
            supported |= {b"id", b"offset", b"length"}
        self.supported = frozenset(supported)
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
        if id is not None and b"id" not in self.supported:
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
                self.send_unless_refused(data)
            elif position + len(data) > (offset or 0):
                self.send_unless_refused(data[(offset or 0) - position:])
            position += len(data)
        return Uploaded(self.read_id(), digest.hexdigest(), size, size - (offset or 0), offset)

    def read_ready(self, size: int, id_sent: bool) -> Optional[int]:
        """The offset of the ready line. Only a stored file has one here: resume is not sent."""
        line = self.reply()
        try:
            parameters = decode_parameters(line.split(b";")[1:], valued=(b"offset",))
            value = parameters.pop(b"offset", None)
            offset = None if value is None else decode_size(value)
        except Malformed as error:
            raise Violation("%s in the ready line %r" % (error, line)) from None
        if parameters:
            raise Violation("a parameter that the protocol does not have: %r" % line)
        if offset is not None and (not id_sent or offset != size):
            raise Violation("an offset that nobody asked for: %r" % line)
        return offset

    def read_id(self) -> str:
        """The last line of an upload: an id in lower case and nothing else."""
        line = self.reply()
        if not LOWER_ID.fullmatch(line):
            raise Violation("an id is 32 lower-case hex digits, not %r" % line)
        return line.decode("ascii")

    def send_unless_refused(self, data: bytes) -> None:
        """Send bytes of an upload; an ERROR received meanwhile is raised."""
        try:
            if self.channel.has_input():
                line = self.reply()
                raise Violation("a reply before the last byte: %r" % line)
            self.send(data)
        except (BrokenPipeError, ConnectionResetError):
            # The ERROR that explains it may have been received already.
            try:
                line = self.reply()
            except (OSError, EndOfStream):
                raise EndOfStream() from None
            raise Violation("a reply before the last byte: %r" % line) from None

    def download(self, id: Text, offset: Optional[int] = None,
                 length: Optional[int] = None) -> Downloaded:
        wire = to_bytes(id)
        requested = []
        for key, value in ((b"offset", offset), (b"length", length)):
            if value is not None:
                if key not in self.supported:
                    raise ValueError("the server was not asked whether it takes %r" % key)
                requested.append(key)
                wire += b";%s=%d" % (key, value)
        self.send_line(b"DOWNLOAD")
        self.words()
        self.send_line(wire)
        return self.read_download(to_bytes(id), offset, length)

    def read_download(self, id: bytes, offset: Optional[int] = None,
                      length: Optional[int] = None) -> Downloaded:
        requested = {b"offset": offset, b"length": length}
        entry = parse_entry(self.reply(),
                            [key for key, value in requested.items() if value is not None])
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
            data += self.channel.read_some(count - len(data))
        digest = md5(bytes(data))
        if count == entry.size and digest != entry.id:
            raise DigestMismatch("%s was asked for, %s came" % (entry.id, digest))
        return Downloaded(entry, bytes(data), digest)
