#!/usr/bin/env python3
"""Uploads and downloads of files that the other side has already.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import re

import peer
import programs
from contents import HELLO, HELLO_ID
from exit_codes import LOCAL_FILE, REFUSED, USAGE
from peer import md5
from trees import Trees


class Skipping(Trees):
    def logged_sizes(self, server, command):
        """The number of bytes in each line of the server's log about that command."""
        lines = [line for line in server.log().splitlines() if " %s " % command in line]
        return [int(re.search(r'" (\d+) (of \d+ )?bytes', line).group(1)) for line in lines]

    def test_stored_files_are_not_sent_again(self):
        files = self.write_tree("tree")
        server = self.serve(store="store")
        first = self.client(server, "upload", "tree", "--skip-existing").decode().splitlines()
        sent = self.logged_sizes(server, "UPLOAD")
        self.assertEqual(sum(sent), sum(len(data) for data in set(files.values())))
        listed = sorted(self.client(server, "list").splitlines())
        again = self.client(server, "upload", "tree", "--skip-existing").decode().splitlines()
        self.assertEqual(len(again), len(files))
        self.assertEqual(sorted(line.split("  ", 1)[1] for line in again),
                         sorted(line.split("  ", 1)[1] for line in first))
        self.assertEqual({line.split("  ")[0] for line in again}, {"Already there"})
        self.assertEqual(sum(self.logged_sizes(server, "UPLOAD")), sum(sent))
        self.assertEqual(sorted(self.client(server, "list").splitlines()), listed)

    def test_names_and_times_are_updated_without_sending_bytes(self):
        server = self.serve(store="store")
        self.write("tree/a", HELLO)
        self.client(server, "upload", "tree")
        self.write("tree/a", b"other")
        os.utime(self.write("tree/b", HELLO), (0, 1000))
        out = self.client(server, "upload", "--skip-existing", "tree", "-", stdin=HELLO).decode()
        self.assertEqual(sorted(out.splitlines()),
                         ["Already there  %s  b" % HELLO_ID, "Already there  %s  stdin" % HELLO_ID,
                          "Success  %s  a" % md5(b"other")])
        self.assertEqual(sum(self.logged_sizes(server, "UPLOAD")), len(HELLO) + len(b"other"))
        self.client(server, "download", "b", "-o", "copy")
        self.assertEqual(os.stat(self.path("copy")).st_mtime, 1000)
        self.client(server, "upload", "--skip-existing", "--name", "../x", "tree/a", expect=USAGE)
        self.client(self.serve("--read-only"), "upload", "--skip-existing", "tree", expect=REFUSED)

    def test_a_server_without_features_is_sent_everything(self):
        self.write("tree/a", HELLO)
        with peer.Server() as server:
            for _ in range(2):
                out = self.client(server.address, "upload", "--skip-existing", "tree").decode()
                self.assertEqual(out, "Success  %s  a\n" % HELLO_ID)

    def test_existing_files_are_not_fetched_again(self):
        files = self.write_tree("tree")
        server = self.serve()
        self.client(server, "upload", "tree")
        self.client(server, "download", "--all", "-o", "copy")
        before = {name: os.stat(self.path("copy", name)) for name in files}
        count = len(self.logged_sizes(server, "DOWNLOAD"))
        os.utime(self.path("copy/twin/two"), (0, 0))
        for force in ((), ("--force",)):
            out = self.client(server, "download", "--all", "-o", "copy",
                              *force).decode().splitlines()
            self.assertEqual(len(out), len(files))
            self.assertEqual({line.split("  ")[0] for line in out}, {"Already there"})
        self.assertEqual(len(self.logged_sizes(server, "DOWNLOAD")), count)
        for name in files:
            now = os.stat(self.path("copy", name))
            self.assertEqual((now.st_ino, now.st_mtime_ns),
                             (before[name].st_ino, before[name].st_mtime_ns), name)
            if name != "twin/two":
                self.assertEqual(now.st_ctime_ns, before[name].st_ctime_ns, name)

    def test_an_existing_file_that_differs_is_replaced_only_with_force(self):
        server = self.serve()
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        os.mkdir(self.path("out"))
        for data in (b"hellO", b"hello, and more", b""):
            self.write("out/a", data)
            for words in (("a",), ("--all",), (HELLO_ID,)):
                self.client(server, "download", *words, "-o", "out", expect=LOCAL_FILE)
                self.assertEqual(self.read("out/a"), data)
        self.client(server, "download", "--all", "-o", "out", "--force")
        self.assertEqual(self.read("out/a"), HELLO)
        # A link to a file with the same bytes does not count.
        os.rename(self.path("out/a"), self.path("out/b"))
        os.symlink("b", self.path("out/a"))
        for words in (("a", "-o", "out"), (HELLO_ID, "-o", "out/a"), (HELLO_ID, "-o", "out")):
            self.client(server, "download", *words, expect=LOCAL_FILE)

    def test_an_existing_file_is_recognized_by_id_too(self):
        server = self.serve()
        os.utime(self.write("a", HELLO), (0, 1000))
        self.client(server, "upload", "a", "--name", "sub/a")
        self.client(server, "download", "--all", "-o", "out")
        os.utime(self.path("out/sub/a"), (0, 0))
        for words in ((HELLO_ID, "-o", "out/sub/a"), (HELLO_ID.upper(), "-o", "out")):
            out = self.client(server, "download", *words).decode()
            self.assertEqual(out, "Already there  %s  out/sub/a\n" % HELLO_ID)
        self.assertEqual(os.stat(self.path("out/sub/a")).st_mtime, 1000)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
