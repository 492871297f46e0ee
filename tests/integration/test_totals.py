#!/usr/bin/env python3
"""The client's last words after some of several files have failed.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import json
import os

import programs
from contents import HELLO, HELLO_ID
from exit_codes import BROKEN, DONE, LOCAL_FILE, REFUSED, WRONG_DIGEST
from program_case import Case

TOO_LARGE = ("the server answered ERROR too-large file too large for the server: the limit is 4 "
             "octets")


class Totals(Case):
    def write_tree(self):
        """Three files, of which two are larger than 4 bytes, and what is skipped."""
        for name, data in (("a", b"a"), ("b", b"bbbbb"), ("c/c", b"ccccc")):
            self.write("tree/" + name, data)
        for name in ("empty", "c/empty/too"):
            os.makedirs(self.path("tree", name))
        os.mkfifo(self.path("tree/fifo"))
        for name in ("link", "c/folder"):
            os.symlink("..", self.path("tree", name))

    def last_line(self):
        return self.stderr.splitlines()[-1]

    def test_the_last_line_says_how_many_files_failed_and_what_was_skipped(self):
        self.write_tree()
        server = self.serve("--max-size", "4")
        self.client(server, "upload", "tree", expect=REFUSED)
        self.assertEqual(self.last_line(), "upload: 2 of 3 files failed: %s; skipped 2 symbolic "
                         "links, 1 special file, 2 empty folders" % TOO_LARGE)
        self.client(server, "verify", "tree", expect=WRONG_DIGEST)
        self.assertEqual(self.last_line(), "verify: 2 of 3 files failed: the server does not hold "
                         "it; skipped 2 symbolic links, 1 special file, 2 empty folders")

    def test_the_most_frequent_reason_is_named_without_its_advice(self):
        self.write_tree()
        server = self.serve("--max-size", "4")
        self.client(server, "upload", "missing", "tree/a", "tree/b", "tree/c/c", expect=LOCAL_FILE)
        self.assertEqual(self.last_line(),
                         "upload: 3 of 4 files failed, most often (2): " + TOO_LARGE)
        self.client(server, "upload", "missing", "tree/a", "tree/b", expect=LOCAL_FILE)
        self.assertEqual(self.last_line(), "upload: 2 of 3 files failed, for different reasons")
        self.write("a", HELLO)
        self.client(server, "download", "a", "nowhere", "gone", expect=LOCAL_FILE)
        self.assertEqual(self.last_line(), "download: 3 of 3 files failed, most often (2): the "
                         "server has no file of that name")
        for name in ("b", "c"):
            self.client(server, "upload", "tree/a", "--name", name)
            self.write("out/" + name, HELLO)
        self.client(server, "download", "--all", "-o", "out", expect=LOCAL_FILE)
        self.assertEqual(self.last_line(), "download: 2 of 3 files failed: already exists")

    def test_files_whose_digests_differ_count_together(self):
        server = self.start_peer(features=True, wrong_id=True)
        self.write("a", b"a")
        self.write("b", b"b")
        self.client(server, "upload", "a", "b", expect=WRONG_DIGEST)
        self.assertEqual(self.last_line(), "upload: 2 of 2 files failed: the digests differ")

    def test_files_that_were_not_tried_are_mentioned(self):
        for number in range(200):
            self.write("tree/%03d" % number, os.urandom(2000))
        relay = self.start_relay(self.serve(), 100000, *[0] * 1000)
        self.client(relay, "upload", "tree", expect=BROKEN)
        self.assertRegex(self.last_line(), r"^upload: \d+ of \d+ files failed(, most often \(\d+\))"
                         r"?: .*; the other files were not tried$")

    def test_a_success_ends_with_the_number_of_empty_folders(self):
        self.write_tree()
        server = self.serve()
        self.client(server, "upload", "tree")
        self.assertEqual(self.stderr.count("\n"), 4)  # with what else is skipped
        self.assertEqual(self.last_line(), "upload: 2 empty folders were not sent")

    def test_nothing_is_added_to_a_success_or_to_a_single_failure(self):
        self.write("full/a", b"a")
        server = self.serve()
        self.client(server, "upload", "full")
        self.assertEqual(self.stderr, "")
        for job in (("upload", "missing"), ("download", "missing"), ("verify", "missing")):
            self.client(server, *job, expect=(LOCAL_FILE, REFUSED))
            self.assertEqual(self.stderr.count("\n"), 1)

    def test_the_summary_has_the_counts(self):
        self.write_tree()
        server = self.serve("--max-size", "4")
        for job, expect in (("upload", REFUSED), ("verify", WRONG_DIGEST)):
            out = self.start_client(server, "--json", job, "tree").communicate()[0]
            summary = json.loads(out.splitlines()[-1])
            counts = {"files": 1, "failed": 2, "symbolic_links": 2, "special_files": 1,
                      "empty_folders": 2, "exit_code": expect}
            self.assertEqual({name: summary[name] for name in counts}, counts)
        out = self.start_client(server, "--json", "download", HELLO_ID, "a").communicate()[0]
        summary = json.loads(out.splitlines()[-1])
        self.assertEqual((summary["files"], summary["failed"], summary["empty_folders"],
                          summary["exit_code"]), (1, 1, 0, REFUSED))
        self.assertEqual(self.client(server, "list", expect=DONE).count(b"\n"), 1)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
