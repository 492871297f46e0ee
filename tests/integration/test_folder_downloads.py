#!/usr/bin/env python3
"""Downloads of all files of a server into a folder.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import os
import shutil

import programs
from contents import HELLO, make_data
from exit_codes import BROKEN, LOCAL_FILE, REFUSED, USAGE, WRONG_DIGEST
from peer import md5
from trees import Trees


class Downloads(Trees):
    def test_a_downloaded_tree_equals_the_uploaded_one(self):
        files = self.write_tree("tree")
        for digest, store in (("md5", "memory"), ("sha256", "store")):
            server = self.serve("--digest", digest, store=store)
            self.client(server, "upload", "tree")
            out = self.client(server, "download", "--all", "-o", digest)
            self.assertEqual(len(out.splitlines()), len(files))
            self.assert_same_trees("tree", digest)
            self.assert_same_times("tree", digest, files)

    def test_a_download_can_be_limited_to_a_prefix(self):
        server = self.serve()
        for name in ("photos/2021/a", "photos/b", "photos", "p;q%", "other"):
            self.client(server, "upload", self.write("file", name.encode()), "--name", name)
        self.client(server, "download", "--all", "photos/", "-o", "out")
        self.assertEqual(self.read("out/photos/2021/a"), b"photos/2021/a")
        self.assertEqual(self.files_below("out"), ["photos/2021/a", "photos/b"])
        self.client(server, "download", "--all", "p;", "-o", "out")
        self.assertEqual(self.read("out/p;q%"), b"p;q%")
        self.client(server, "download", "--all", "nothing", "-o", "nowhere", expect=REFUSED)
        self.assertFalse(os.path.exists(self.path("nowhere")))
        # One name is also the folder of others: either that file is fetched, or those below.
        out = self.client(server, "download", "--all", "-o", "clash", expect=LOCAL_FILE)
        self.assertIn(self.files_below("clash"), (["other", "p;q%", "photos"],
                                                  ["other", "p;q%", "photos/2021/a", "photos/b"]))
        self.assertEqual(len(out.splitlines()), len(self.files_below("clash")))
        self.assertRegex(self.stderr, r"clash/photos(/b)?: ")

    def test_a_download_from_an_empty_store_creates_an_empty_folder(self):
        self.assertEqual(self.client(self.serve(), "download", "--all", "-o", "out"), b"")
        self.assertEqual(os.listdir(self.path("out")), [])

    def test_a_target_that_cannot_be_a_folder_is_an_error(self):
        server = self.serve()
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        for target in ("a", "a/b", "no/such"):
            self.client(server, "download", "--all", "-o", target, expect=LOCAL_FILE)
            self.assertIn(target + ": ", self.stderr)
        for words in (("--all", "-o", "-"), ("--all", "a", "b"), ("--all-versions", "a"), ()):
            self.client(server, "download", *words, expect=USAGE)
        self.client("unix:nobody", "download", "--all", "-o", "out", expect=BROKEN)
        self.assertFalse(os.path.exists(self.path("out")))

    def test_names_that_the_folder_cannot_hold_are_reported_and_the_rest_is_fetched(self):
        server = self.serve()
        for name in ("a/file", "b/c/file", "d", "e", "link/file", "z"):
            self.client(server, "upload", self.write("file", b"new " + name.encode()),
                        "--name", name)
        self.write("outside/file", b"theirs")
        os.makedirs(self.path("out/b"))
        os.makedirs(self.path("out/d"))
        os.symlink("../outside", self.path("out/link"))
        os.symlink("../../outside", self.path("out/b/c"))
        os.symlink("../outside/file", self.path("out/e"))
        for force in ((), ("--force",)):
            out = self.client(server, "download", "--all", "-o", "out", *force, expect=LOCAL_FILE)
            self.assertEqual(len(out.splitlines()), 3 if force else 2)
            for name in ("b/c/file", "d", "link/file"):
                self.assertIn("out/%s: " % name, self.stderr)
            messages = self.stderr.rpartition("download: ")[0]
            self.assertEqual(messages.count("symbolic link"), 2)
            self.assertEqual(os.listdir(self.path("outside")), ["file"])
            self.assertEqual(self.read("outside/file"), b"theirs")
            shutil.rmtree(self.path("out/a"))
            os.remove(self.path("out/z"))
        self.assertFalse(os.path.islink(self.path("out/e")))
        self.assertEqual(self.read("out/e"), b"new e")

    def test_the_newest_file_of_a_name_is_fetched_or_all_on_request(self):
        server = self.serve(store="store")
        ids = {}
        for data, time in ((b"middle", 2000), (b"newest", 3000), (b"oldest", 1000)):
            os.utime(self.write("file", data), (0, time))
            self.client(server, "upload", "file", "--name", "sub/file")
            ids[data] = md5(data)
        self.client(server, "upload", "file", "--name", "alone")
        self.client(server, "upload", "file", "--name", "n" * 250)
        self.client(server, "upload", self.write("file", HELLO), "--name", "n" * 250)
        self.client(server, "download", "--all", "sub", "-o", "newest")
        self.assertRegex(self.stderr, "sub/file: 3 files .*" + ids[b"newest"])
        self.assertEqual(self.read("newest/sub/file"), b"newest")
        out = self.client(server, "download", "--all", "--all-versions", "-o", "each",
                          expect=LOCAL_FILE)
        self.assertEqual(len(out.splitlines()), 4)
        messages = self.stderr.rpartition("download: ")[0]
        self.assertEqual(messages.count("is not a valid file name"), 2)
        self.assertEqual(self.files_below("each"),
                         sorted(["alone", *("sub/file." + id for id in ids.values())]))
        for data, id in ids.items():
            self.assertEqual(self.read("each/sub/file." + id), data)

    def test_a_failed_download_leaves_no_folder(self):
        self.write("file", make_data(3000000))
        server = self.serve(store="store")
        self.client(server, "upload", "file", "--name", "a/b/c/file")
        self.damage(self.path("store", md5(make_data(3000000)), "a/b/c/file"), 2000000)
        for words in (("--all",), ("a/b/c/file",)):
            os.makedirs(self.path("out"), exist_ok=True)
            self.client(server, "download", *words, "-o", "out", expect=WRONG_DIGEST)
            self.assertEqual(os.listdir(self.path("out")), [])


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
