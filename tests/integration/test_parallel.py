#!/usr/bin/env python3
"""Transfers over several connections at once.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 50

import os
import re
import shutil
import signal

import programs
from contents import HELLO, HELLO_ID, make_data
from exit_codes import BROKEN, DONE, INTERRUPTED, LOCAL_FILE, REFUSED
from peer import md5
from trees import Trees
from waiting import TIMEOUT, wait_until


class Parallel(Trees):
    def test_a_downloaded_tree_equals_the_uploaded_one(self):
        files = self.write_tree("tree")
        for parallel, store in (("3", "store"), ("64", "memory")):
            server = self.serve(store=store)
            out = self.client(server, "upload", "--parallel", parallel,
                              "tree").decode().splitlines()
            self.assertEqual(sorted(line.split("  ")[1] for line in out),
                             sorted(md5(data) for data in files.values()))
            copy = "copy" + parallel
            self.client(server, "download", "--parallel", parallel, "--all", "-o", copy)
            self.assert_same_trees("tree", copy)
            self.assert_same_times("tree", copy, files)
            out = self.client(server, "upload", "--parallel", parallel,
                              "--skip-existing", "tree").decode()
            self.assertEqual({line.split("  ")[0] for line in out.splitlines()}, {"Already there"})

    def active_transfers(self, server, job):
        return len(server.logged("details" if job[0] == "upload" else "id"))

    def test_files_are_transferred_concurrently(self):
        data = {"f%d" % number: make_data(1000, number) for number in range(5)}
        for name in data:
            self.write("tree/" + name, data[name])
        for job, faults in ((("upload", "tree"), {"stall_upload_after": 500}),
                            (("download", "--all", "-o", "copy"), {"stall_download_after": 500})):
            server = self.start_peer(features=True, **faults)
            for name in data if job[0] == "download" else ():
                server.store.add(name, data[name])
            client = self.start_client(server, *job, "--parallel", "3")
            wait_until(lambda: self.active_transfers(server, job) == 3, "three files on their way")
            server.release.set()
            out, err = client.communicate(timeout=TIMEOUT)
            self.assertEqual((client.returncode, err), (DONE, b""))
            self.assertEqual(len(out.splitlines()), 5)
            self.assertEqual(server.violations, [])

    def test_a_connection_limit_of_the_server_is_reported_once_and_is_no_failure(self):
        files = self.write_many(40)
        for connections in ("1", "3"):
            server = self.serve("--max-connections", connections)
            for job in (("upload", "tree"), ("download", "--all", "-o", "copy" + connections)):
                out = self.client(server, *job, "--parallel", "8")
                self.assertEqual(len(out.splitlines()), len(files))
                # It is reported once, and is no failure.
                self.assertRegex(self.stderr,
                                 "^--parallel: continuing with fewer connections: .*busy.*\n$")

    def test_one_target_or_one_content_can_be_transferred_concurrently(self):
        server = self.serve(store="store")
        data = make_data(70000)
        names = ["name %02d" % number for number in range(32)]
        for name in names:
            self.write("tree/" + name, data)
        for _ in range(2):
            out = self.client(server, "upload", "--parallel", "8", "tree").decode().splitlines()
            self.assertEqual(sorted(line.split("  ", 1)[1] for line in out),
                             ["%s  %s" % (md5(data), name) for name in names])
        self.assertEqual(self.names(server), names)
        os.mkdir(self.path("copy"))
        for words in (["name 01"] * 32, [md5(data), "name 01"] * 16):
            for force in ((), ("--force",)):
                out = self.client(server, "download", "--parallel", "8", *force, *words,
                                  "-o", "copy").decode()
                self.assertEqual(len(out.splitlines()), 32)
                self.assertLessEqual({line.split("  ")[0] for line in out.splitlines()},
                                     {"Success", "Already there"})
                self.assertEqual(self.read("copy/name 01"), data)
                self.assertLessEqual(set(os.listdir(self.path("copy"))), set(names))
                shutil.rmtree(self.path("copy"))
                os.mkdir(self.path("copy"))
        self.client(server, "download", "--parallel", "8", "--all", "-o", "all")
        self.assertEqual(sorted(os.listdir(self.path("all"))), names)

    def test_the_exit_code_is_that_of_the_first_file_that_failed(self):
        self.write("large", make_data(2000))
        self.write("a", HELLO)
        server = self.serve("--max-size", "1000")
        for words, expect in ((("large", "a", "missing", "a"), REFUSED),
                              (("missing", "large", "a"), LOCAL_FILE)):
            for _ in range(5):
                self.client(server, "upload", "--parallel", "4", *words, expect=expect)
        self.write("out/a", b"mine")
        for words, expect in (((HELLO_ID, "0" * 32), LOCAL_FILE), (("nowhere", "a"), REFUSED)):
            self.client(server, "download", "--parallel", "4", *words, "-o", "out", expect=expect)

    def test_an_interruption_ends_all_transfers(self):
        for number in range(4):
            self.write("tree/f%d" % number, make_data(300000, number))
        for job, faults in ((("upload", "tree"), {"stall_upload_after": 200000}),
                            (("download", "--all", "-o", "copy"),
                             {"stall_download_after": 200000})):
            server = self.start_peer(features=True, **faults)
            for number in range(4) if job[0] == "download" else ():
                server.store.add("sub/f%d" % number, make_data(300000, number))
            client = self.start_client(server, *job, "--parallel", "3")
            wait_until(lambda: self.active_transfers(server, job) == 3, "three files on their way")
            client.send_signal(signal.SIGINT)
            out, err = client.communicate(timeout=TIMEOUT)
            self.assertEqual((client.returncode, out), (INTERRUPTED, b""))
            self.assertEqual(err.count(b"interrupted"), 3)
        self.assertEqual([name for name in self.files_below("copy") if not name.endswith(".part")],
                         [])

    def test_broken_connections_are_replaced(self):
        self.retry_options = ()
        files = self.write_many(40)
        relay = self.start_relay(self.serve(store="store"))
        for job in (("upload", "tree"), ("download", "--all", "-o", "copy")):
            # Together these are too few bytes for the files, so every connection is used and cut,
            # in any order. The first one of a download must be long enough for the list.
            relay.cut_after = [8000 if job[0] == "download" else 3000] + [3000] * 8
            out = self.client(relay.address, *job, "--parallel", "4")
            self.assertEqual(len(out.splitlines()), len(files))
            self.assertEqual(relay.cut_after, [])
        self.assert_same_trees("tree", "copy")

    def test_every_file_is_reported_when_the_server_is_gone(self):
        words = [self.write("tree/f%02d" % number, make_data(3000, number)) for number in range(20)]
        relay = self.start_relay(self.serve(store="store"), 7000, 7000, 7000, *[0] * 100)
        out = self.client(relay.address, "upload", "--parallel", "3", *words, expect=BROKEN)
        # Each file is reported, whether it was tried or not.
        self.assertEqual(len(out.splitlines()) + len(set(re.findall(r"tree/f\d\d", self.stderr))),
                         20)
        self.client(relay.address, "upload", "--parallel", "3", "tree", expect=BROKEN)
        self.client("unix:nobody", "upload", "--parallel", "3", "tree", expect=BROKEN)
        self.assertEqual(len(self.stderr.splitlines()), 1)

    def test_parallel_transfers_work_through_via(self):
        files = self.write_many(40)
        command = "%s --listen stdio --quiet --store store" % programs.path_of("filexfer-server")
        for job in (("upload", "tree"), ("download", "--all", "-o", "copy")):
            out = self.run_program("filexfer-client", "--via", command, *job, "--parallel", "4")
            self.assertEqual(len(out.splitlines()), len(files))
        self.assert_same_trees("tree", "copy")


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
