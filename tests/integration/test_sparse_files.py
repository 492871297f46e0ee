#!/usr/bin/env python3
"""Files with holes keep them, at the server and where they are downloaded to."""

import os

import programs
from contents import KIB, MIB, make_data
from exit_codes import BROKEN
from peer import md5
from program_case import Case

SIZE = 48 * MIB


class SparseFiles(Case):
    space_in_memory = 256 * MIB

    def setUp(self):
        super().setUp()
        with open(self.path("disk"), "wb") as file:  # as a virtual machine's: most of it is unused
            for offset in (0, 20 * MIB + 5 * KIB, 30 * MIB):
                file.seek(offset)
                file.write(make_data(64 * KIB, offset))
            file.truncate(SIZE)
        if self.space("disk") > MIB:
            self.skipTest("this file system has no holes")
        self.data = self.read("disk")
        self.id = md5(self.data)
        self.server = self.serve(store="store")

    def space(self, name):
        return os.stat(self.path(name)).st_blocks * 512

    def check(self, name):
        self.assertTrue(self.read(name) == self.data, "other bytes")
        self.assertLess(self.space(name), 400 * KIB)

    def test_holes_remain_up_and_down(self):
        self.client(self.server, "upload", "disk")
        self.check("store/%s/disk" % self.id)
        self.client(self.server, "download", self.id, "-o", "copy")
        self.check("copy")

    def test_a_file_that_was_written_in_full_has_holes_then(self):
        self.write("full", self.data)
        self.assertGreaterEqual(self.space("full"), SIZE)
        self.client(self.server, "upload", "full")
        self.check("store/%s/full" % self.id)

    def test_transfers_that_broke_in_a_hole_resume_there(self):
        for offset in (10 * MIB, 20 * MIB + 70 * KIB, 40 * MIB):
            relay = self.start_relay(self.server, offset)
            self.retry_options = ("--retry-for", "30s")
            self.client(relay, "upload", "--name", str(offset), "disk")
            self.check("store/%s/%d" % (self.id, offset))
            relay = self.start_relay(self.server, offset)
            self.retry_options = ("--retry-for", "0")
            self.client(relay, "download", self.id, "-o", "copy", expect=BROKEN)
            part = os.stat(self.path(".filexfer-%s.part" % self.id)).st_size
            self.assertGreater(part, offset - MIB)
            self.assertLessEqual(part, offset)
            self.client(self.server, "download", self.id, "-o", "copy")
            self.check("copy")
            os.remove(self.path("copy"))
            os.remove(self.path("store", self.id, str(offset)))


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
