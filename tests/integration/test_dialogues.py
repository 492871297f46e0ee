#!/usr/bin/env python3
"""Plays dialogues, as a person would with `nc`, against filexfer-server.

Among them are those of .github/PROTOCOL.md, so that its examples stay correct.
FILEXFER_SOURCE_DIR is the root of the sources, FILEXFER_BIN the folder of the programs.
Exits with 77 where they are absent.

A dialogue is a fenced block with the info string `dialogue`. Each is played in one
connection to a server of its own with an empty store. Its lines:

    C: TEXT     the client sends TEXT and LF; `C:` alone an empty line
    S: TEXT     the server sends exactly TEXT and LF; `S:` alone an empty line
    C> TEXT     the client sends the bytes TEXT, without a line end
    S> TEXT     the server sends exactly the bytes TEXT, without a line end
    S~ TEXT     the server sends a line that begins with TEXT, as errors end in free text

After the last line the client ends its sending side, and the server closes without
sending more. Blank lines are ignored.
"""

import os
import re
import select
import shutil
import subprocess
import tempfile
import unittest

import peer
import programs
from contents import HELLO_ID
from peer import md5
from program_case import Case
from programs import ServerProcess
from waiting import TIMEOUT

SOURCE_DIR = os.environ.get("FILEXFER_SOURCE_DIR") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..")

# The bytes of the files here have no line end.
BUILT_IN = {
    "an empty store": """
C: LIST_FILES
S: No files available at the moment
S:
""",
    "a file there, listed, and back": """
C: LIST FILES
S: No files available at the moment
S:
C: UPLOAD
S: Please send the file name and file size
C: hello.txt;11
S: Ready to receive the file
C> hello world
S: 5eb63bbbe01eeed093cb22bb8f5acdc3
C: LIST_FILE
S: 5eb63bbbe01eeed093cb22bb8f5acdc3;hello.txt;11
S:
C: DOWNLOAD
S: Please send a file ID
C: 5EB63BBBE01EEED093CB22BB8F5ACDC3
S: 5eb63bbbe01eeed093cb22bb8f5acdc3;hello.txt;11
S> hello world
C: LIST FILE
S: 5eb63bbbe01eeed093cb22bb8f5acdc3;hello.txt;11
S:
""",
    "an empty file": """
C: UPLOAD
S: Please send the file name and file size
C: empty.txt;0
S: Ready to receive the file
S: d41d8cd98f00b204e9800998ecf8427e
C: DOWNLOAD
S: Please send a file ID
C: d41d8cd98f00b204e9800998ecf8427e
S: d41d8cd98f00b204e9800998ecf8427e;empty.txt;0
C: LIST_FILES
S: d41d8cd98f00b204e9800998ecf8427e;empty.txt;0
S:
""",
    "what is held is not sent again": """
C: UPLOAD
S: Please send the file name and file size
C: one;5;id=5d41402abc4b2a76b9719d911017c592
S: Ready to receive the file
C> hello
S: 5d41402abc4b2a76b9719d911017c592
C: UPLOAD
S: Please send the file name and file size
C: one;5;id=5d41402abc4b2a76b9719d911017c592;unknown
S: Ready to receive the file;offset=5
S: 5d41402abc4b2a76b9719d911017c592
C: LIST_FILES
S: 5d41402abc4b2a76b9719d911017c592;one;5
S:
C: UPLOAD
S: Please send the file name and file size
C: two;4;id=5d41402abc4b2a76b9719d911017c592
S: Ready to receive the file
C> hell
S~ ERROR mismatch
C: LIST_FILES
S: 5d41402abc4b2a76b9719d911017c592;one;5
S:
""",
    "ranges": """
C: UPLOAD
S: Please send the file name and file size
C: digits;10
S: Ready to receive the file
C> 0123456789
S: 781e5e245d69b566979b86e28d23f2c7
C: DOWNLOAD
S: Please send a file ID
C: 781e5e245d69b566979b86e28d23f2c7;length=3
S: 781e5e245d69b566979b86e28d23f2c7;digits;10;length=3
S> 012
C: DOWNLOAD
S: Please send a file ID
C: 781e5e245d69b566979b86e28d23f2c7;offset=7
S: 781e5e245d69b566979b86e28d23f2c7;digits;10;offset=7
S> 789
C: DOWNLOAD
S: Please send a file ID
C: 781e5e245d69b566979b86e28d23f2c7;offset=11
S~ ERROR bad-range
""",
    "errors that go on": """
C:
S~ ERROR unknown-command
C: HELP
S~ ERROR unknown-command
C: UPLOAD
S: Please send the file name and file size
C: ../x;5
S~ ERROR bad-name
C: UPLOAD
S: Please send the file name and file size
C: x;five
S~ ERROR bad-size
C: UPLOAD
S: Please send the file name and file size
C: x
S~ ERROR bad-request
C: DOWNLOAD
S: Please send a file ID
C: x
S~ ERROR bad-id
C: DOWNLOAD
S: Please send a file ID
C: d41d8cd98f00b204e9800998ecf8427e
S~ ERROR not-found
C: LIST_FILES
S: No files available at the moment
S:
""",
    "a web browser": """
C: GET / HTTP/1.1
C: Host: localhost
C:
S~ ERROR bad-request
""",
    "a name that is escaped": """
C: UPLOAD
S: Please send the file name and file size
C: 100%25 %3b tested%0a;2
S: Ready to receive the file
C> ok
S: 444bcb3a3fcf8389296c49467f27e1d6
C: LIST_FILES
S: 444bcb3a3fcf8389296c49467f27e1d6;100%25 %3B tested%0A;2
S:
""",
}

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})\s*(.*?)\s*")


def dialogues_of(markdown):
    """(line number, text, options) of each fenced block whose info string begins with `dialogue`;
    the options of the server follow there."""
    found = []
    fence = None
    for number, line in enumerate(markdown.splitlines(), 1):
        match = FENCE.fullmatch(line)
        if fence is None and match:
            fence = match.group(1)
            kind, *options = match.group(2).split() or [""]
            lines = [] if kind == "dialogue" else None
            begin = number + 1
        elif (fence is not None and match and match.group(1).startswith(fence)
              and not match.group(2)):
            if lines is not None:
                found.append((begin, "\n".join(lines), options))
            fence = None
        elif fence is not None and lines is not None:
            lines.append(line)
    if fence is not None:
        raise AssertionError("the fenced block before line %d has no end" % begin)
    return found


def parse(text):
    """(line number, kind, bytes) of each line of a dialogue."""
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = re.fullmatch("(C[:>]|S[:>~])(?: (.*))?", line)
        if not match:
            raise AssertionError("line %d of a dialogue: %r" % (number, line))
        steps.append((number, match.group(1), (match.group(2) or "").encode()))
    return steps


class Player:
    """Plays a dialogue, and keeps a transcript for the message of a failure."""

    def __init__(self, client):
        self.client = client
        self.transcript = []

    def play(self, steps):
        for number, kind, data in steps:
            try:
                received = self.step(kind, data)
            except (peer.EndOfStream, peer.Violation, OSError) as error:
                received = "%s: %s" % (type(error).__name__, error)
            if received is not None:
                raise AssertionError(
                    "line %d of the dialogue, after\n%s\nexpected %s %r\nbut came %r" % (
                    number, "\n".join(self.transcript), kind, data, received))
            self.transcript.append("    %s %s" % (kind, data.decode()))

    def step(self, kind, data):
        """None, or the bytes that were received instead."""
        if kind.startswith("C"):
            self.client.send(data + (b"\n" if kind == "C:" else b""))
            return None
        if kind == "S>":
            received = b""
            while len(received) < len(data) and data.startswith(received):
                received += self.client.channel.read_some(len(data) - len(received))
            return None if received == data else received
        received = self.client.line()
        return None if received == data or kind == "S~" and received.startswith(data) else received


class Dialogues(unittest.TestCase):
    def play(self, text, options=()):
        """With a store in memory and one in a folder."""
        steps = parse(text)
        self.assertTrue(any(kind.startswith("S") for _, kind, _ in steps),
                        "nothing is answered in this dialogue")
        with tempfile.TemporaryDirectory(prefix="filexfer-") as folder:
            for store in ("memory", os.path.join(folder, "store")):
                with ServerProcess(*options, store=store) as server, server.client() as client:
                    # A store in memory keeps no partial uploads, and does not announce `resume`.
                    Player(client).play([step for step in steps
                                         if store != "memory" or step[2] != b"resume"])
                    client.end_sending()
                    self.assertEqual(client.rest(), b"", "came after the end of the dialogue")

    def test_the_server_follows_the_dialogues_of_the_protocol_page(self):
        path = os.path.join(SOURCE_DIR, ".github", "PROTOCOL.md")
        with open(path, encoding="utf-8") as file:
            dialogues = dialogues_of(file.read())
        self.assertNotEqual(dialogues, [],
                            "%s has no fenced block with the info string `dialogue`" % path)
        for number, text, options in dialogues:
            with self.subTest(line=number):
                self.play(text, options)

    def test_the_server_follows_the_built_in_dialogues(self):
        for name, text in BUILT_IN.items():
            with self.subTest(name=name):
                self.play(text)


class Netcat(Case):
    """nc, whose input is sent as a whole."""

    @unittest.skipUnless(shutil.which("nc"), "there is no nc")
    def test_a_dialogue_through_nc_is_answered(self):
        server = self.serve()
        host, port = server.address.rsplit(":", 1)
        for sent, expected in (
                (b"LIST_FILES\n", b"No files available at the moment\n\n"),
                (b"UPLOAD\r\nhello.txt;5\r\nhelloLIST FILES\r\n",
                 b"Please send the file name and file size\nReady to receive the file\n"
                 b"%s\n%s;hello.txt;5\n\n"
                 % (HELLO_ID.encode(), HELLO_ID.encode())),
                (b"DOWNLOAD\n%s\n" % HELLO_ID.encode(),
                 b"Please send a file ID\n%s;hello.txt;5\nhello" % HELLO_ID.encode()),
                (b"", b"")):
            with self.subTest(sent=sent):
                # Its input stays open until the reply is complete: some nc exit at its end.
                with subprocess.Popen(["nc", host, port], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE) as nc:
                    nc.stdin.write(sent)
                    nc.stdin.flush()
                    received = b""
                    while (len(received) < len(expected)
                           and select.select([nc.stdout], [], [], TIMEOUT)[0]):
                        received += os.read(nc.stdout.fileno(), 65536) or b"(the end)"
                    nc.kill()
                self.assertEqual(received, expected)


class Parsing(unittest.TestCase):
    def test_dialogue_blocks_are_found(self):
        markdown = ("x\n```dialogue\nC: a\n\nS:\n```\n```sh\nC: b\n```\n"
                    "~~~~ dialogue --quiet\nS> c\n~~~\n~~~~\n")
        self.assertEqual(dialogues_of(markdown), [(3, "C: a\n\nS:", []),
                                                  (11, "S> c\n~~~", ["--quiet"])])
        self.assertEqual(dialogues_of("```text\ndialogue\n```\n"), [])
        self.assertRaises(AssertionError, dialogues_of, "```dialogue\nC: a\n")

    def test_dialogue_lines_are_parsed(self):
        self.assertEqual(parse("C: a\n\nS:\nS> b \nS: \n"),
                         [(1, "C:", b"a"), (3, "S:", b""), (4, "S>", b"b "), (5, "S:", b"")])
        self.assertRaises(AssertionError, parse, "D: a")

    def test_the_ids_in_the_dialogues_are_correct(self):
        for data in (b"hello world", b"", b"hello", b"0123456789", b"ok"):
            self.assertTrue(any("S: %s\n" % md5(data) in text for text in BUILT_IN.values()), data)

    def test_an_unexpected_reply_fails_the_dialogue(self):
        with peer.Server() as server:
            for text in ("C: LIST_FILES\nS: No files\n", "C: LIST_FILES\nS> No file\nS: s\n",
                         "C: NO\nS~ ERROR io\n",
                         "C: LIST_FILES\nS: No files available at the moment\nS: x\n"):
                with peer.Client(server.address, timeout=30) as client:
                    self.assertRaises(AssertionError, Player(client).play, parse(text))
            with peer.Client(server.address, timeout=30) as client:
                Player(client).play(parse(BUILT_IN["a file there, listed, and back"].strip()))


if __name__ == "__main__":
    programs.run_tests("filexfer-server")
