"""One connection of the server in peer_server.py."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Callable, Dict, Optional, Sequence, Tuple

from peer_wire import (COMMAND, CONTROL, DOWNLOAD_PROMPT, EMPTY_STORE_WORDS, LIST_COMMANDS,
                       MAX_LINE, MAX_SIZE, READY_WORDS, UPLOAD_PROMPT, Channel, EndOfStream,
                       LineTooLong, Malformed, decode_id, decode_name, decode_parameters,
                       decode_size, escape, md5)

if TYPE_CHECKING:
    from peer_server import Server


class _Close(Exception):
    pass


class Session:
    """Serves the connection until either side ends it."""

    def __init__(self, server: Server, sock: socket.socket):
        self.server = server
        self.behaviour = server.behaviour
        self.store = server.store
        self.channel = Channel(sock)
        self.features_answered = False  # whether FEATURES was answered on this connection

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

    # Checks of what the client sends

    def violation(self, breach: str) -> None:
        self.server.violations.append(breach)

    def note(self, kind: str, value: object) -> None:
        self.server.log.append((kind, value))

    def line(self, kind: str) -> bytes:
        raw = self.channel.line()
        if raw.endswith(b"\r\n"):
            self.violation("a line that ends in CR LF: %r" % raw)
            raw = raw[:-1]
        line = raw[:-1]
        self.note(kind, line)
        if CONTROL.search(line):
            self.violation("a control byte in a line: %r" % line)
            raise Malformed("bad-request", "a control byte")
        return line

    def parameters(self, fields: Sequence[bytes], known: Sequence[bytes]) -> Dict[bytes, bytes]:
        """The parameters that this server announces and knows. Others are ignored, and noted."""
        valued = known if self.server.features else ()
        found = decode_parameters(fields, valued=valued)
        for key in found:
            if not self.features_answered or key not in known:
                self.violation("a parameter that the client was not told of: %r" % key)
        return {key: found[key] or b"" for key in valued if key in found}

    def id(self, wire: bytes) -> bytes:
        id = decode_id(wire)
        if id != wire:
            self.violation("an id in upper case: %r" % wire)
        return id

    def check_silence(self, before: str) -> None:
        """Note bytes that arrived before the reply that the client must wait for."""
        if self.channel.has_input():
            self.violation("bytes came before %s was sent" % before)

    # Replies

    def words(self, words: bytes) -> bytes:
        return b"yes, go ahead" if self.behaviour.other_words else words

    def reply(self, point: str, line: bytes) -> None:
        behaviour = self.behaviour
        if not self.features_answered or point == "ready":
            self.check_silence("the line " + repr(line))
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
        self.reply("error",
                   b"ERROR " + error.code.encode("ascii") + b" " + escape(error.reason[:200]))

    def fail(self, code_and_text: bytes) -> None:
        """Send an ERROR, end the sending side, discard input for at most 2 s, close."""
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

    def wire_id(self, id: bytes, wrong: bool = False) -> bytes:
        if wrong:
            id = md5(b"wrong " + id).encode("ascii")
        return id.upper() if self.behaviour.upper_ids else id

    def wire_name(self, name: bytes) -> bytes:
        hostile = self.behaviour.hostile_name
        return escape(name) if hostile is None else hostile

    # Commands

    def command(self) -> None:
        try:
            fields = self.line("command").split(b";")
            name = fields[0]
            if fields == [b""]:
                raise Malformed("unknown-command", "an empty line")
            if not COMMAND.fullmatch(name):
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
                self.fail(b"bad-request " + escape(error.reason))
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
        self.features_answered = True

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
                self.wire_id(id), self.wire_name(name), size) + behaviour.extra_parameters)
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
        self.reply("id", self.wire_id(id, self.behaviour.wrong_id))

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
            data += self.channel.read_some(min(stops + [size]) - len(data))
        self.note("bytes", len(data))
        return bytes(data)

    def stall(self) -> None:
        self.server.stalled.set()
        self.server.release.wait()

    def download(self) -> None:
        behaviour = self.behaviour
        self.reply("download-prompt", self.words(DOWNLOAD_PROMPT))
        try:
            name, data, id, start, end, applied = self.parse_request()
        except Malformed as error:
            if error.code != "not-found":
                self.violation("%s in an id line" % error)
            self.error(error)
            return
        if behaviour.refuse_download is not None:
            self.reply("error", b"ERROR " + behaviour.refuse_download)
            return
        self.reply("entry", b"%s;%s;%d" % (
            self.wire_id(id, behaviour.wrong_entry_id), self.wire_name(name), len(data))
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

    def parse_request(self) -> Tuple[bytes, bytes, bytes, int, int, bytes]:
        """Name, bytes, id, offset of the first byte and behind the last, parameters applied."""
        fields = self.line("id").split(b";")
        id = self.id(fields[0])
        found = self.parameters(fields[1:], (b"offset", b"length"))
        try:
            offset = decode_size(found.get(b"offset", b"0"))
            length = decode_size(found.get(b"length", b"%d" % MAX_SIZE))
        except Malformed as error:
            raise Malformed("bad-range", error.reason) from None
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
