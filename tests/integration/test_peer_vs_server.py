#!/usr/bin/env python3
"""The filexfer-server of this project against an independent client.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import hashlib
import os
import random
import re
import shutil
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import peer
from peer import EndOfStream, Refused, ServerProcess, md5

HELLO = b"hello"
HELLO_ID = md5(HELLO)
UNKNOWN_ID = "0" * 32

# Two files with the same MD5 (Wang and Yu, 2004).
COLLISION_ID = "79054025255fb1a26e4bc422aef54eb4"
COLLISION_1 = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70")
COLLISION_2 = bytes(byte ^ 0x80 if position in (19, 45, 59, 83, 109, 123) else byte
                    for position, byte in enumerate(COLLISION_1))

SIZES = (0, 1, 5, 65535, 65536, 65537, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20)

NAMES = (
    "a", "a b", " leading", "trailing ", "a;b", "a%b", "100%;", "%41", "\u00e9t\u00e9.txt",
    "e\u0301te\u0301.txt", "\u65e5\u672c\u8a9e.txt", "\U0001f600", "photos/2021/cat.jpg",
    "photos/2021/dog.jpg", "photos", "a\x01b", "tab\there", "line\nfeed", "carriage\r", "a\x7fb",
    "\x1f", "...", ".hidden", "..a", "a..", "..a/..b", "back\\slash", "..\\x", "C:\\x", "a:b",
    "CON", "-rf", "~", "*", "'\"", "A", "A/B", "a/b", "EOF", "ERROR", "ERROR io", "UPLOAD",
    "No files available at the moment", "x;5;id=00", "n" * 100)

# Lines that are refused as a command or after a prompt.
UNKNOWN_COMMANDS = (
    b"", b"HELLO", b"a", b"upload", b"LIST", b"LISTFILES", b"LIST  FILES", b"UPLOAD ", b"DOWNLOAD_",
    b"UPLOADS", b"DONE", b"EOF", b"ERROR", b"NO_SUCH;x", b"NO_SUCH;x=1", b"A" * 4095)

NO_COMMANDS = (
    b"GET / HTTP/1.1", b" UPLOAD", b"_UPLOAD", b"1", b"UPLOAD1", b"LIST-FILES", b"UPLOAD: x", b";",
    b";x", b"LIST_FILES\t", b"LIST_FILES\0", b"\0", b"LIST\x7fFILES", b"UP\rLOAD",
    b"LIST_FILES\r\r", b"\x1b[A", b"\xff", "LIST_FIL\u00c9S".encode(), b"{}",
    b"9e107d9d372bb6826bd81d3542a419d6", b"\x16\x03\x01\x02", b"a.txt;5", b"LIST_FILES;",
    b"LIST_FILES;;x", b"LIST_FILES;x;", b"LIST_FILES;x;x", b"LIST_FILES;x=1;x=2", b"LIST_FILES;x=",
    b"LIST_FILES;=1", b"LIST_FILES;X", b"LIST_FILES;1x", b"LIST_FILES;x y", b"LIST_FILES; x",
    b"LIST_FILES;-x", b"LIST_FILES;x_y", b"UPLOAD;", b"UPLOAD;x=", b"DOWNLOAD;;", b"DOWNLOAD;x;x",
    b"FEATURES;")

BAD_DETAILS = (
    ("bad-request", (
        b"", b"a", b"a.txt 5", b"a\t;5", b"a\0;5", b"a\x7f;5", b"a;5\r\r", b"a;5;", b"a;5;;x",
        b"a;5;x;", b"a;5;x;x", b"a;5;x;x=1", b"a;5;x=", b"a;5;=1", b"a;5;X=1", b"a;5;1x",
        b"a;5;x y", b"a;5; id=" + HELLO_ID.encode(), b"a;5;id", b"a;5;id=", b"a;5;x\xc3\xa9",
        b"a;5;id=" + HELLO_ID.encode() + b";id=" + HELLO_ID.encode())),
    ("bad-size", (
        b"a;", b"a;-1", b"a;+1", b"a;01", b"a;00", b"a; 1", b"a;1 ", b"a;0x10", b"a;1.0", b"a;1e3",
        b"a;1K", b"a;x", b"a;5,0", "a;\uff15".encode(), b"a;9223372036854775808",
        b"a;18446744073709551615", b"a;18446744073709551621", b"a;" + b"9" * 40, b"a;" + b"0" * 40,
        b"a;;5",
        # A size is checked before the name and the parameters.
        b"../a;x", b";x", b"%;01", b"a;-5;id=zz", b"a;x;id", b"a;x;;", b"a;05;X")),
    ("bad-name", (
        b";5", b"%;5", b"%4;5", b"%4g;5", b"a%;5", b"a%%41;5", b"% 41;5", b"%u0041;5", b"a%00b;5",
        b"%00;5", b"\xff;5", b"%FF;5", b"\xc0\xaf;5", b"%c0%af;5", b"\xc3;5", b"\xed\xa0\x80;5",
        b"\xf4\x90\x80\x80;5", b".;5", b"..;5", b"/;5", b"/etc/passwd;5", b"a/;5", b"/a;5",
        b"a//b;5", b"../x;5", b"a/../b;5", b"a/..;5", b"./a;5", b"a/.;5", b"a/./b;5", b"%2e%2E;5",
        b"%2E;5", b"a%2F..;5", b"%2Fetc;5", b"a%2f%2Fb;5", b".%2e/x;5", b"n" * 256 + b";5",
        b"%41" * 256 + b";5", "\u00e9".encode() * 128 + b";5")),
    ("bad-id", (
        b"a;5;id=x", b"a;5;id=" + b"g" * 32, b"a;5;id=" + b"0" * 31, b"a;5;id=" + b"0" * 33,
        b"a;5;id=" + b"0" * 64,
        b"a;5;id= " + b"0" * 31, b"a;5;id=" + b"%30" * 32, b"a;5;id==" + b"0" * 31)),
)

BAD_IDS = (
    ("bad-id", (
        b"x", b"0" * 31, b"0" * 33, b"0" * 64, b"g" * 32, b" " + b"0" * 31, b" " + b"0" * 32,
        b"0" * 32 + b" ", b"%30" * 32, b"0x" + b"0" * 30, b"a.txt", b"../x", b"\xff" * 32)),
    ("bad-request", (
        HELLO_ID.encode() + b";", HELLO_ID.encode() + b";;x", HELLO_ID.encode() + b";x;x",
        HELLO_ID.encode() + b";x=", HELLO_ID.encode() + b";=1", HELLO_ID.encode() + b";X",
        HELLO_ID.encode() + b";offset", HELLO_ID.encode() + b";offset=",
        HELLO_ID.encode() + b";length", HELLO_ID.encode() + b";offset=1;offset=1",
        HELLO_ID.encode() + b"\t", HELLO_ID.encode() + b"\0", HELLO_ID.encode() + b"\r\r")),
    ("bad-range", tuple(HELLO_ID.encode() + parameters for parameters in (
        b";offset=6", b";offset=x", b";offset=-1", b";offset=+1", b";offset=01", b";offset= 1",
        b";offset=1.0", b";offset=0x1", b";offset=9223372036854775808",
        b";offset=18446744073709551616", b";length=x", b";length=-1", b";length=+1", b";length=01",
        b";length= 1", b";offset=0;length=x", b";offset=6;length=0"))),
    ("not-found", (
        b"0" * 32, b"F" * 32, b"0" * 32 + b";x", b"0" * 32 + b";offset=0",
        b"0" * 32 + b";offset=1;length=1")),
)


def make_data(size, seed=0):
    return random.Random("%d %d" % (size, seed)).getrandbits(8 * size).to_bytes(size, "little")


def wait_until(condition, event, timeout=60):
    """Waits for an effect that the client is not notified of."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("after %d s still waiting until %s" % (timeout, event))
        time.sleep(0.005)


class Expectations(unittest.TestCase):
    def assert_refused(self, code, call, *arguments, **keywords):
        with self.assertRaises(Refused) as caught:
            call(*arguments, **keywords)
        self.assertEqual(caught.exception.code, code, caught.exception)
        return caught.exception

    def assert_synchronized(self, client):
        """Checks that the server takes the next line for a command."""
        client.list_files()

    def assert_closed(self, client):
        """Checks that the stream has ended."""
        client.expect_end()

    def pairs(self, client):
        return sorted((entry.name, entry.id, entry.size) for entry in client.list_files())

    def send_details(self, client, line):
        client.send_line(b"UPLOAD")
        client.words()
        client.send_line(line)

    def send_id_line(self, client, line):
        client.send_line(b"DOWNLOAD")
        client.words()
        client.send_line(line)


class StoreCases:
    """Tests for every kind of store; one server for all of them."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="filexfer-")
        cls.server = None
        try:
            cls.server = cls.start()
        except BaseException:
            shutil.rmtree(cls.folder)
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            with cls.server:
                pass
        finally:
            shutil.rmtree(cls.folder)

    @classmethod
    def start(cls, *arguments, store="store"):
        return ServerProcess(*arguments, store=cls.store_argument(store))

    def setUp(self):
        self.client = self.connect()

    def connect(self, server=None, ask=True):
        client = (server or self.server).client()
        self.addCleanup(client.close)
        if ask:
            client.features()
        return client

    def start_fresh(self, *arguments):
        """Starts a separate server with an empty store."""
        server = self.start(*arguments, store=self.id())
        self.addCleanup(server.__exit__, None)
        return server

    def store_hello(self):
        self.client.upload("hello.txt", HELLO)

    # LIST_FILES

    def test_an_empty_store_lists_nothing(self):
        client = self.connect(self.start_fresh(), ask=False)
        client.send_line(b"LIST_FILES")
        self.assertEqual(client.line(), peer.EMPTY_STORE_WORDS)
        self.assertEqual(client.line(), b"")
        self.assertEqual(client.list_files(), [])

    def test_the_four_list_commands_are_equivalent(self):
        self.store_hello()
        lists = [sorted(map(str, self.client.list_files(command)))
                 for command in peer.LIST_COMMANDS]
        self.assertEqual(lists, [lists[0]] * 4)
        self.assertNotEqual(lists[0], [])

    def test_an_id_can_have_two_names_and_a_name_two_ids(self):
        client = self.connect(self.start_fresh())
        for name, data in (("one", b"x"), ("two", b"x"), ("one", b"y"), ("one", b"x")):
            self.assertEqual(client.upload(name, data).id, md5(data))
        self.assertEqual(self.pairs(client), sorted([
            (b"one", md5(b"x"), 1), (b"two", md5(b"x"), 1), (b"one", md5(b"y"), 1)]))
        self.assertIn(client.download(md5(b"x")).entry.name, (b"one", b"two"))
        self.assertEqual(client.download(md5(b"y")).data, b"y")

    # UPLOAD and DOWNLOAD of every size and name

    def test_files_of_every_size_are_returned_unchanged(self):
        for size in SIZES:
            with self.subTest(size=size):
                data = make_data(size)
                uploaded = self.client.upload("size %d" % size, data)
                self.assertEqual(uploaded.id, md5(data))
                self.assertIn((b"size %d" % size, md5(data), size), self.pairs(self.client))
                downloaded = self.connect().download(uploaded.id)
                self.assertEqual(downloaded.data, data)
                self.assertEqual(downloaded.entry.size, size)
                self.assertEqual(downloaded.entry.parameters, {})

    def test_no_content_ends_a_byte_stream_early(self):
        for data in (b"EOF", b"DONE\n", b"\n", b"\r\n\r\n", b"LIST_FILES\nUPLOAD\n", b"\0", b"\x1a",
                     b"\x04",
                       b"ERROR io\n", b"a" * 70000 + b"\nEOF\n"):
            with self.subTest(data=data[:20]):
                self.assertEqual(self.client.upload("bytes", data).id, md5(data))
                self.assertEqual(self.client.download(md5(data)).data, data)

    def test_every_name_is_kept_byte_by_byte(self):
        client = self.connect(self.start_fresh())
        for number, name in enumerate(NAMES):
            with self.subTest(name=name):
                data = b"content %d" % number
                client.upload(name, data)
                self.assertEqual(client.download(md5(data)).entry.name, name.encode())
        self.assertEqual(self.pairs(client), sorted(
            (name.encode(), md5(b"content %d" % number), len(b"content %d" % number))
            for number, name in enumerate(NAMES)))

    def test_a_name_has_up_to_255_bytes(self):
        for name in ("n" * 255, ";" * 255, "\u00e9" * 127 + "n", "/".join("n" * 128)):
            data = b"long " + name.encode()
            with self.subTest(name=name[:4]):
                self.client.upload(name, data)
                self.assertEqual(self.client.download(md5(data)).entry.name, name.encode())

    def test_escapes_are_accepted_in_either_case_and_sent_in_upper_case(self):
        client = self.connect(self.start_fresh())
        for wire, name in ((b"a%3bb", b"a;b"), (b"a%3Bc", b"a;c"), (b"%64", b"d"),
                           (b"%c3%a9", b"\xc3\xa9"),
                           (b"f%2fg", b"f/g"), (b"h%0a", b"h\n"), (b"i%2525", b"i%25")):
            with self.subTest(wire=wire):
                self.send_details(client, wire + b";0")
                client.read_ready(0, False)
                client.read_id()
                self.assertIn(name, [entry.name for entry in client.list_files()])

    def test_ids_are_accepted_in_either_case_and_sent_in_lower_case(self):
        data = b"either case"
        self.client.upload("case", data, id=md5(data).upper())
        for id in (md5(data).upper(), md5(data).title(), md5(data)):
            self.assertEqual(self.client.download(id).data, data)
        self.assertEqual(self.client.upload("case", data, id=md5(data).upper()).offset, len(data))

    # Lines and segments

    def test_lines_may_end_in_cr_lf(self):
        data = b"a\r\nb\n\r"
        client = self.connect(ask=False)
        client.send(b"UPLOAD\r\n")
        client.words()
        client.send(b"crlf;%d\r\n" % len(data))
        client.read_ready(len(data), False)
        client.send(data)
        self.assertEqual(client.read_id(), md5(data))
        client.send(b"LIST_FILES\r\n")
        self.assertIn((md5(data), b"crlf", len(data), {}), client.read_list())
        client.send(b"DOWNLOAD\r\n")
        client.words()
        client.send(md5(data).encode() + b"\r\n")
        self.assertEqual(client.read_download(md5(data).encode()).data, data)
        client.send(b"\r\n")
        self.assert_refused("unknown-command", client.reply)

    def test_replies_do_not_depend_on_segmentation(self):
        data = b"cut\nanywhere\r\n"
        id = md5(data).encode()
        dialogue = (b"UPLOAD\ncut;%d\n" % len(data) + data + b"LIST FILE\nDOWNLOAD\n" + id + b"\n"
                    + b"NO_SUCH\nDOWNLOAD\nx\nLIST_FILES\r\n")

        def play(cut):
            client = self.connect(server, ask=False)
            for position in range(0, len(dialogue), cut):
                client.send(dialogue[position:position + cut])
            client.end_sending()
            return client.rest()

        server = self.start_fresh()
        whole = play(len(dialogue))
        self.assertIn(id + b"\n" + id + b";cut;%d\n\n" % len(data), whole)
        self.assertIn(id + b";cut;%d\n" % len(data) + data + b"ERROR unknown-command", whole)
        for cut in (1, 2, 3, 7):
            self.assertEqual(play(cut), whole)

    def test_complete_commands_before_the_end_of_the_stream_are_answered(self):
        self.store_hello()
        client = self.connect()
        client.send(b"LIST_FILES\nDOWNLOAD\n" + HELLO_ID.encode() + b"\nNO_SUCH\nDOWNLOAD\n"
                    + HELLO_ID.encode() + b"\n")
        client.end_sending()
        client.read_list()
        for _ in range(2):
            client.words()
            self.assertEqual(client.read_download(HELLO_ID.encode()).data, HELLO)
            if _ == 0:
                self.assert_refused("unknown-command", client.reply)
        self.assert_closed(client)

    def test_a_last_line_without_lf_is_ignored(self):
        self.store_hello()
        for data, replies in ((b"", 0), (b"LIST_FILES", 0), (b"LIST_FILES\r", 0),
                              (b"NO_SUCH\nLIST_FILES", 1),
                              (b"UPLOAD\na;5", 1), (b"DOWNLOAD\n" + HELLO_ID.encode(), 1),
                              (b"DOWNLOAD\n", 1)):
            with self.subTest(data=data):
                client = self.connect(ask=False)
                client.send(data)
                client.end_sending()
                self.assertEqual(client.rest().count(b"\n"), replies)

    def test_pipelined_commands_are_answered_in_order(self):
        files = [make_data(10000, seed) for seed in range(8)]
        for number, data in enumerate(files):
            self.client.upload("pipe %d" % number, data)
        order = [number % 8 for number in range(400)]
        lines = b"".join(b"DOWNLOAD\n" + md5(files[number]).encode() + b";offset=%d\nNO_SUCH\n"
                         % number
                         for number in order)
        # Far more replies than any buffer holds: the client must read while it sends.
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(self.client.send, lines + b"LIST_FILES\n")
            for number in order:
                self.client.words()
                downloaded = self.client.read_download(md5(files[number]).encode(), offset=number)
                self.assertEqual(downloaded.data,
                                 files[number][downloaded.entry.parameters and number or 0:])
                self.assert_refused("unknown-command", self.client.reply)
            self.client.read_list()
            sending.result()

    def test_pipelined_lines_after_an_upload_are_answered(self):
        self.send_details(self.client, b"then;5")
        self.client.read_ready(5, False)
        self.client.send(HELLO + b"DOWNLOAD\n" + HELLO_ID.encode() + b"\nLIST_FILES\n")
        self.assertEqual(self.client.read_id(), HELLO_ID)
        self.client.words()
        self.assertEqual(self.client.read_download(HELLO_ID.encode()).data, HELLO)
        self.assertIn((HELLO_ID, b"then", 5, {}), self.client.read_list())

    # Parameters

    def test_unknown_parameters_are_ignored(self):
        for command in (b"LIST_FILES;x", b"LIST_FILES;x=1;y-2=a=b", b"LIST FILES;zz=%;z=\xff"):
            self.client.list_files(command)
        self.client.send_line(b"FEATURES;x=1")
        while self.client.reply():
            pass
        self.client.send_line(b"UPLOAD;x;y=2")
        self.client.words()
        self.client.send_line(b"parameters;5;x;y=2;x-1=a b")
        self.client.read_ready(5, False)
        self.client.send(HELLO)
        self.assertEqual(self.client.read_id(), HELLO_ID)
        self.client.send_line(b"DOWNLOAD;x;y=2")
        self.client.words()
        self.client.send_line(HELLO_ID + ";y=2;x")
        self.assertEqual(self.client.read_download(HELLO_ID.encode()).data, HELLO)
        self.assert_synchronized(self.client)

    def test_features_announce_the_version_and_the_digest(self):
        features = self.connect(ask=False).features()
        self.assertIsNotNone(features)
        self.assertEqual(features.get(b"version"), b"1")
        self.assertEqual(features.get(b"digest"), b"md5")

    def test_a_declared_id_is_compared_with_the_bytes(self):
        data = b"declared and true"
        uploaded = self.client.upload("declared", data, id=md5(data))
        self.assertEqual((uploaded.id, uploaded.sent), (md5(data), len(data)))
        for wrong, declared in ((b"declared and false", md5(b"something else")),
                                (b"another size", md5(data)),
                                (b"", md5(data)), (make_data(200000, 9), UNKNOWN_ID)):
            with self.subTest(wrong=wrong[:20]):
                self.assert_refused("mismatch", self.client.upload, "not declared", wrong,
                                    id=declared)
                names = [entry.name for entry in self.client.list_files()]
                self.assertNotIn(b"not declared", names)
                self.assert_refused("not-found", self.client.download, md5(wrong))

    def test_a_stored_file_is_not_sent_again(self):
        for data in (b"held already", b"", make_data(100000, 3)):
            self.client.upload("held", data)
            for name in ("held", "held again"):
                uploaded = self.client.upload(name, data, id=md5(data))
                self.assertEqual((uploaded.id, uploaded.sent), (md5(data), 0))
                self.assertEqual(uploaded.offset, len(data))
                self.assertIn((name.encode(), md5(data), len(data)), self.pairs(self.client))
            # Without id= the bytes are sent.
            uploaded = self.client.upload("held", data)
            self.assertEqual((uploaded.offset, uploaded.sent), (None, len(data)))
            self.assertEqual(self.client.download(md5(data)).data, data)

    def test_a_download_can_be_limited_to_a_range(self):
        data = make_data(200001, 5)
        size = len(data)
        id = self.client.upload("range", data).id
        for offset, length in ((0, None), (1, None), (size, None), (size - 1, None), (None, 0),
                               (None, 1), (None, size), (None, size + 1), (0, size), (65535, 2),
                               (65536, 65536), (size, 0), (size, 5), (size - 3, 10),
                               (100, 2**63 - 1), (None, 2**63 - 1)):
            with self.subTest(offset=offset, length=length):
                downloaded = self.client.download(id, offset, length)
                start = offset or 0
                end = size if length is None else min(size, start + length)
                self.assertEqual(downloaded.data, data[start:end])
                self.assertEqual(downloaded.entry.size, size)
                expected = {}
                if offset is not None:
                    expected[b"offset"] = b"%d" % start
                if length is not None:
                    expected[b"length"] = b"%d" % (end - start)
                self.assertEqual(downloaded.entry.parameters, expected)

    # Bad lines

    def test_unknown_commands_are_refused_and_the_connection_stays_open(self):
        for line in UNKNOWN_COMMANDS:
            with self.subTest(line=line[:60]):
                self.client.send_line(line)
                self.assert_refused("unknown-command", self.client.reply)
                self.assert_synchronized(self.client)

    def test_a_malformed_command_closes_the_connection(self):
        for line in NO_COMMANDS:
            with self.subTest(line=line[:60]):
                client = self.connect()
                # Later commands are not answered.
                client.send_line(line + b"\nLIST_FILES\nHost: x\n")
                self.assert_refused("bad-request", client.reply)
                self.assert_closed(client)

    def test_an_http_request_is_answered_once(self):
        client = self.connect(ask=False)
        client.send(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n"
                    b"LIST_FILES\r\nUPLOAD\r\n")
        self.assert_refused("bad-request", client.reply)
        self.assert_closed(client)

    def test_bad_details_lines_are_refused_and_the_connection_stays_open(self):
        before = self.pairs(self.client)
        for code, lines in BAD_DETAILS:
            for line in lines:
                with self.subTest(line=line[:60], code=code):
                    self.send_details(self.client, line)
                    self.assert_refused(code, self.client.reply)
                    self.assert_synchronized(self.client)
        self.assertEqual(self.pairs(self.client), before)

    def test_bad_id_lines_are_refused_and_the_connection_stays_open(self):
        self.store_hello()
        for code, lines in BAD_IDS:
            for line in lines:
                with self.subTest(line=line[:60], code=code):
                    self.send_id_line(self.client, line)
                    self.assert_refused(code, self.client.reply)
                    self.assert_synchronized(self.client)

    def test_an_empty_id_line_is_refused_and_the_connection_stays_open(self):
        for line in (b"", b";offset=1"):
            self.send_id_line(self.client, line)
            with self.assertRaises(Refused) as caught:
                self.client.reply()
            # It is an id without digits, or a missing field.
            self.assertIn(caught.exception.code, ("bad-id", "bad-request"))
            self.assert_synchronized(self.client)

    def test_a_line_has_up_to_4096_bytes(self):
        self.client.send(b"A" * 4094 + b"\r\n")
        self.assert_refused("unknown-command", self.client.reply)
        self.client.list_files(b"LIST_FILES;x=" + b"x" * (4095 - len(b"LIST_FILES;x=")))
        self.store_hello()
        line = b"long line;5;x="
        self.send_details(self.client, line + b"x" * (4095 - len(line)))
        self.client.read_ready(5, False)
        self.client.send(HELLO)
        self.assertEqual(self.client.read_id(), HELLO_ID)
        line = HELLO_ID.encode() + b";x="
        self.send_id_line(self.client, line + b"x" * (4095 - len(line)))
        self.assertEqual(self.client.read_download(HELLO_ID.encode()).data, HELLO)

    def test_a_longer_line_is_refused_and_closes_the_connection(self):
        # The server must not wait for the LF of a line that is too long.
        for before in (b"", b"UPLOAD\n", b"DOWNLOAD\n"):
            for rest in (b"A" * 4096, b"A" * 4096 + b"\n", b"A" * 4095 + b"\r\n", b"A" * 300000,
                         b"A" * 5000 + b"\nLIST_FILES\n"):
                with self.subTest(before=before, data=len(rest)):
                    client = self.connect()
                    client.send(before + rest)
                    if before:
                        client.words()
                    self.assert_refused("line-too-long", client.reply)
                    self.assert_closed(client)

    def test_the_largest_size_is_not_a_bad_request(self):
        self.send_details(self.client, b"vast;9223372036854775807")
        try:
            self.client.read_ready(2**63 - 1, False)
        except Refused as refused:
            self.assertIn(refused.code, ("too-large", "no-space", "bad-size"))
        self.client.close()
        self.assertNotIn(b"vast", [entry.name for entry in self.connect().list_files()])

    # Collisions, losses, many at once

    def test_the_first_of_two_files_with_one_md5_is_kept(self):
        self.assertEqual([hashlib.md5(data).hexdigest() for data in (COLLISION_1, COLLISION_2)],
                         [COLLISION_ID] * 2)
        self.assertNotEqual(COLLISION_1, COLLISION_2)
        self.assertEqual(self.client.upload("first", COLLISION_1).id, COLLISION_ID)
        for name in ("second", "first"):
            self.assert_refused("collision", self.client.upload, name, COLLISION_2)
            self.assertEqual(self.client.download(COLLISION_ID).data, COLLISION_1)
        self.assertEqual([entry.name for entry in self.client.list_files()
                          if entry.id == COLLISION_ID], [b"first"])
        # Where no bytes are sent the server can't detect it.
        self.assertEqual(self.client.upload("third", COLLISION_2, id=COLLISION_ID).sent, 0)
        self.assertEqual(self.client.download(COLLISION_ID).data, COLLISION_1)

    def test_a_connection_lost_during_the_bytes_stores_nothing(self):
        server = self.start_fresh()
        other = self.connect(server)
        data = make_data(150000, 11)
        for sent in (0, 1, 65536, len(data) - 1):
            for ending in ("end", "close", "reset"):
                with self.subTest(sent=sent, ending=ending):
                    client = self.connect(server)
                    self.send_details(client, b"lost;%d" % len(data))
                    client.read_ready(len(data), False)
                    client.send(data[:sent])
                    self.assertEqual(other.list_files(), [])
                    if ending == "end":
                        client.end_sending()
                        self.assert_closed(client)
                    elif ending == "close":
                        client.close()
                    else:
                        client.channel.reset()
                    self.assertEqual(other.list_files(), [])
        self.assert_refused("not-found", other.download, md5(data))
        self.assertEqual(other.upload("found", data, id=md5(data)).sent, len(data))
        self.assertEqual(self.pairs(other), [(b"found", md5(data), len(data))])

    def test_an_aborted_download_does_not_affect_other_clients(self):
        data = make_data(3 * 2**20, 12)
        self.client.upload("left", data)
        for _ in range(5):
            client = self.connect()
            self.send_id_line(client, md5(data).encode())
            client.line()
            client.channel.reset()
        self.assertEqual(self.client.download(md5(data)).data, data)

    def test_twenty_concurrent_uploads_are_stored(self):
        server = self.start_fresh("--threads", "4")
        start = threading.Barrier(20, timeout=60)

        def transfer(number):
            # Some have the same bytes, pairs have the same name.
            data = make_data(100000 + (number % 15), number % 15)
            name = "many %d" % (number // 2)
            with server.client() as client:
                client.features()
                start.wait()
                uploaded = client.upload(name, data, id=md5(data) if number % 3 == 0 else None)
                self.assertEqual(uploaded.id, md5(data))
                self.assertIn((name.encode(), uploaded.id, len(data)), self.pairs(client))
                self.assertEqual(client.download(uploaded.id).data, data)
            return name.encode(), uploaded.id, len(data)

        with ThreadPoolExecutor(20) as pool:
            stored = list(pool.map(transfer, range(20)))
        self.assertEqual(self.pairs(self.connect(server)), sorted(set(stored)))

    def test_one_file_from_twenty_connections_at_once_is_listed_once(self):
        server = self.start_fresh("--threads", "4")
        data = make_data(300000, 21)
        start = threading.Barrier(20, timeout=60)

        def upload(_):
            with server.client() as client:
                start.wait()
                return client.upload("the same", data).id

        with ThreadPoolExecutor(20) as pool:
            self.assertEqual(set(pool.map(upload, range(20))), {md5(data)})
        self.assertEqual(self.pairs(self.connect(server)), [(b"the same", md5(data), len(data))])

    # Options of the server

    def test_a_file_over_max_size_is_refused(self):
        client = self.connect(self.start_fresh("--max-size", "1K"), ask=False)
        self.assertEqual(client.features().get(b"max-size"), b"1024")
        client.upload("fits", bytes(1024))
        for size in (1025, 2**40, 2**63 - 1):
            self.send_details(client, b"does not fit;%d" % size)
            refused = self.assert_refused("too-large", client.reply)
            self.assertRegex(refused.text, rb"\d", "the text names the limit")
            self.assert_synchronized(client)
        self.assertEqual([entry.name for entry in client.list_files()], [b"fits"])

    def test_a_read_only_server_refuses_uploads(self):
        server = self.start_fresh("--read-only")
        client = self.connect(server)
        self.send_details(client, b"a;5")
        self.assert_refused("read-only", client.reply)
        self.assert_refused("read-only", client.upload, "a", HELLO, id=HELLO_ID)
        self.assertEqual(client.list_files(), [])

    def test_a_connection_over_the_limit_is_refused_as_busy(self):
        server = self.start_fresh("--max-connections", "2")
        first, second = self.connect(server), self.connect(server)
        self.assert_synchronized(first)
        third = self.connect(server, ask=False)
        self.assert_refused("busy", third.reply)
        self.assert_closed(third)
        third.close()
        self.assert_synchronized(second)
        second.close()

        def free():
            with server.client() as client:
                try:
                    client.list_files()
                    return True
                except (Refused, EndOfStream, ConnectionError):
                    return False
        wait_until(free, "a connection is free again")

    def test_a_silent_connection_times_out(self):
        server = self.start_fresh("--idle-timeout", "300ms")
        idle, uploading, half = (self.connect(server, ask=False) for _ in range(3))
        self.send_details(uploading, b"silent;5")
        uploading.read_ready(5, False)
        uploading.send(b"hell")
        half.send(b"LIST_F")
        for client in (idle, uploading):
            self.assert_refused("timeout", client.reply)
            self.assert_closed(client)
        self.assertRegex(half.rest(), rb"\A(ERROR timeout[^\n]*\n)?\Z")
        self.assertEqual(self.connect(server).list_files(), [])

    # The end

    def test_sigterm_notifies_idle_clients_and_exits_0(self):
        server = self.start_fresh()
        client = self.connect(server)
        server.terminate()
        self.assert_refused("shutting-down", client.reply)
        self.assert_closed(client)
        client.close()
        server.join()

    def test_sigterm_lets_an_upload_finish(self):
        server = self.start_fresh()
        client = self.connect(server)
        self.send_details(client, b"last;5")
        client.read_ready(5, False)
        client.send(b"hel")
        server.terminate()

        def refuses():
            try:
                server.client(timeout=30).close()
                return False
            except ConnectionError:
                return True
        wait_until(refuses, "the server accepts no more")
        client.send(b"lo")
        self.assertEqual(client.read_id(), HELLO_ID)
        client.close()
        server.join()

    def test_the_grace_period_ends_a_stalled_transfer(self):
        server = self.start_fresh("--grace", "200ms")
        client = self.connect(server)
        self.send_details(client, b"never;5")
        client.read_ready(5, False)
        server.terminate()
        server.join()

    def test_the_log_has_no_raw_control_bytes(self):
        server = self.start_fresh()
        client = self.connect(server)
        client.upload("\x1b[31mred\nFORGED a log line\r", HELLO)
        client.send(b"NO_SUCH\nDOWNLOAD\n" + HELLO_ID.encode() + b"\nGET /\x1b[32m\nFORGED\n")
        client.end_sending()
        client.rest()
        client.close()
        server.stop()
        log = server.log()
        self.assertIsNone(re.search("[\x00-\x08\x0b-\x1f\x7f]", log), log)
        self.assertIsNone(re.search("^FORGED", log, re.MULTILINE), log)
        self.assertIn(HELLO_ID, log)


class MemoryStore(StoreCases, Expectations):
    @classmethod
    def store_argument(cls, _):
        return "memory"


class DirectoryStore(StoreCases, Expectations):
    @classmethod
    def store_argument(cls, name):
        return os.path.join(cls.folder, "made", name)

    def test_files_survive_a_restart(self):
        data = make_data(70000, 31)
        folder = "restarted"
        with self.start(store=folder) as server, server.client() as client:
            client.upload("a;b/c\n", data)
            client.upload("again", data)
            client.upload("empty", b"")
            before = self.pairs(client)
        with self.start(store=folder) as server, server.client() as client:
            self.assertEqual(self.pairs(client), before)
            self.assertEqual(client.download(md5(data)).data, data)

    def test_an_acknowledged_file_survives_a_kill(self):
        folder = "killed"
        data = make_data(70000, 32)
        server = self.start(store=folder)
        with server, server.client() as client, server.client() as half:
            client.upload("kept", data)
            self.send_details(half, b"half;100000")
            half.read_ready(100000, False)
            half.send(data)
            client.upload("kept as well", data)
            server.kill()
        with self.start(store=folder) as server, server.client() as client:
            self.assertEqual(self.pairs(client), [(b"kept", md5(data), len(data)),
                                                  (b"kept as well", md5(data), len(data))])
            self.assertEqual(client.download(md5(data)).data, data)

    def test_a_read_only_server_serves_stored_files(self):
        folder = "read only"
        with self.start(store=folder) as server, server.client() as client:
            client.upload("here", HELLO)
        with self.start("--read-only", store=folder) as server, server.client() as client:
            self.assertEqual(client.download(HELLO_ID).data, HELLO)
            self.assert_refused("read-only", client.upload, "more", b"more")
            self.assert_refused("read-only", client.upload, "here", HELLO)
            self.assertEqual(self.pairs(client), [(b"here", HELLO_ID, 5)])

    def test_nothing_is_written_outside_the_store(self):
        folder = "inside"
        with self.start(store=folder) as server, server.client() as client:
            before = self.tree_outside(folder)
            for name in NAMES:
                client.upload(name, name.encode())
            for line in BAD_DETAILS[2][1]:
                self.send_details(client, line)
                self.assert_refused("bad-name", client.reply)
            self.assertEqual(self.tree_outside(folder), before)

    def tree_outside(self, folder):
        top = os.path.join(self.folder, "made")
        return sorted(os.path.join(path, name) for path, folders, files in os.walk(top)
                      for name in folders + files
                      if not os.path.join(path, name).startswith(os.path.join(top, folder)))


if __name__ == "__main__":
    peer.run_tests("filexfer-server")
