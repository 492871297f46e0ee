#!/usr/bin/env python3
"""Files that the programs transfer: their sizes, names, ids and times, and where they end up.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import hashlib
import os
import shutil
import stat
import subprocess
import threading
import unittest

import peer
import programs
from contents import HELLO, HELLO_ID, MIB, NAMES, make_data
from exit_codes import LOCAL_FILE, REFUSED, USAGE
from peer import md5
from program_case import Case
from waiting import TIMEOUT, wait_until


class Files(Case):
    def test_files_of_every_size_are_returned_unchanged(self):
        server = self.serve(store="store")
        sizes = (0, 1, 65535, 65536, 65537, 262144, 262145, 3000001)
        for size in sizes:
            self.write("size %d" % size, make_data(size))
        names = ["size %d" % size for size in sizes]
        out = self.client(server, "upload", *names).decode().splitlines()
        self.assertEqual(out, ["Success  %s  size %d" % (md5(make_data(size)), size)
                               for size in sizes])
        os.mkdir(self.path("out"))
        out = self.client(server, "download", *names, "-o", "out").decode().splitlines()
        self.assertEqual(out, ["Success  %s  out/size %d" % (md5(make_data(size)), size)
                               for size in sizes])
        for name in names:
            self.assertEqual(self.read("out/" + name), self.read(name))
        self.check_no_temporaries()

    @unittest.skipUnless(shutil.which("md5sum"), "there is no md5sum")
    def test_files_with_special_names_are_returned_unchanged(self):
        server = self.serve(store="store")
        for number, name in enumerate(NAMES):
            self.write(name, b"content %d" % number)
        self.client(server, "upload", "--", *NAMES)
        os.mkdir(self.path("out"))
        self.client(server, "download", "-o", "out", "--", *NAMES)
        self.assertEqual(sorted(os.listdir(self.path("out"))), sorted(NAMES))
        sums = self.client(server, "list", "--md5sum")
        checked = subprocess.run(["md5sum", "--check", "--strict"], cwd=self.path("out"),
                                 input=sums, capture_output=True)
        self.assertEqual(checked.returncode, 0, checked)
        self.assertEqual(checked.stdout.count(b": OK\n"), len(NAMES))
        self.assertEqual(sorted(self.client(server, "list").splitlines()), sorted(
            b"%s;%s;%d"
            % (md5(b"content %d" % number).encode(), peer.escape(name), len("content %d" % number))
            for number, name in enumerate(NAMES)))
        raw = set(server.log()) - {"\n"}
        self.assertFalse([c for c in raw if not c.isprintable()])

    def test_an_invalid_name_is_a_usage_error(self):
        server = self.serve()
        self.write("a", HELLO)
        with open(os.path.join(os.fsencode(self.folder), b"latin \xe9"), "wb") as file:
            file.write(HELLO)
        for name in ("", ".", "..", "../x", "/x", "a//b", "a/", "n" * 256):
            self.client(server, "upload", "a", "--name", name, expect=USAGE)
            self.assertTrue(self.stderr.startswith((name or '""') + ": "), self.stderr)
        self.client(server, "upload", b"latin \xe9", expect=USAGE)
        self.client(server, "upload", b"latin \xe9", "--name", "latin")
        self.run_program("filexfer-simulation", b"latin \xe9", expect=USAGE)

    def test_a_file_that_cannot_be_read_is_an_error(self):
        server = self.serve()
        os.mkfifo(self.path("fifo"))
        self.write("a", HELLO)
        for file in ("missing", ".", "fifo", "a/b"):
            if file != ".":  # upload sends the files of a folder
                self.client(server, "upload", file, expect=LOCAL_FILE)
                self.assertIn(file, self.stderr)
            self.client(server, "simulate", file, expect=LOCAL_FILE)
            self.run_program("filexfer-simulation", file, expect=LOCAL_FILE)
        out = self.client(server, "upload", "missing", "a", "fifo", expect=LOCAL_FILE)
        self.assertEqual(out.decode(), "Success  %s  a\n" % HELLO_ID)

    def test_an_existing_file_is_replaced_only_with_force(self):
        server = self.serve()
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        self.write("a", b"mine")
        self.client(server, "download", "a", expect=LOCAL_FILE)
        self.assertIn("--force", self.stderr)
        for words in (("a",), (HELLO_ID,), ("a", "-o", "a"), (HELLO_ID, "-o", "./a")):
            self.client(server, "download", *words, expect=LOCAL_FILE)
            self.assertEqual(self.read("a"), b"mine")
        self.client(server, "download", HELLO_ID, "--force")
        self.assertEqual(self.read("a"), HELLO)
        # The same file twice to one target, and another file to it.
        self.write("other/a", b"other")
        self.client(server, "upload", "other/a", "--name", "b/a")
        os.mkdir(self.path("out"))
        out = self.client(server, "download", "a", "a", "-o", "out").decode().splitlines()
        self.assertEqual(out, [outcome + "  %s  out/a" % HELLO_ID
                               for outcome in ("Success", "Already there")])
        self.client(server, "download", md5(b"other"), "-o", "out/a", expect=LOCAL_FILE)
        self.assertEqual(self.read("out/a"), HELLO)
        # Targets in missing folders, and targets that are folders.
        for target in ("no/such", "no/", "a/b", "/proc/x", "out/a/"):
            self.client(server, "download", "a", "-o", target, expect=LOCAL_FILE)
            self.assertTrue(self.stderr.startswith(target + ": "), self.stderr)
        for target in ("a", "no"):
            self.client(server, "download", "a", HELLO_ID, "-o", target, expect=LOCAL_FILE)
        self.client(server, "download", "b/a", "-o", "out")
        self.assertEqual(self.read("out/b/a"), b"other")
        os.mkdir(self.path("out/dir"))
        self.client(server, "upload", "a", "--name", "dir")
        self.client(server, "download", "dir", "-o", "out", "--force", expect=LOCAL_FILE)

    def test_a_link_or_fifo_as_target_is_not_written_through(self):
        server = self.serve()
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        os.mkfifo(self.path("fifo"))
        self.write("elsewhere", b"mine")
        os.symlink("elsewhere", self.path("link"))
        os.symlink("nowhere", self.path("dangling"))
        for target in ("fifo", "link", "dangling"):
            self.client(server, "download", "a", "-o", target, expect=LOCAL_FILE)
        self.client(server, "download", "a", "-o", "fifo", "--force", expect=LOCAL_FILE)
        self.assertTrue(stat.S_ISFIFO(os.stat(self.path("fifo")).st_mode))
        # The link is replaced, not its target.
        self.client(server, "download", "a", "-o", "link", "--force")
        self.assertFalse(os.path.islink(self.path("link")))
        self.assertEqual(self.read("elsewhere"), b"mine")

    def test_no_name_leads_out_of_the_folder(self):
        server = self.serve()
        self.write("a", HELLO)
        self.client(server, "upload", "a", "--name", "photos/2021/a")
        os.makedirs(self.path("out"))
        os.makedirs(self.path("outside/2021"))
        os.symlink("../outside", self.path("out/photos"))
        for words in (("photos/2021/a",), (HELLO_ID,), (HELLO_ID, "--force")):
            self.client(server, "download", *words, "-o", "out", expect=LOCAL_FILE)
            self.assertEqual(os.listdir(self.path("outside/2021")), [])
        os.remove(self.path("out/photos"))
        self.write("out/photos", b"a file")
        self.client(server, "download", HELLO_ID, "-o", "out", expect=LOCAL_FILE)
        # A folder that is given as the target may be a link.
        os.symlink("outside", self.path("link"))
        self.client(server, "download", HELLO_ID, "-o", "link")
        self.assertEqual(self.read("outside/photos/2021/a"), HELLO)

    def test_a_file_can_be_downloaded_by_name_or_id(self):
        server = self.serve()
        for number, data in enumerate((b"one", b"two")):
            self.write("f%d" % number, data)
            self.client(server, "upload", "f%d" % number, "--name", "same")
        self.write("hex", b"hex")
        self.client(server, "upload", "hex", "--name", md5(b"one"))
        self.client(server, "download", "same", expect=USAGE)
        self.assertIn(md5(b"one"), self.stderr)
        self.assertIn(md5(b"two"), self.stderr)
        for data in (b"one", b"two"):
            self.assertEqual(self.client(server, "download", md5(data).upper(), "-o", "-"), data)
        self.client(server, "download", "Same", expect=REFUSED)
        self.client(server, "download", "0" * 32, expect=REFUSED)
        self.assertIn("not-found", self.stderr)
        out = self.client(server, "download", "nowhere", "same", md5(b"two"), "-o", ".",
                          expect=REFUSED)
        self.assertIn(b"Success", out)
        self.assertEqual(self.read("same"), b"two")

    def test_stdin_is_uploaded_if_it_has_the_given_size(self):
        server = self.serve(store="store")
        for data in (b"", HELLO, make_data(300000)):
            for arguments in ((), ("--name", "x/y"), ("--size", str(len(data)))):
                name = "x/y" if "--name" in arguments else "stdin"
                out = self.client(server, "upload", "-", *arguments, stdin=data)
                self.assertEqual(out.decode(), "Success  %s  %s\n" % (md5(data), name))
        listed = self.client(server, "list")
        for size, data in ((6, HELLO), (4, HELLO), (0, HELLO), (300001, make_data(300000)),
                             (299999, make_data(300000))):
            self.client(server, "upload", "-", "--size", str(size), stdin=data, expect=LOCAL_FILE)
            self.assertIn("standard input", self.stderr)
        self.assertEqual(self.client(server, "list"), listed)
        wait_until(lambda: self.incoming_size() == 0, "the server drops what was not finished")
        self.client(server, "upload", "-", "--size", "1K", stdin=bytes(1024))
        # The second time it is empty.
        out = self.client(server, "upload", "-", "-", stdin=HELLO).decode().splitlines()
        self.assertEqual([line.split()[1] for line in out], [HELLO_ID, md5(b"")])

    def test_a_failed_write_to_stdout_is_an_error(self):
        server = self.serve()
        data = make_data(300000)
        self.write("a", data)
        self.client(server, "upload", "a")
        self.assertEqual(self.client(server, "download", "a", "-o", "-"), data)
        with open("/dev/full", "wb") as full:
            for arguments in (("list",), ("download", "a", "-o", "-"), ("upload", "a")):
                process = self.start_client(server, *arguments, stdout=full)
                _, err = process.communicate(timeout=TIMEOUT)
                self.assertEqual(process.returncode, LOCAL_FILE, (arguments, err))
            for command in (("filexfer-simulation", "a"), ("filexfer-simulation", "--help"),
                            ("filexfer-client", "--help"), ("filexfer-server", "--version")):
                result = subprocess.run([programs.path_of(command[0]), *command[1:]],
                                        cwd=self.folder, stdout=full, stderr=subprocess.PIPE,
                                        timeout=TIMEOUT)
                self.assertEqual(result.returncode, LOCAL_FILE, command)
                self.assertIn(b"standard output", result.stderr)
        process = self.start_client(server, "download", "a", "-o", "-")
        process.stdout.close()
        self.assertEqual(process.wait(TIMEOUT), LOCAL_FILE)

    def test_a_file_that_grows_while_it_is_sent_is_not_stored(self):
        server = self.serve(store="store")
        path = self.write("growing", bytes(64 * MIB))
        stop = threading.Event()

        def grow():
            with open(path, "ab") as file:
                while not stop.is_set():
                    file.write(b"x")
                    file.flush()

        thread = threading.Thread(target=grow)
        thread.start()
        try:
            self.client(server, "upload", "growing", expect=LOCAL_FILE)
        finally:
            stop.set()
            thread.join()
        self.assertIn("changed", self.stderr)
        self.assertEqual(self.client(server, "list"), b"")
        wait_until(lambda: self.incoming_size() == 0, "the server drops what was not finished")


class Digests(Case):
    """Digests and other properties of files: the ids of a server are MD5 or SHA-256."""

    def test_a_server_can_use_sha256_ids(self):
        self.write("a", HELLO)
        id = hashlib.sha256(HELLO).hexdigest()
        for store in ("memory", "store"):
            server = self.serve("--digest", "sha256", store=store)
            self.assertIn(id, self.client(server, "upload", "a").decode())
            self.assertEqual(self.client(server, "list").decode(), "%s;a;5\n" % id)
            self.assertEqual(self.client(server, "list", "--md5sum").decode(), id + "  a\n")
            for word in (id, id.upper(), "a"):
                self.assertIn(id, self.client(server, "download", word, "-o", "copy",
                                              "--force").decode())
                self.assertEqual(self.read("copy"), HELLO)
            self.assertIn("SHA-256 of the copy", self.client(server, "simulate", "a").decode())
        self.assertEqual(self.read("store/" + id + "/a"), HELLO)

    def test_a_list_can_be_limited_to_a_prefix(self):
        server = self.serve()
        for name in ("a", "ab", "b", "a;b"):
            self.write(name, HELLO)
            self.client(server, "upload", name)
        for prefix, names in (("a", {"a", "ab", "a%3Bb"}), ("a;", {"a%3Bb"}), ("c", set()),
                              ("", {"a", "ab", "a%3Bb", "b"})):
            lines = self.client(server, "list", prefix).decode().splitlines()
            self.assertEqual({line.split(";")[1] for line in lines}, names)

    def test_modification_times_are_kept(self):
        times = {"old": -1_500_000_000, "new": 1_700_000_000_123_456_789}
        for name, mtime in times.items():
            self.write(name, HELLO)  # one file under two names
            os.utime(self.path(name), ns=(0, mtime))
        for store in ("memory", "store"):
            server = self.serve(store=store)
            self.client(server, "upload", *times)
            os.makedirs(self.path(store + "-copies"))
            self.client(server, "download", *times, "-o", store + "-copies")
            for name, mtime in times.items():
                copy = self.path(store + "-copies", name)
                self.assertEqual(os.stat(copy).st_mtime_ns, mtime)
            self.client(server, "download", HELLO_ID, "-o", store + "-by-id")
            by_id = self.path(store + "-by-id")
            self.assertIn(os.stat(by_id).st_mtime_ns, times.values())
        stored = self.path("store", HELLO_ID, "old")
        self.assertEqual(os.stat(stored).st_mtime_ns, times["old"])

    def test_an_id_of_the_other_digest_is_refused(self):
        for kind, id, digits in (("md5", "0" * 64, "32"), ("sha256", "0" * 32, "64")):
            server = self.serve("--digest", kind)
            self.client(server, "download", id, expect=REFUSED)
            self.assertIn("ids have %s digits" % digits, self.stderr)

    def test_a_store_lists_only_the_files_of_its_digest(self):
        self.write("a", HELLO)
        for kind in ("md5", "sha256"):
            server = self.serve("--digest", kind, store="store")
            self.assertEqual(self.client(server, "list"), b"")
            self.client(server, "upload", "a")
            self.assertEqual(len(self.client(server, "list").splitlines()), 1)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", "filexfer-simulation")
