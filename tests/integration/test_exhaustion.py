#!/usr/bin/env python3
"""The programs on a full disk, the server also without inodes and without descriptors.

It must report the error to the client concerned, not affect others, leave nothing behind,
and serve again as soon as there is space. Only root may mount small disks; the tests that
need them are skipped otherwise.
"""

import contextlib
import os
import resource
import shutil
import subprocess
import time
import unittest

import programs
from addresses import connect
from contents import HELLO, HELLO_ID, KIB, make_data
from exit_codes import DONE, LOCAL_FILE, REFUSED
from peer import Refused, md5
from program_case import Case
from waiting import SANITIZED, wait_until


@unittest.skipUnless(os.geteuid() == 0, "only root mounts a small disk")
class Disks(Case):
    def mount(self, options):
        disk = self.path("disk")
        os.mkdir(disk)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk],
                                 capture_output=True)
        if mounted.returncode:
            self.skipTest("no tmpfs can be mounted here: %s" % mounted.stderr.decode().strip())
        self.addCleanup(subprocess.run, ["umount", "-l", disk])

    def write_files(self, sizes):
        """Writes files of different content, and returns their names."""
        for number, size in enumerate(sizes):
            self.write("file %d" % number, make_data(size, number))
        return ["file %d" % number for number in range(len(sizes))]

    def assert_only_stored(self, server, names):
        """Checks that exactly these files are listed and stored."""
        listed = self.client(server, "list").decode().splitlines()
        self.assertEqual(sorted(line.split(";")[1] for line in listed), sorted(names))
        ids = {md5(self.read(name)) for name in names}
        self.assertEqual({id for id in os.listdir(self.path("disk")) if not id.startswith(".")},
                         ids)
        for name in names:
            self.assertEqual(self.client(server, "download", name, "-o", "-"), self.read(name))
        self.check_no_temporaries("disk")

    def delete_stored(self, name):
        shutil.rmtree(self.path("disk", md5(self.read(name))))

    def test_a_full_disk_refuses_uploads_until_space_is_freed(self):
        self.mount("size=256k")
        server = self.serve(store="disk")
        too_large, most, more, tiny = self.write_files((300 * KIB, 180 * KIB, 100 * KIB, 5))
        # The file is refused, and the connection stays usable.
        out = self.client(server, "upload", too_large, most, expect=REFUSED).decode()
        self.assertIn("no-space", self.stderr)
        self.assertEqual(out, "Success  %s  %s\n" % (md5(self.read(most)), most))
        self.client(server, "upload", more, expect=REFUSED)
        self.assertIn("no-space", self.stderr)
        self.assert_only_stored(server, [most])
        self.client(server, "upload", tiny)
        # A file larger than the disk is refused before its bytes are sent.
        self.write("huge", bytes(4 * KIB * KIB))
        self.client(server, "upload", "huge", expect=REFUSED)
        self.assertIn("no-space", self.stderr)
        self.assert_only_stored(server, [most, tiny])
        self.delete_stored(most)
        self.client(server, "upload", more)
        self.assert_only_stored(server, [more, tiny])
        server.terminate()
        self.assertEqual(server.wait(), DONE)

    def test_a_disk_without_inodes_refuses_uploads_until_some_are_freed(self):
        self.mount("size=4m,nr_inodes=12")
        server = self.serve(store="disk")
        names = self.write_files((10,) * 12)
        self.client(server, "upload", *names, expect=REFUSED)
        self.assertIn("no-space", self.stderr)
        stored = [line.split(";")[1] for line in self.client(server, "list").decode().splitlines()]
        self.assertGreater(len(stored), 1)
        self.assertLess(len(stored), len(names))
        self.assert_only_stored(server, stored)
        # Again and again.
        for _ in range(3):
            self.client(server, "upload", names[-1], expect=REFUSED)
        self.assert_only_stored(server, stored)
        self.delete_stored(stored[0])
        self.client(server, "upload", names[-1])
        self.assert_only_stored(server, stored[1:] + [names[-1]])

    def test_a_disk_without_inodes_refuses_an_upload_before_its_bytes(self):
        self.mount("size=4m,nr_inodes=12")
        server = self.serve(store="disk")
        stored = 0
        with server.client() as client:
            while stored < 12:
                client.send_line(b"UPLOAD")
                client.words()
                client.send_line(b"file;%d" % len(b"%d" % stored))
                try:
                    client.words()
                except Refused as refusal:
                    self.assertEqual(refusal.code, "no-space")
                    break
                client.send(b"%d" % stored)
                self.assertEqual(client.words().decode(), md5(b"%d" % stored))
                stored += 1
            self.assertEqual(len(client.list_files()), stored)
        self.assertGreater(stored, 1)
        self.assertLess(stored, 12)
        self.check_no_temporaries("disk")

    def test_a_server_keeps_space_free_on_the_disk(self):
        self.mount("size=4m")
        self.write("large", make_data(1500 * KIB, 1))
        self.write("larger", make_data(2500 * KIB, 2))
        server = self.serve("--min-free", "2M", store="disk")
        self.client(server, "upload", "larger", expect=REFUSED)
        self.assertIn("no-space", self.stderr)
        with server.client() as client:
            client.send_line(b"UPLOAD")
            client.words()
            client.send_line(b"slow;%d" % (1500 * KIB))
            client.words()
            # Nothing of it is there yet, but it was promised the space.
            self.client(server, "upload", "large", expect=REFUSED)
            self.assertIn("no-space", self.stderr)
        wait_until(lambda: self.start_client(server, "upload", "large").wait() == DONE,
                   "the space to be released")
        server.stop()
        server = self.serve("--min-free", "10%", store="disk")
        self.client(server, "upload", "larger", expect=REFUSED)
        server.stop()
        server = self.serve("--min-free", "0", store="disk")
        self.client(server, "upload", "larger")

    def test_a_server_keeps_inodes_free_on_the_disk(self):
        self.mount("size=4m,nr_inodes=200")
        names = self.write_files((10,) * 80)
        server = self.serve("--min-free", "50%", store="disk")
        self.client(server, "upload", *names, expect=REFUSED)
        self.assertIn("no-space", self.stderr)
        self.assertGreaterEqual(os.statvfs(self.path("disk")).f_favail, 100)
        stored = len(self.client(server, "list").splitlines())
        self.assertGreater(stored, 20)
        self.assertLess(stored, 50)

    def test_a_full_disk_is_reported_and_leaves_no_files(self):
        self.mount("size=256k")
        disk = self.path("disk")
        self.write("large", make_data(600000))
        self.write("small", make_data(60000))
        into_disk = self.serve(store="disk/store")
        self.client(into_disk, "upload", "large", expect=REFUSED)
        self.assertIn("no-space", self.stderr)
        self.check_no_temporaries("disk/store")
        self.client(into_disk, "upload", "small")
        into_disk.stop()
        elsewhere = self.serve()
        self.client(elsewhere, "upload", "large")
        before = sorted(os.listdir(disk))
        self.client(elsewhere, "download", "large", "-o", "disk", expect=LOCAL_FILE)
        self.assertIn("large", self.stderr)
        self.client(elsewhere, "download", "large", "-o", "disk/x", expect=LOCAL_FILE)
        self.assertEqual(sorted(os.listdir(disk)), before)
        self.environment["TMPDIR"] = disk
        # It is refused by its own server.
        self.run_program("filexfer-simulation", "large", expect=REFUSED)
        self.client(elsewhere, "upload", "-", stdin=bytes(600000), expect=LOCAL_FILE)
        self.assertEqual(sorted(os.listdir(disk)), before)

    def test_a_store_that_cannot_be_created_is_an_error(self):
        self.mount("size=4m,nr_inodes=1")
        self.run_program("filexfer-server", "--listen", "127.0.0.1:0", "--store", "disk/store",
                         expect=LOCAL_FILE)
        self.assertIn("disk/store", self.stderr)


@unittest.skipUnless(os.path.exists("/proc/self/stat"), "there is no /proc to ask for CPU time")
class Descriptors(Case):
    LIMIT = 32
    CONNECTIONS = 60

    @staticmethod
    def cpu_time(server):
        """In seconds, of all threads."""
        with open("/proc/%d/stat" % server.process.pid) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def limit_descriptors(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.LIMIT, self.LIMIT))

    def test_a_server_without_descriptors_stays_idle_and_recovers(self):
        for store in ("store", "memory"):
            with self.subTest(store=store):
                if store == "store" and "undefined" in os.environ.get("FILEXFER_SANITIZE", ""):
                    # Without one, it reports a valid object as invalid, and ends the server.
                    self.skipTest("UBSan's own check of an object's type opens a pipe, and needs"
                                  " descriptors")
                server = self.serve(store=store, prepare=self.limit_descriptors)
                before = server.descriptors()  # without connections
                self.write("a", HELLO)
                self.client(server, "upload", "a")
                with contextlib.ExitStack() as stack:
                    connections = [stack.enter_context(connect(server.address, 20))
                                   for _ in range(self.CONNECTIONS)]
                    wait_until(lambda: server.descriptors() == self.LIMIT,
                               "the last descriptor")
                    begin, used = time.monotonic(), self.cpu_time(server)
                    time.sleep(1.5)  # measures the CPU time used meanwhile
                    used, passed = self.cpu_time(server) - used, time.monotonic() - begin
                    self.assertLess(used, (0.3 if SANITIZED else 0.05) * passed,
                                    "CPU time, in %.1f s" % passed)
                    # An accepted connection gets a reply, which may be an error.
                    connections[0].sendall(b"LIST_FILES\n")
                    answer = connections[0].recv(4096)
                    self.assertTrue(answer.startswith((b"ERROR io ", HELLO_ID.encode())),
                                    answer)
                    self.assertIsNone(server.process.poll())
                    lines = server.log().count("\n")
                self.client(server, "list")
                self.client(server, "upload", "a", "--name", "b")
                wait_until(lambda: server.descriptors() == before,
                           "the server to close what it opened")
                self.assertLess(lines, 50, "lines in the log about the same thing")


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", "filexfer-simulation")
