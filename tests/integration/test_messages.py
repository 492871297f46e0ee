#!/usr/bin/env python3
"""What the programs say when something fails: it is true, and tells what to do.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import socket

import programs
from contents import HELLO, HELLO_ID, KIB, MIB, make_data
from exit_codes import BROKEN, LOCAL_FILE
from peer import md5
from program_case import Case


def part_of(id):
    return ".filexfer-%s.part" % id


class Messages(Case):
    def test_a_file_whose_size_is_not_known_is_to_be_sent_as_standard_input(self):
        server = self.serve()
        files = [path for path in ("/proc/cpuinfo", "/proc/self/status",
                                   "/sys/kernel/mm/transparent_hugepage/enabled")
                 if os.access(path, os.R_OK)]
        for path in files:
            for name, *job in (("filexfer-client", "upload"),
                               ("filexfer-client", "upload", "--skip-existing"),
                               ("filexfer-client", "verify"), ("filexfer-client", "simulate"),
                               ("filexfer-simulation",)):
                with self.subTest(path=path, name=name, job=job):
                    where = ("--server", server.address) if name == "filexfer-client" else ()
                    self.run_program(name, *where, *job, path, expect=LOCAL_FILE)
                    self.assertIn(path + ": its size is not known before it is read", self.stderr)
                    self.assertIn("upload - --name NAME", self.stderr)
        with open("/proc/cpuinfo", "rb") as file:
            data = file.read()
        self.client(server, "upload", "-", "--name", "NAME", stdin=data)

    def test_force_is_not_advised_where_it_is_refused(self):
        self.write("hello.txt", HELLO)
        server = self.serve()
        self.client(server, "upload", "hello.txt")
        self.client(server, "upload", "hello.txt", "--name", "fifo")
        os.makedirs(self.path("out"))
        os.mkfifo(self.path("fifo"))
        os.mkfifo(self.path("out/fifo"))
        for job in (("download", "hello.txt", "-o", "/dev/null"),
                    ("download", HELLO_ID, "-o", "/dev/null"),
                    ("download", "hello.txt", "-o", "fifo"), ("download", "fifo", "-o", "out"),
                    ("simulate", "hello.txt", "-o", "fifo")):
            with self.subTest(job=job):
                for force in ((), ("--force",)):
                    self.client(server, *job, *force, expect=LOCAL_FILE)
                    self.assertIn(": is not a regular file; use - for standard", self.stderr)
                    self.assertNotIn("--force", self.stderr)

    def test_a_socket_is_not_a_regular_file(self):
        self.write("hello.txt", HELLO)
        server = self.serve()
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(self.path("socket"))
            for job in (("upload",), ("upload", "--skip-existing"), ("verify",), ("simulate",)):
                self.client(server, *job, "socket", expect=LOCAL_FILE)
                self.assertIn("socket: is not a regular file", self.stderr)
            self.run_program("filexfer-simulation", "socket", expect=LOCAL_FILE)
            self.assertIn("socket: is not a regular file", self.stderr)
            self.client(server, "--checksum-cache", "socket", "verify", "hello.txt",
                        expect=LOCAL_FILE)
            self.assertIn("socket: is not a readable regular file", self.stderr)

    def test_a_part_that_is_longer_than_the_file_is_fetched_anew(self):
        for size in (64 * KIB, 3 * MIB):  # smaller files have no part
            data = make_data(size)
            self.write("file", data)
            server = self.serve()
            self.client(server, "upload", "file")
            os.mkdir(self.path("out"))
            for words in (("file", "-o", "copy"), (md5(data), "-o", "copy"),
                          ("file", "-o", "out"), ("--all", "-o", "out")):
                folder = "out/" if "out" in words else ""
                for start in (data, b"x" * size):
                    self.write(folder + part_of(md5(data)), start + b"more")
                    self.client(server, "download", *words)
                    self.assertEqual(self.stderr, "")
                    copy = self.path(folder + ("file" if folder else "copy"))
                    self.assertEqual(self.read(copy), data)
                    os.remove(copy)
                    self.assertFalse(os.path.exists(self.path(folder + part_of(md5(data)))))
            os.rmdir(self.path("out"))

    def test_a_malformed_reply_is_quoted_instead_of_the_line_before_it(self):
        self.write("hello.txt", HELLO)
        jobs = {"upload-prompt": ("upload", "hello.txt"), "ready": ("upload", "hello.txt"),
                "id": ("upload", "hello.txt"), "entry": ("download", HELLO_ID, "-o", "copy"),
                "list-entry": ("list",)}
        for point, job in jobs.items():
            for features in (False, True):
                with self.subTest(point=point, features=features):
                    server = self.start_peer(features, rewrite=lambda at, line, wanted=point:
                                             b"bell \x07" if at == wanted else line)
                    server.store.add("hello.txt", HELLO)
                    self.client(server, *job, expect=BROKEN)
                    self.assertIn(r'it sent "bell \x07"', self.stderr)
                    server.stop()
                    server = self.start_peer(features, overlong_at=point)
                    server.store.add("hello.txt", HELLO)
                    self.client(server, *job, expect=BROKEN)
                    self.assertRegex(self.stderr, "the peer does not speak the protocol\n$")
                    server.stop()


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", "filexfer-simulation")
