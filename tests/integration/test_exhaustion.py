#!/usr/bin/env python3
"""filexfer-server without room on its disk, without inodes and without descriptors.

It must say so to the client that asked, harm nobody else, leave nothing behind, and
serve again as soon as there is room. Disks are mounted, which only root may do; the
tests that need them are skipped otherwise.
"""

import contextlib
import os
import resource
import shutil
import socket
import subprocess
import time
import unittest

import peer
from peer import md5
from test_programs import DONE, LOCAL_FILE, REFUSED, SANITIZED, Case, make_data, until

KIB = 1024


@unittest.skipUnless(os.geteuid() == 0, "only root mounts a small disk")
class Disks(Case):
    def mount(self, options):
        disk = self.path("disk")
        os.mkdir(disk)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True)
        if mounted.returncode:
            self.skipTest("no tmpfs can be mounted here: %s" % mounted.stderr.decode().strip())
        self.addCleanup(subprocess.run, ["umount", "-l", disk])

    def files(self, sizes):
        """Their names; each has other bytes."""
        for number, size in enumerate(sizes):
            self.write("file %d" % number, make_data(size, number))
        return ["file %d" % number for number in range(len(sizes))]

    def whole(self, server, names):
        """Just these are listed and stored, and nothing else stands in the store."""
        listed = self.client(server, "list").decode().splitlines()
        self.assertEqual(sorted(line.split(";")[1] for line in listed), sorted(names))
        ids = {md5(self.read(name)) for name in names}
        self.assertEqual({id for id in os.listdir(self.path("disk")) if not id.startswith(".")}, ids)
        for name in names:
            self.assertEqual(self.client(server, "download", name, "-o", "-"), self.read(name))
        self.no_temporaries("disk")

    def free(self, name):
        shutil.rmtree(self.path("disk", md5(self.read(name))))

    def test_a_disk_without_room(self):
        self.mount("size=256k")
        server = self.serve(store="disk")
        too_large, most, more, tiny = self.files((300 * KIB, 180 * KIB, 100 * KIB, 5))
        # Refused, and the connection goes on.
        out = self.client(server, "upload", too_large, most, expect=REFUSED).decode()
        self.assertIn("no-space", self.said)
        self.assertEqual(out, "Success  %s  %s\n" % (md5(self.read(most)), most))
        self.client(server, "upload", more, expect=REFUSED)
        self.assertIn("no-space", self.said)
        self.whole(server, [most])
        self.client(server, "upload", tiny)
        # A large one is refused before its bytes travel.
        self.write("huge", bytes(4 * KIB * KIB))
        self.client(server, "upload", "huge", expect=REFUSED)
        self.assertIn("no-space", self.said)
        self.whole(server, [most, tiny])
        self.free(most)
        self.client(server, "upload", more)
        self.whole(server, [more, tiny])
        server.terminate()
        self.assertEqual(server.wait(), DONE)

    def test_a_disk_without_inodes(self):
        self.mount("size=4m,nr_inodes=12")
        server = self.serve(store="disk")
        names = self.files((10,) * 12)
        self.client(server, "upload", *names, expect=REFUSED)
        self.assertIn("no-space", self.said)
        stored = [line.split(";")[1] for line in self.client(server, "list").decode().splitlines()]
        self.assertGreater(len(stored), 1)
        self.assertLess(len(stored), len(names))
        self.whole(server, stored)
        # As often as one likes.
        for _ in range(3):
            self.client(server, "upload", names[-1], expect=REFUSED)
        self.whole(server, stored)
        self.free(stored[0])
        self.client(server, "upload", names[-1])
        self.whole(server, stored[1:] + [names[-1]])

    def test_a_disk_without_room_for_a_store(self):
        self.mount("size=4m,nr_inodes=1")
        self.run_program("filexfer-server", "--listen", "127.0.0.1:0", "--store", "disk/store", expect=LOCAL_FILE)
        self.assertIn("disk/store", self.said)


@unittest.skipUnless(os.path.exists("/proc/self/stat"), "there is no /proc to ask for CPU time")
class Descriptors(Case):
    LIMIT = 32
    CROWD = 60

    @staticmethod
    def cpu_time(server):
        """Seconds, of all threads."""
        with open("/proc/%d/stat" % server.process.pid) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def descriptors(server):
        return len(os.listdir("/proc/%d/fd" % server.process.pid))

    def limit(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.LIMIT, self.LIMIT))

    def test_a_crowd_that_takes_all_descriptors(self):
        for store in ("store", "memory"):
            with self.subTest(store=store):
                if store == "store" and "undefined" in os.environ.get("FILEXFER_SANITIZE", ""):
                    # Without one, it takes a good object for a bad one, and ends the server.
                    self.skipTest("UBSan's own check of an object's type opens a pipe, and needs descriptors")
                server = self.serve(store=store, prepare=self.limit)
                before = self.descriptors(server)  # none is a connection's
                self.write("a", b"hello")
                self.client(server, "upload", "a")
                host, port = server.address.rsplit(":", 1)
                with contextlib.ExitStack() as crowd:
                    standing = [crowd.enter_context(socket.create_connection((host, int(port)), timeout=20))
                                for _ in range(self.CROWD)]
                    until(lambda: self.descriptors(server) == self.LIMIT, "the last descriptor")
                    begin, used = time.monotonic(), self.cpu_time(server)
                    time.sleep(1.5)  # what is measured is how little it does meanwhile
                    used, passed = self.cpu_time(server) - used, time.monotonic() - begin
                    self.assertLess(used, (0.3 if SANITIZED else 0.05) * passed, "CPU time, in %.1f s" % passed)
                    # Who is served already gets an answer, though it may be that it can't be done now.
                    standing[0].sendall(b"LIST_FILES\n")
                    answer = standing[0].recv(4096)
                    self.assertTrue(answer.startswith((b"ERROR io ", md5(b"hello").encode())), answer)
                    self.assertIsNone(server.process.poll())
                    lines = server.log().count("\n")
                closed = time.monotonic()
                self.client(server, "list")
                self.assertLess(time.monotonic() - closed, 5 if SANITIZED else 1, "until service was back")
                self.client(server, "upload", "a", "--name", "b")
                until(lambda: self.descriptors(server) == before, "the server to close what it opened")
                self.assertLess(lines, 50, "lines in the log about the same thing")


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
