#!/usr/bin/env python3
"""filexfer-client against an independent server that refuses, breaks the protocol, or goes away.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 70

import os
import socket

import programs
from addresses import unused_address
from client_case import ClientCase
from contents import HELLO, HELLO_ID, MIB, make_data
from exit_codes import BROKEN, DONE, REFUSED, USAGE, WRONG_DIGEST
from peer import md5

# As written on the wire. Each is `bad-name` once decoded.
HOSTILE_NAMES = (b"../x", b"..", b".", b"/tmp/filexfer-hostile", b"a/../../x", b"a/..", b"./x",
                 b"a//x", b"x/", b"", b"%2E%2E/x", b"%2e%2e%2fx", b"..%2Fx", b"a%2F..%2F..%2Fx",
                 b"x%00y", b"%", b"x%4", b"\xff", b"%C3", b"n" * 256)


class Errors(ClientCase):
    """Against servers that keep to the protocol, and answer with errors."""

    def test_the_code_and_text_of_an_error_are_printed(self):
        self.write("local", HELLO)
        for code in (b"too-large at most 3 bytes; not more", b"no-space",
                     b"read-only this server takes no uploads",
                     b"collision", b"io the disk is broken", b"bad-name",
                     b"of-tomorrow unknown as yet"):
            for server in self.misbehaving(refuse_upload=code):
                self.assert_fails(server, "upload", "local", expect=REFUSED)
                for word in code.decode().split(" ", 1):
                    self.assertIn(word, self.output)
        for code in (b"not-found it was there", b"io", b"of-tomorrow"):
            for server in self.misbehaving(refuse_download=code):
                self.assert_fails(server, "download", HELLO_ID, expect=REFUSED)
                for word in code.decode().split(" ", 1):
                    self.assertIn(word, self.output)

    def test_a_file_over_max_size_is_refused(self):
        server = self.start_peer(features=True, max_size=4)
        self.write("local", HELLO)
        self.assert_fails(server, "upload", "local", expect=REFUSED)
        self.assertIn("too-large", self.output)
        self.assertEqual(server.store.content(), {})
        self.assert_no_violations(server)

    def test_a_busy_server_is_reported(self):
        self.write("local", HELLO)
        for server in self.misbehaving(busy=True):
            for arguments in (("list",), ("upload", "local"), ("download", HELLO_ID)):
                self.assert_fails(server, *arguments, expect=REFUSED)
                self.assertIn("busy", self.output)

    def test_an_error_in_the_middle_of_a_list_is_reported(self):
        for after in (0, 1):
            for server in self.misbehaving(fail_list_after=after):
                self.assert_fails(server, "list", expect=REFUSED)
                self.assertIn("io", self.output)
                self.assert_fails(server, "list", "--md5sum", expect=REFUSED)
                self.assert_fails(server, "download", "hello.txt", expect=REFUSED)

    def test_an_error_in_the_middle_of_an_upload_is_reported(self):
        with open(self.path("large"), "wb") as file:
            file.truncate(64 * MIB)
        for server in self.misbehaving(fail_upload_after=100000):
            self.run_client(server, "upload", "large", expect=REFUSED)
            self.assertIn("no-space", self.output)
            self.assertNotIn("Success", self.output)


class Breaches(ClientCase):
    """Against servers that break the protocol, or damage files."""

    def test_a_wrong_id_after_an_upload_fails(self):
        self.write("local", b"bytes")
        for server in self.misbehaving(wrong_id=True):
            self.assert_fails(server, "upload", "local", expect=WRONG_DIGEST)
            self.assertIn("Fail", self.output)
            self.assertIn(md5(b"bytes"), self.output)
            self.assertIn(md5(b"wrong " + md5(b"bytes").encode()), self.output)
            self.run_client(server, "upload", "-", "--name", "stdin", stdin=b"bytes",
                            expect=WRONG_DIGEST)
            self.assert_fails(server, "simulate", "local", expect=WRONG_DIGEST)

    def test_a_changed_byte_in_a_download_fails(self):
        for server in self.misbehaving(flip_byte=0):
            for arguments in ((HELLO_ID,), ("hello.txt",), (HELLO_ID, "-o", "chosen"),
                              (HELLO_ID, "-o", ".")):
                self.assert_fails(server, "download", *arguments, expect=WRONG_DIGEST)
                self.assertIn(HELLO_ID, self.output)
                self.assertIn(md5(b"iello"), self.output)
            self.assertEqual(self.assert_fails(server, "download", HELLO_ID, "-o", "-",
                                               expect=WRONG_DIGEST), b"iello")
            self.write("hello.txt", b"my own")
            self.assert_fails(server, "download", HELLO_ID, "--force", expect=WRONG_DIGEST)
            os.remove(self.path("hello.txt"))

    def test_a_truncated_download_leaves_at_most_a_part_file(self):
        for data in (0, 1, 4):
            for server in self.misbehaving(truncate_download=data):
                for arguments in ((HELLO_ID,), (HELLO_ID, "-o", "chosen"), (HELLO_ID, "-o", "-")):
                    self.assert_leaves_part(server, *arguments)
        self.write("hello.txt", b"my own")
        for server in self.misbehaving(truncate_download=3):
            self.assert_leaves_part(server, HELLO_ID, "--force")

    def assert_leaves_part(self, server, *arguments):
        """Checks that a broken download leaves at most a part file with correct bytes."""
        before = self.tree()
        self.run_client(server, "download", *arguments, expect=BROKEN)
        after = self.tree()
        for path in [path for path in after
                     if os.path.basename(path) == ".filexfer-%s.part" % HELLO_ID]:
            self.assertTrue(HELLO.startswith(after.pop(path)))
            os.remove(os.path.join(self.outside, path))
        self.assertEqual(after, before, self.describe(server))
        self.assertNotIn("Success", self.output)

    def test_a_connection_closed_at_any_line_is_an_error(self):
        self.write("local", b"bytes")
        points = {("list",): ("connect", "list-entry", "list-end"),
                  ("upload", "local"): ("connect", "upload-prompt", "ready", "id"),
                  ("download", HELLO_ID): ("connect", "download-prompt", "entry")}
        for arguments, command_points in points.items():
            for point in command_points:
                for server in self.misbehaving(close_at=point):
                    self.assert_fails(server, *arguments, expect=BROKEN)
                if point != "connect":
                    for server in self.misbehaving(cut_at=point):
                        self.assert_fails(server, *arguments, expect=BROKEN)

    def test_a_connection_closed_during_features_is_an_error(self):
        for faults in ({"close_at": "feature"}, {"cut_at": "feature"}, {"overlong_at": "feature"}):
            server = self.start_peer(features=True, **faults)
            self.run_client(server, "list", expect=(DONE, BROKEN))
            asked = b"FEATURES" in server.logged("command")
            self.run_client(server, "list", expect=BROKEN if asked else DONE)

    def test_a_line_longer_than_4096_bytes_is_an_error(self):
        self.write("local", b"bytes")
        points = {("list",): ("list-entry", "list-end"),
                  ("upload", "local"): ("upload-prompt", "ready", "id"),
                  ("download", HELLO_ID): ("download-prompt", "entry")}
        for arguments, command_points in points.items():
            for point in command_points:
                for server in self.misbehaving(overlong_at=point):
                    self.assert_fails(server, *arguments, expect=BROKEN)

    def test_a_name_that_leads_out_of_the_folder_is_rejected(self):
        for name in HOSTILE_NAMES:
            for server in self.misbehaving(hostile_name=name):
                self.assert_fails(server, "download", HELLO_ID, expect=BROKEN)
                self.assert_fails(server, "download", HELLO_ID, "-o", ".", expect=BROKEN)
                self.assert_fails(server, "list", expect=BROKEN)
                self.assertFalse(os.path.exists("/tmp/filexfer-hostile"))

    def test_a_malformed_entry_is_rejected(self):
        id = HELLO_ID.encode()
        good = id + b";hello.txt;5"
        for bad in (b"words", b"", id + b";hello.txt", id + b";hello.txt;", id + b";hello.txt;05",
                    id + b";hello.txt;-5", id + b";hello.txt;9223372036854775808",
                    id + b";hello.txt;5x", id[1:] + b";hello.txt;5", id + b"0;hello.txt;5",
                    b"g" + id[1:] + b";hello.txt;5", good + b";", good + b";;x", good + b";x;x",
                    good + b";X=1", good + b";x=", id + b";hel\x01lo.txt;5",
                    id + b";hello.txt;5\t"):
            for server in self.misbehaving(
                    rewrite=lambda point, line: bad if line == good else line):
                self.assert_fails(server, "download", HELLO_ID, expect=BROKEN)
                if bad not in (b"", b"words"):
                    self.assert_fails(server, "list", expect=BROKEN)
        for extra in (b"words", b"more words"):
            for server in self.misbehaving(
                    rewrite=lambda point, line: extra if point == "list-end" else line):
                self.assert_fails(server, "list", expect=BROKEN)

    def test_an_entry_with_another_id_is_rejected(self):
        for server in self.misbehaving(wrong_entry_id=True):
            self.assert_fails(server, "download", HELLO_ID, expect=BROKEN)

    def test_a_malformed_id_after_an_upload_is_rejected(self):
        self.write("local", b"bytes")
        good = md5(b"bytes").encode()
        for bad in (b"", b"Done", good[1:], good + b"0", b"g" + good[1:], good + b" ", b" " + good):
            for server in self.misbehaving(
                    rewrite=lambda point, line: bad if point == "id" else line):
                self.assert_fails(server, "upload", "local", expect=BROKEN)


class Connections(ClientCase):
    def test_an_unreachable_server_is_reported(self):
        self.write("local", HELLO)
        for arguments in (("list",), ("upload", "local"), ("download", HELLO_ID),
                          ("simulate", "local")):
            self.assert_fails(unused_address(), *arguments, expect=BROKEN)
        self.assertNotEqual(self.output, "")

    def test_a_server_that_speaks_another_protocol_is_an_error(self):
        self.write("local", HELLO)
        for greeting in (b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n",
                         b"\x15\x03\x01\0\x02\x02\x0a", b"SSH-2.0-x\r\n", b"\0" * 100000):
            for arguments in (("list",), ("upload", "local"), ("download", HELLO_ID)):
                with self.subTest(greeting=greeting[:20], arguments=arguments):
                    with socket.create_server(("127.0.0.1", 0)) as listener:
                        address = "127.0.0.1:%d" % listener.getsockname()[1]
                        with self.start_client(address, *arguments) as process:
                            listener.settimeout(15)
                            sock, _ = listener.accept()
                            sock.settimeout(15)
                            with sock:
                                sock.recv(1)
                                try:
                                    sock.sendall(greeting)
                                    sock.shutdown(socket.SHUT_WR)
                                except OSError:
                                    pass  # the client has closed already
                                process.communicate(timeout=60)
                        self.assertEqual(process.returncode, BROKEN)

    def test_wrong_arguments_are_usage_errors(self):
        self.write("a", HELLO)
        self.write("b", HELLO)
        with self.start_peer(features=True) as server:
            for arguments in ((), ("nonsense",), ("--nonsense",), ("upload",), ("download",),
                              ("list", "--nonsense"), ("upload", "a", "b", "--name", "one")):
                with self.subTest(arguments=arguments):
                    self.assert_fails(server, *arguments, expect=USAGE)
            self.assertEqual(server.store.content(), {})

    def test_help_lists_the_commands_and_exit_codes(self):
        out = self.run_client("127.0.0.1:1", "--help").decode()
        for word in ("list", "upload", "download", "simulate", "130"):
            self.assertIn(word, out)

    def test_an_interrupted_download_leaves_at_most_a_part_to_resume(self):
        data = make_data(300000)
        part = "folder/.filexfer-%s.part" % md5(data)
        for features in (False, True):
            for arguments in ((), ("-o", "chosen"), ("-o", "mine", "--force")):
                with self.subTest(features=features, arguments=arguments):
                    server = self.start_peer(features, stall_download_after=200000)
                    server.store.add("large", data)
                    self.write("mine", b"my own")
                    before = self.tree()
                    client = self.start_client(server, "download", md5(data), *arguments)
                    self.interrupt(server, client)
                    after = self.tree()
                    if part in after:  # if something had been written
                        self.assertTrue(arguments, "the target is not known")
                        self.assertTrue(data.startswith(after.pop(part)))
                        os.unlink(os.path.join(self.outside, part))
                    self.assertEqual(after, before)

    def test_an_interrupted_upload_stores_nothing(self):
        for features in (False, True):
            with self.subTest(features=features):
                server = self.start_peer(features, stall_upload_after=200000)
                with open(self.path("large"), "wb") as file:
                    file.truncate(64 * MIB)
                before = self.tree()
                self.interrupt(server, self.start_client(server, "upload", "large"))
                server.release.set()
                server.wait()
                self.assertEqual(server.store.content(), {})
                self.assertEqual(self.tree(), before)


if __name__ == "__main__":
    programs.run_tests("filexfer-client")
