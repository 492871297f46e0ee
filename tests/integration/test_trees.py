#!/usr/bin/env python3
"""Folders with all that is in them: up to a server, and down again.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import random
import unittest

import peer
from peer import md5
from test_programs import BROKEN, HELLO, HELLO_ID, LOCAL_FILE, NAMES, Case, octets_of

DEEP = "/".join("%d" % (level % 10) for level in range(100))


class Trees(Case):
    def plant(self, folder):
        """Writes files whose names, sizes and times hurt. Returns their names and octets."""
        chance = random.Random(7)
        files = {name: b"content of " + os.fsencode(name) for name in NAMES}
        files.update({"names/" + name: b"again " + os.fsencode(name) for name in NAMES if len(name) < 200})
        files.update({"sub %d/%d/f" % (i % 7, i): octets_of(chance.randrange(3000), i) for i in range(150)})
        files.update({"c" * 200: b"long", "d" * 120 + "/" + "e" * 134: b"as long as can be", DEEP + "/end": b"deep",
                      "empty": b"", "sub/empty": b"", "large": octets_of(700001), "sub.txt": b"beside sub",
                      "twin one": b"twins", "twin/two": b"twins", "twin/two (again)": b"twins"})
        for name, octets in files.items():
            path = self.write(folder + "/" + name, octets)
            os.utime(path, ns=(0, chance.choice((-1, 1)) * chance.randrange(2 * 10**18)))
        return files

    def names(self, server, *arguments):
        """The names that the server lists, unescaped."""
        entries = [line.split(b";") for line in self.client(server, "list", *arguments).splitlines()]
        return sorted(os.fsdecode(peer.decode_name(entry[1])) for entry in entries)


class Uploads(Trees):
    def test_each_file_is_sent_under_its_name_below_the_folder(self):
        files = self.plant("tree")
        os.makedirs(self.path("tree/nothing/at all"))
        for folder in ("tree", "./tree//", self.path("tree")):
            server = self.serve()
            out = self.client(server, "upload", folder).decode().splitlines()
            self.assertEqual(self.said, "")
            self.assertEqual(len(out), len(files))
            entries = [line.split(b";") for line in self.client(server, "list").splitlines()]
            self.assertEqual({os.fsdecode(peer.decode_name(entry[1])): entry[0].decode() for entry in entries},
                             {name: md5(octets) for name, octets in files.items()})

    def test_folders_and_files_in_one_command_in_order(self):
        for name in ("a", "tree/z", "tree/b/2", "tree/b/10", "tree/b.txt", "tree/A"):
            self.write(name, name.encode())
        out = self.client(self.serve(), "upload", "tree", "a").decode()
        self.assertEqual([line.split("  ")[2] for line in out.splitlines()],
                         ["A", "b/10", "b/2", "b.txt", "z", "a"])

    def test_what_is_no_regular_file_is_skipped_and_told(self):
        server = self.serve()
        self.write("tree/file", HELLO)
        self.write("outside/secret", b"secret")
        os.mkfifo(self.path("tree/fifo"))
        os.symlink("../outside/secret", self.path("tree/link"))
        os.symlink("../outside", self.path("tree/folder"))
        os.symlink("nowhere", self.path("tree/dangling"))
        out = self.client(server, "upload", "tree")
        self.assertEqual(out.decode(), "Success  %s  file\n" % HELLO_ID)
        for name in ("fifo", "link", "folder", "dangling"):
            self.assertIn("tree/%s: is " % name, self.said)
        self.assertEqual(len(self.said.splitlines()), 4)
        # The folder that is named may be a link.
        os.symlink("tree", self.path("to tree"))
        self.client(server, "upload", "to tree")
        self.assertEqual(self.names(server), ["file"])

    def test_links_are_followed_on_request_and_not_for_ever(self):
        server = self.serve()
        self.write("tree/a/file", HELLO)
        self.write("outside/secret", b"secret")
        os.symlink("../outside/secret", self.path("tree/link"))
        os.symlink("../outside", self.path("tree/folder"))
        os.symlink("..", self.path("tree/a/up"))
        os.symlink(".", self.path("tree/a/here"))
        os.symlink("../tree", self.path("outside/back"))
        self.client(server, "upload", "--follow-links", "tree")
        self.assertEqual(self.said.count("leads back"), 3)
        self.assertEqual(self.names(server), ["a/file", "folder/secret", "link"])
        os.symlink("nowhere", self.path("tree/dangling"))
        self.client(server, "upload", "--follow-links", "tree", expect=LOCAL_FILE)
        self.assertIn("tree/dangling: ", self.said)

    def test_names_that_cannot_be_sent_are_told_and_the_rest_goes_on(self):
        server = self.serve()
        self.write("tree/a", HELLO)
        self.write("tree/z", HELLO)
        self.write("tree/%s/%s" % ("d" * 200, "e" * 55), HELLO)  # 256 octets
        for name in (b"latin \xe9", b"folder \xff/file"):
            path = os.path.join(os.fsencode(self.path("tree")), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(HELLO)
        out = self.client(server, "upload", "tree", expect=LOCAL_FILE)
        self.assertEqual(len(out.splitlines()), 2)
        self.assertEqual(self.said.count("can't be sent"), 3)
        self.assertEqual(self.names(server), ["a", "z"])

    def test_what_cannot_be_read_is_told_and_the_rest_goes_on(self):
        server = self.serve()
        for name in ("a", "closed/file", "secret", "z"):
            self.write("tree/" + name, HELLO)
        os.chmod(self.path("tree/closed"), 0)
        os.chmod(self.path("tree/secret"), 0)
        self.addCleanup(os.chmod, self.path("tree/closed"), 0o700)
        if os.geteuid() == 0:
            os.chmod(self.folder, 0o755)
            os.chmod(self.temporary, 0o755)
            unprivileged = {"user": 65534, "extra_groups": []}
        else:
            unprivileged = {}
        out = self.client(server, "upload", "tree", expect=LOCAL_FILE, **unprivileged)
        self.assertEqual(len(out.splitlines()), 2)
        self.assertRegex(self.said, r"tree/closed: .*\ntree/secret: ")
        self.assertEqual(self.names(server), ["a", "z"])

    def test_a_server_that_is_not_there_is_told_once(self):
        self.plant("tree")
        self.client("unix:nobody", "upload", "tree", expect=BROKEN)
        self.assertEqual(len(self.said.splitlines()), 1)


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
