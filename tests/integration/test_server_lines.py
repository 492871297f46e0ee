#!/usr/bin/env python3
"""filexfer-server and the lines of an independent client: good ones, cut anywhere, and bad ones.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import programs
from contents import HELLO, HELLO_ID, make_data
from peer import Refused, md5
from store_cases import STORED_NAMES, DirectoryStore, MemoryStore

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

BAD_NAMES = (
    b";5", b"%;5", b"%4;5", b"%4g;5", b"a%;5", b"a%%41;5", b"% 41;5", b"%u0041;5", b"a%00b;5",
    b"%00;5", b"\xff;5", b"%FF;5", b"\xc0\xaf;5", b"%c0%af;5", b"\xc3;5", b"\xed\xa0\x80;5",
    b"\xf4\x90\x80\x80;5", b".;5", b"..;5", b"/;5", b"/etc/passwd;5", b"a/;5", b"/a;5",
    b"a//b;5", b"../x;5", b"a/../b;5", b"a/..;5", b"./a;5", b"a/.;5", b"a/./b;5", b"%2e%2E;5",
    b"%2E;5", b"a%2F..;5", b"%2Fetc;5", b"a%2f%2Fb;5", b".%2e/x;5", b"n" * 256 + b";5",
    b"%41" * 256 + b";5", "\u00e9".encode() * 128 + b";5")

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
    ("bad-name", BAD_NAMES),
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


class Lines:
    """Tests for every kind of store."""

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


class LinesInMemory(Lines, MemoryStore):
    pass


class LinesInFolder(Lines, DirectoryStore):
    def test_nothing_is_written_outside_the_store(self):
        folder = "inside"
        with self.start(store=folder) as server, server.client() as client:
            before = self.tree_outside(folder)
            for name in STORED_NAMES:
                client.upload(name, name.encode())
            for line in BAD_NAMES:
                self.send_details(client, line)
                self.assert_refused("bad-name", client.reply)
            self.assertEqual(self.tree_outside(folder), before)

    def tree_outside(self, folder):
        top = os.path.join(self.folder, "made")
        return sorted(os.path.join(path, name) for path, folders, files in os.walk(top)
                      for name in folders + files
                      if not os.path.join(path, name).startswith(os.path.join(top, folder)))


if __name__ == "__main__":
    programs.run_tests("filexfer-server")
