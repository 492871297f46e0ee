#!/usr/bin/env python3
"""--exclude and --include of filexfer-client.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os

import programs
from exit_codes import DONE, REFUSED, USAGE, WRONG_DIGEST
from trees import Trees

NAMES = ("a.o", "a.txt", "[x]", "src/keep.o", "src/b.o", "src/b.txt", "src/.git/config", "doc/c.txt")


class Filters(Trees):
    def setUp(self):
        super().setUp()
        for name in NAMES:
            self.write("tree/" + name, name.encode())

    def uploaded(self, *options):
        server = self.serve()
        self.client(server, "upload", "tree", *options)
        self.assertEqual(self.stderr, "")
        return self.names(server)

    def test_the_first_pattern_in_the_order_given_decides(self):
        self.assertEqual(
            self.uploaded("--include", "keep.*", "--exclude", "*.o", "--exclude=.git/"),
            ["[x]", "a.txt", "doc/c.txt", "src/b.txt", "src/keep.o"])
        self.assertEqual(
            self.uploaded("--exclude", "*.o", "--include=keep.*", "--exclude", ".git"),
            ["[x]", "a.txt", "doc/c.txt", "src/b.txt"])
        self.assertEqual(
            self.uploaded("--include", "/src/", "--include", "*.txt", "--exclude", "*"),
            ["a.txt", "src/b.txt"])

    def test_a_pattern_with_a_slash_is_matched_with_the_path_below_the_folder(self):
        self.assertEqual(self.uploaded("--exclude", "/*.o", "--exclude", "src/.git/",
                                       "--exclude", "**/b.*"),
                         ["[x]", "a.txt", "doc/c.txt", "src/keep.o"])

    def test_a_set_in_brackets_is_one_pattern(self):
        for options in (("--exclude=[ab].*",), ("--exclude", "[ab]*[to]"), ("--exclude=[ab]*[to]",)):
            self.assertEqual(self.uploaded(*options),
                             ["[x]", "doc/c.txt", "src/.git/config", "src/keep.o"])

    def test_an_excluded_folder_is_not_entered(self):
        os.mkfifo(self.path("tree/src/pipe"))
        self.assertEqual(self.uploaded("--exclude", "src/"),
                         ["[x]", "a.o", "a.txt", "doc/c.txt"])

    def test_files_that_are_arguments_are_not_filtered(self):
        server = self.serve()
        self.client(server, "upload", "tree/a.o", "tree", "--exclude", "**")
        self.assertEqual(self.names(server), ["a.o"])

    def test_verify_compares_what_upload_would_send(self):
        server = self.serve()
        self.client(server, "upload", "tree", "--exclude", "*.o")
        self.client(server, "verify", "tree", expect=WRONG_DIGEST)
        out = self.client(server, "verify", "tree", "--exclude", "*.o", expect=DONE)
        self.assertEqual(len(out.splitlines()), len(NAMES) - 3)

    def test_download_all_filters_the_names(self):
        server = self.serve()
        self.client(server, "upload", "tree")
        self.client(server, "download", "--all", "--include", "keep.o", "--exclude", "*.o",
                    "--exclude", ".git/", "--exclude", "/doc/", "-o", "out")
        self.assertEqual(self.files_below("out"),
                         ["[x]", "a.txt", "src/b.txt", "src/keep.o"])
        self.client(server, "download", "--all", "doc", "--exclude", "doc", "-o", "none",
                    expect=REFUSED)
        self.assertFalse(os.path.exists(self.path("none")))
        self.client(server, "download", "a.o", "--exclude", "a.o", expect=USAGE)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
