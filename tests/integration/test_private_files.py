#!/usr/bin/env python3
"""Files that the client goes on with, parts and caches, must be such as nobody else can change."""

import os
import unittest

import programs
from contents import make_data
from exit_codes import LOCAL_FILE
from peer import md5
from program_case import Case

DATA = make_data(200_000)
ID = md5(DATA)
PART = ".filexfer-%s.part" % ID


class PrivateFiles(Case):
    def setUp(self):
        super().setUp()
        self.server = self.serve(store="store")
        self.client(self.server, "upload", self.write("x", DATA))
        os.mkdir(self.path("dl"))

    def check_downloaded(self, name):
        self.assertEqual(self.read(name), DATA)
        self.assertEqual(os.stat(self.path(name)).st_nlink, 1)
        self.assertFalse(os.path.lexists(self.path("dl", PART)))

    def test_a_part_that_is_a_link_is_replaced_and_its_file_stays(self):
        self.write("victim", b"mine\n")
        for make_link in (os.link, os.symlink):
            for arguments, name in (((ID, "-o", "dl/y"), "dl/y"), (("--all", "-o", "dl"), "dl/x")):
                with self.subTest(link=make_link.__name__, name=name):
                    make_link(self.path("victim"), self.path("dl", PART))
                    self.client(self.server, "download", *arguments)
                    self.check_downloaded(name)
                    self.assertEqual(self.read("victim"), b"mine\n")
                    os.remove(self.path(name))

    def test_a_part_of_ones_own_is_resumed_and_one_that_others_can_write_is_not(self):
        for mode, resumed in ((0o600, True), (0o644, True), (0o620, False), (0o602, False)):
            with self.subTest(mode=oct(mode)):
                os.chmod(self.write("dl/" + PART, DATA[:150_000]), mode)
                inode = os.stat(self.path("dl", PART)).st_ino
                held = open(self.path("dl", PART), "rb")  # so that its inode is not used again
                self.client(self.server, "download", ID, "-o", "dl/y")
                self.assertEqual(os.stat(self.path("dl/y")).st_ino == inode, resumed)
                held.close()
                self.check_downloaded("dl/y")
                os.remove(self.path("dl/y"))

    def test_a_part_that_cannot_be_removed_is_named_in_the_message(self):
        os.mkdir(self.path("dl", PART))
        for arguments in ((ID, "-o", "dl/y"), ("--all", "-o", "dl")):
            self.client(self.server, "download", *arguments, expect=LOCAL_FILE)
            self.assertTrue(self.stderr.startswith("dl/%s: " % PART), self.stderr)
            self.assertIn("remove it", self.stderr)
            self.assertEqual(self.files_below("dl"), [])

    def test_a_cache_that_others_can_change_is_refused(self):
        def link(path):
            os.link(path, self.path("link"))

        def give_away(path):
            os.chown(path, 1, -1)

        changes = [lambda path: os.chmod(path, 0o620), lambda path: os.chmod(path, 0o602), link]
        if os.geteuid() == 0:
            changes.append(give_away)
        for number, change in enumerate(changes):
            cache = "cache%d" % number
            verify = ("--checksum-cache", cache, "verify", "x")
            self.client(self.server, *verify)
            change(self.path(cache))
            self.client(self.server, *verify, expect=LOCAL_FILE)
            self.assertIn("--checksum-cache %s: could be changed by others" % cache, self.stderr)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
