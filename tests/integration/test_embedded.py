#!/usr/bin/env python3
"""The examples that need running servers: backing up a folder, mirroring a server."""

from __future__ import annotations

import os

import programs
from contents import HELLO, MIB, make_data
from exit_codes import DONE, USAGE
from program_case import Case

FAILED = 1


class Embedded(Case):
    def write_tree(self):
        files = {"a": HELLO, "sub/b": b"", "sub/deeper/large": make_data(3 * MIB)}
        files.update({"many/f%03d" % number: make_data(2000, number) for number in range(100)})
        for name, data in files.items():
            self.write("tree/" + name, data)
        return files

    def run_embedded(self, name, *arguments, expect=DONE):
        words = []
        for argument in arguments:
            words += argument.address.rsplit(":", 1) if hasattr(argument, "address") else [argument]
        return self.run_program(name, *words, expect=expect).decode()

    def test_a_folder_is_backed_up_once(self):
        files = self.write_tree()
        server = self.serve()
        for sent in (len(files), 0):
            out = self.run_embedded("embed_backup", "tree", server)
            self.assertEqual(out, "%d sent, %d were there, 0 failed\n" % (sent, len(files) - sent))
        self.assertNotIn("Lacks", self.client(server, "verify", "tree").decode())
        os.symlink("a", self.path("tree/link"))
        out = self.run_embedded("embed_backup", "tree", server, expect=FAILED)
        self.assertTrue(out.endswith(" 1 failed\n"), out)
        self.assertIn("link", self.stderr)

    def test_a_backup_continues_after_broken_connections(self):
        files = self.write_tree()
        relay = self.start_relay(self.serve(), 5000, 100000, 2 * MIB, 10)
        out = self.run_embedded("embed_backup", "tree", relay)
        # A file whose reply was cut off is already stored when it is sent again.
        sent, held, failed = (int(word) for word in out.split() if word.isdigit())
        self.assertEqual((sent + held, failed), (len(files), 0))
        self.assertNotIn("Lacks", self.client(relay.address, "verify", "tree").decode())

    def test_a_server_is_mirrored_once(self):
        files = self.write_tree()
        source, target = self.serve(), self.serve(store="store")
        self.client(source, "upload", "tree")
        relay = self.start_relay(source)
        for copied in (len(files), 0):
            if copied:
                relay.cut_after = [MIB, MIB]
            out = self.run_embedded("embed_mirror", relay, target)
            numbers = [int(word) for word in out.split() if word.isdigit()]
            self.assertEqual((sum(numbers), numbers[2]), (len(files), 0))
            self.assertEqual(bool(numbers[0]), bool(copied))
        self.assertEqual(*(sorted(self.client(server, "list").splitlines())
                           for server in (source, target)))
        sha256 = self.serve("--digest", "sha256")
        self.run_embedded("embed_mirror", source, sha256, expect=FAILED)
        self.assertIn("digest", self.stderr)

    def test_failures_are_reported(self):
        nobody = ("127.0.0.1", "1")
        server = self.serve()
        os.mkdir(self.path("tree"))
        self.write("tree/a", HELLO)
        for name, words in (("embed_backup", ("tree", *nobody)),
                            ("embed_backup", ("missing", server)),
                            ("embed_mirror", (*nobody, server)),
                            ("embed_mirror", (server, *nobody))):
            self.assertEqual(self.run_embedded(name, *words, expect=FAILED), "")
            self.assertNotEqual(self.stderr, "")
        for name in ("embed_backup", "embed_mirror"):
            self.run_embedded(name, "too few", expect=USAGE)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client", "embed_backup", "embed_mirror")
