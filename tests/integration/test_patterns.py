#!/usr/bin/env python3
"""Patterns that choose the files to list and to download.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import json
import os

import programs
from exit_codes import DONE, LOCAL_FILE, REFUSED, USAGE
from peer import md5
from trees import Trees


class Patterns(Trees):
    def serve_names(self, *names):
        server = self.serve()
        for name in names:
            self.client(server, "upload", self.write("file", b"as " + name.encode()),
                        "--name", name)
        os.mkdir(self.path("out"))
        return server

    def download(self, server, *words, **keywords):
        """Returns the names of the files in the folder out afterwards, which it empties."""
        self.client(server, "download", *words, "-o", "out", **keywords)
        names = self.files_below("out")
        for name in names:
            self.assertEqual(self.read("out/" + name), b"as " + name.encode())
            os.remove(self.path("out", name))
        return names

    def test_a_pattern_downloads_the_files_whose_names_match(self):
        server = self.serve_names("photos/a.jpg", "photos/b.png", "photos/2021/c.jpg", "d.jpg")
        self.assertEqual(self.download(server, "photos/*.jpg"), ["photos/a.jpg"])
        self.assertEqual(self.download(server, "photos/**.jpg"),
                         ["photos/2021/c.jpg", "photos/a.jpg"])
        self.assertEqual(self.download(server, "**/[!a].jpg"), ["d.jpg", "photos/2021/c.jpg"])
        self.assertEqual(self.download(server, "?.jpg", "photos/b.png"), ["d.jpg", "photos/b.png"])
        # Each file once, though several arguments mean it.
        out = self.client(server, "download", "d*", "d.jpg", "*.jpg", "-o", "out").decode()
        self.assertEqual(len(out.splitlines()), 1)

    def test_a_name_is_not_taken_for_a_pattern_if_a_file_has_it(self):
        server = self.serve_names("*", "a", "[b]", "b")
        self.assertEqual(self.download(server, "*"), ["*"])
        self.assertEqual(self.download(server, "[b]"), ["[b]"])
        self.assertEqual(self.download(server, "\\*"), ["*"])
        self.assertEqual(self.download(server, "[ab]"), ["a", "b"])
        # The name of one file may be that of the target, as without patterns.
        self.client(server, "download", "*", "-o", "copy")
        self.assertEqual(self.read("copy"), b"as *")

    def test_a_pattern_that_matches_nothing_is_refused_and_the_rest_is_downloaded(self):
        server = self.serve_names("a")
        self.assertEqual(self.download(server, "*.jpg", "a", expect=REFUSED), ["a"])
        self.assertIn("*.jpg: the server has no file whose name matches", self.stderr)

    def test_the_target_of_a_pattern_is_a_folder_or_standard_output(self):
        server = self.serve_names("a", "b")
        self.client(server, "download", "[a]", "-o", "copy", expect=LOCAL_FILE)
        self.assertFalse(os.path.exists(self.path("copy")))
        self.assertEqual(self.client(server, "download", "[a]", "-o", "-"), b"as a")
        self.assertEqual(self.client(server, "download", "*", "-o", "-", expect=USAGE), b"")
        self.assertIn("2 files match", self.stderr)

    def test_of_several_files_with_one_name_a_pattern_downloads_the_newest(self):
        server = self.serve()
        for time, data in ((2000, b"new"), (1000, b"old")):
            os.utime(self.write("file", data), (0, time))
            self.client(server, "upload", "file")
        os.mkdir(self.path("out"))
        self.client(server, "download", "f*", "-o", "out")
        self.assertEqual(self.read("out/file"), b"new")
        self.assertIn("2 files have that name", self.stderr)

    def test_a_list_can_be_limited_to_a_pattern(self):
        server = self.serve_names("photos/a.jpg", "photos/b.png", "photos/2021/c.jpg", "[p]", "p")
        for pattern, expected in (
                ("photos/*.jpg", ["photos/a.jpg"]), ("**.jpg", ["photos/2021/c.jpg", "photos/a.jpg"]),
                ("photos/", ["photos/2021/c.jpg", "photos/a.jpg", "photos/b.png"]),
                ("[p]", ["[p]", "p"]), ("\\[*", ["[p]"]), ("x*", [])):
            self.assertEqual(self.names(server, pattern), expected, pattern)
        self.assertEqual(len(self.client(server, "list", "--md5sum", "p*/?.*").splitlines()), 2)

    def test_the_server_lists_only_what_the_arguments_may_mean(self):
        server = self.serve("--allow-remove", "--log", "json", "--threads", "1")
        for name in ("photos/a.jpg", "photos/b.jpg", "photo", "\u00e9;1", "\u00e8"):
            self.client(server, "upload", self.write("file", b"as " + name.encode()),
                        "--name", name)
        os.mkdir(self.path("out"))
        photo = md5(b"as photo")
        commands = [
            (1, "download", "photos/a.jpg"),
            (2, "download", "photos/*.jpg"),
            (2, "download", "photos/a.jpg", "photos/b.jpg"),
            (3, "download", "photo*", "photos/[a]*"),
            (1, "download", "\u00e9;1"),
            (2, "download", "\u00e9*", "\u00e8"),  # with a first byte in common
            (1, "download", photo, "photos/a.jpg"),
            (5, "download", "--dry-run", photo, "photos/a.jpg"),
            (0, "download", "n" * 2000),
            (2, "list", "photos/"),
            (1, "remove", "photos/b.jpg"),
            (4, "remove", photo),
        ]
        for entries, command, *words in commands:
            to = ("-o", "out") if command == "download" else ()
            self.client(server, command, *words, *to, expect=DONE if entries else REFUSED)
        server.stop()
        events = [json.loads(line) for line in server.log().splitlines()]
        listed = [event["entries"] for event in events if "entries" in event]
        self.assertEqual(listed, [entries for entries, *_ in commands])


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
