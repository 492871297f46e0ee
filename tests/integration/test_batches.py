#!/usr/bin/env python3
"""Many pipelined files, and connections that break meanwhile.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 45

import os
import subprocess

import programs
from contents import MIB, make_data
from exit_codes import BROKEN, DONE, LOCAL_FILE, REFUSED
from peer import md5
from trees import Trees
from waiting import TIMEOUT


class Batches(Trees):
    def test_files_on_a_broken_connection_are_retried(self):
        self.retry_options = ()
        files = self.write_many(200)
        server = self.serve()
        for job, cuts in ((("upload", "tree"), (50000, 100000, 0, 100)),
                          (("download", "--all", "-o", "copy"), (60000, 70000, 0, 100)),
                          (("upload", "--skip-existing", "tree"), (3000, 0, 9000))):
            relay = self.start_relay(server, *cuts)
            out = self.client(relay.address, *job).decode().splitlines()
            # Each file is reported once, even if it was sent or requested twice.
            self.assertEqual(sorted(line.split("  ")[1] for line in out),
                             sorted(md5(data) for data in files.values()))
            self.assertIn("retrying", self.stderr)
            self.assertEqual(relay.cut_after, [])
        self.assertEqual(self.names(server), sorted(files))
        self.assert_same_trees("tree", "copy")

    def test_without_retries_one_file_fails_and_the_rest_is_transferred(self):
        files = self.write_many(200)
        server = self.serve()
        for job in (("upload", "tree"), ("download", "--all", "-o", "copy"),
                    ("upload", "--skip-existing", "tree")):
            relay = self.start_relay(server, 60000 if "--skip-existing" not in job else 9000)
            out = self.client(relay.address, *job, expect=BROKEN)
            self.assertEqual(len(out.splitlines()), len(files) - 1)
            self.assertEqual(len(self.stderr.splitlines()), 2)
            self.assertIn("%s: 1 of 200 files failed: " % job[0], self.stderr)
            self.client(server, "upload", "tree")

    def test_a_broken_small_file_resumes_from_its_part_file(self):
        self.retry_options = ()
        data = make_data(MIB)
        self.write("tree/file", data)
        server = self.serve()
        self.client(server, "upload", "tree")
        relay = self.start_relay(server, 800000)
        self.client(relay.address, "download", "--all", "-o", "copy")
        self.assertLess(relay.passed, 1.2 * len(data))
        self.assertEqual(self.read("copy/file"), data)
        # A part file of an earlier download, even a wrong one, does no harm and is removed.
        self.write("again/.filexfer-%s.part" % md5(data), b"wrong")
        self.client(server, "download", "--all", "-o", "again")
        self.assertEqual(self.read("again/file"), data)
        self.assertEqual(os.listdir(self.path("again")), ["file"])

    def test_a_failed_file_does_not_affect_the_others(self):
        files = self.write_many(200)
        self.write("tree/sub 2/large", make_data(9000))
        server = self.serve("--max-size", "8000")
        out = self.client(server, "upload", "tree", expect=REFUSED)
        self.assertEqual(len(out.splitlines()), len(files))
        self.assertRegex(self.stderr, "^tree/sub 2/large: the server answered ERROR too-large")
        damaged = "sub 3/f003"
        server = self.serve(store="store")
        self.client(server, "upload", "tree")
        self.damage(self.path("store", md5(files[damaged]), damaged))
        self.write("copy/sub 1/f001", b"mine")
        out = self.client(server, "download", "--all", "-o", "copy", expect=LOCAL_FILE).decode()
        self.assertEqual(out.count("Success  "), len(files) - 1)
        self.assertIn("Fail  ", out)
        self.assertIn(damaged + ": received ", self.stderr)
        self.assertEqual(self.read("copy/sub 1/f001"), b"mine")
        self.assertFalse(os.path.exists(self.path("copy", damaged)))
        self.assertEqual([name for name in os.listdir(self.path("copy/sub 3"))
                          if name.startswith(".")], [])

    def test_few_descriptors_are_enough(self):
        files = self.write_many(200)
        server = self.serve()
        for job in (("upload", "tree"), ("upload", "--skip-existing", "tree"),
                    ("download", "--all", "-o", "copy")):
            for parallel in ("1", "4"):
                command = 'ulimit -n 150; exec "$0" "$@"'
                result = subprocess.run(["sh", "-c", command, programs.path_of("filexfer-client"),
                                         "--server", server.address,
                                         *job, "--parallel", parallel], cwd=self.folder,
                                        capture_output=True, timeout=TIMEOUT)
                self.assertEqual((result.returncode, result.stderr), (DONE, b""))
                self.assertEqual(len(result.stdout.splitlines()), len(files))


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
