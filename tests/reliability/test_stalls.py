#!/usr/bin/env python3
"""Lets each call on a file hang that one request makes: other requests are answered meanwhile.

A disk, or a mounted file system, may not answer for minutes. What waits for it is the request that
needs it; network threads go on, and so does all other disk work.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they, or the library that makes the
calls hang (faults.cpp), are missing.
"""
# ctest: COST 60

import contextlib
import itertools
import os

import integration_path  # noqa: F401
import programs
from contents import HELLO, HELLO_ID, make_data
from exit_codes import DONE, REFUSED
from faults import CALLS, EVERY, LIBRARY, Faults
from peer import md5
from program_case import Case
from waiting import TIMEOUT, wait_until

OTHER = b"other"


class Stalls(Case):
    def setUp(self):
        super().setUp()
        self.write("small", HELLO)
        self.write("large", make_data(300_000))
        self.write("other", OTHER)
        self.faults = Faults(self.folder)
        self.server = self.serve("--threads", "1", "--allow-remove", store="store",
                                 prepare=self.faults.preload)
        self.addCleanup(self.faults.disarm)  # before the server is stopped
        self.numbers = itertools.count()

    def finish(self, process):
        """Waits until it succeeds."""
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, DONE, out + err)

    def check_others_are_served(self):
        name = "other %d" % next(self.numbers)
        self.client(self.server, "upload", "other", "--name", name)
        self.assertIn(b";" + name.encode() + b";", self.client(self.server, "list"))
        self.client(self.server, "download", md5(OTHER), "-o", name)
        self.assertEqual(self.read(name), OTHER)
        self.client(self.server, "remove", name)

    def stall_each(self, call, before, job):
        """Runs the job again and again, until it makes no more calls. Returns how many hung."""
        for number in itertools.count(1):
            self.client(self.server, *before, expect=(DONE, REFUSED))
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.path("copy"))
            self.faults.arm(call, number, "stall")
            process = self.start_client(self.server, *job)
            wait_until(lambda: self.faults.struck() or process.poll() is not None,
                       "the call, or the end of the job")
            try:
                if self.faults.struck():
                    self.check_others_are_served()
            finally:
                self.faults.disarm()
                self.finish(process)
            if not self.faults.struck():
                return number - 1

    def test_whatever_call_hangs_other_requests_are_answered(self):
        there, not_there = ("upload", "small", "large"), ("remove", HELLO_ID)
        hung = set()
        for before, job in ((not_there, ("upload", "small")), (there, ("upload", "large")),
                            (there, ("upload", "small", "--name", "again")), (there, ("list",)),
                            (there, ("download", "small", "-o", "copy")),
                            (there, ("download", "large", "-o", "copy")), (there, ("remove", "large"))):
            for call in CALLS:
                if call != "epoll_wait":  # which is the network's
                    with self.subTest(job=job, call=call):
                        if self.stall_each(call, before, job) > 0:
                            hung.add(call)
        self.assertLessEqual({"write", "fsync", "open", "close", "mkdir", "link", "unlink", "stat",
                              "flock", "getdents", "sendfile"}, hung)

    def test_while_no_flush_ends_nothing_but_uploads_waits(self):
        self.client(self.server, "upload", "other")
        self.faults.arm("fsync", EVERY, "stall")
        for n in range(20):
            self.write("new %d" % n, b"%d" % n)
        waiting = [self.start_client(self.server, "upload", "new %d" % n) for n in range(20)]
        wait_until(self.faults.struck, "a flush")
        for _ in range(5):
            self.assertIn(b";other;", self.client(self.server, "list"))
            self.assertEqual(self.client(self.server, "download", md5(OTHER), "-o", "-"), OTHER)
        for process in waiting:
            self.assertIsNone(process.poll())
        self.faults.disarm()
        for process in waiting:
            self.finish(process)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", LIBRARY)
