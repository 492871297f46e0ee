#!/usr/bin/env python3
"""Uploads of whole folders, and the comparison of a folder with a server.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import hashlib
import os

import peer
import programs
from contents import HELLO, HELLO_ID
from exit_codes import BROKEN, LOCAL_FILE, WRONG_DIGEST
from peer import md5
from trees import Trees


class Uploads(Trees):
    def test_each_file_is_sent_under_its_name_below_the_folder(self):
        files = self.write_tree("tree")
        os.makedirs(self.path("tree/nothing/at all"))
        for folder in ("tree", "./tree//", self.path("tree")):
            server = self.serve()
            out = self.client(server, "upload", folder).decode().splitlines()
            self.assertEqual(self.stderr, "upload: 1 empty folder was not sent\n")
            self.assertEqual(len(out), len(files))
            entries = [line.split(b";") for line in self.client(server, "list").splitlines()]
            self.assertEqual({os.fsdecode(peer.decode_name(entry[1])): entry[0].decode()
                              for entry in entries},
                             {name: md5(data) for name, data in files.items()})

    def test_folders_and_files_of_one_command_are_sent_in_order(self):
        for name in ("a", "tree/z", "tree/b/2", "tree/b/10", "tree/b.txt", "tree/A"):
            self.write(name, name.encode())
        out = self.client(self.serve(), "upload", "tree", "a").decode()
        self.assertEqual([line.split("  ")[2] for line in out.splitlines()],
                         ["A", "b/10", "b/2", "b.txt", "z", "a"])

    def test_files_that_are_not_regular_are_skipped_and_reported(self):
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
            self.assertIn("tree/%s: skipped: " % name, self.stderr)
        self.assertEqual(len(self.stderr.splitlines()), 4)
        # The given folder may be a link.
        os.symlink("tree", self.path("to tree"))
        self.client(server, "upload", "to tree")
        self.assertEqual(self.names(server), ["file"])

    def test_links_are_followed_on_request_and_cycles_are_reported(self):
        server = self.serve()
        self.write("tree/a/file", HELLO)
        self.write("outside/secret", b"secret")
        os.symlink("../outside/secret", self.path("tree/link"))
        os.symlink("../outside", self.path("tree/folder"))
        os.symlink("..", self.path("tree/a/up"))
        os.symlink(".", self.path("tree/a/here"))
        os.symlink("../tree", self.path("outside/back"))
        self.client(server, "upload", "--follow-links", "tree")
        self.assertEqual(self.stderr.count("leads back"), 3)
        self.assertEqual(self.names(server), ["a/file", "folder/secret", "link"])
        os.symlink("nowhere", self.path("tree/dangling"))
        self.client(server, "upload", "--follow-links", "tree", expect=LOCAL_FILE)
        self.assertIn("tree/dangling: ", self.stderr)

    def test_names_that_cannot_be_sent_are_reported_and_the_rest_is_sent(self):
        server = self.serve()
        self.write("tree/a", HELLO)
        self.write("tree/z", HELLO)
        self.write("tree/" + "/".join(["d" * 200] * 5) + "/" + "e" * 20, HELLO)  # 1025 bytes
        for name in (b"latin \xe9", b"folder \xff/file"):
            path = os.path.join(os.fsencode(self.path("tree")), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(HELLO)
        out = self.client(server, "upload", "tree", expect=LOCAL_FILE)
        self.assertEqual(len(out.splitlines()), 2)
        self.assertEqual(self.stderr.rpartition("upload: ")[0].count("can't be sent"), 3)
        self.assertEqual(self.names(server), ["a", "z"])

    def test_unreadable_files_are_reported_and_the_rest_is_sent(self):
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
        self.assertRegex(self.stderr, r"tree/closed: .*\ntree/secret: ")
        self.assertEqual(self.names(server), ["a", "z"])

    def test_an_unreachable_server_is_reported_once(self):
        self.write_tree("tree")
        self.client("unix:nobody", "upload", "tree", expect=BROKEN)
        self.assertEqual(len(self.stderr.splitlines()), 1)


class Verifying(Trees):
    def test_verify_reports_held_and_lacking_files(self):
        for digest, hash in (("md5", hashlib.md5), ("sha256", hashlib.sha256)):
            server = self.serve("--digest", digest)
            files = self.write_tree(digest)
            self.client(server, "upload", digest)
            out = self.client(server, "verify", digest).decode().splitlines()
            self.assertEqual(len(out), len(files))
            self.assertEqual({line.split("  ")[0] for line in out}, {"Held"})
            # Other bytes, the same bytes under another name, and a file that was not uploaded.
            self.write(digest + "/sub.txt", b"changed")
            self.write(digest + "/twin three", b"twins")
            self.write(digest + "/new", b"new")
            out = self.client(server, "verify", digest, expect=WRONG_DIGEST).decode().splitlines()
            self.assertEqual(len(out), len(files) + 2)
            self.assertEqual([line for line in out if not line.startswith("Held  ")], [
                "Lacks  %s  %s" % (hash(data).hexdigest(), name)
                for data, name in ((b"new", "new"), (b"changed", "sub.txt"),
                                   (b"twins", "twin three"))])
            self.assertIn("Held  %s  twin one" % hash(b"twins").hexdigest(), out)

    def test_verify_accepts_files_and_folders(self):
        server = self.serve()
        self.write("sub/a", HELLO)
        self.client(server, "upload", "sub/a")
        self.assertEqual(self.client(server, "verify", "sub/a", "sub").decode(),
                         2 * ("Held  %s  a\n" % HELLO_ID))
        self.write("b", HELLO)
        out = self.client(server, "verify", "b", "sub/a", expect=WRONG_DIGEST).decode()
        self.assertEqual(out, "Lacks  %s  b\nHeld  %s  a\n" % (HELLO_ID, HELLO_ID))
        self.client(server, "verify", "missing", expect=LOCAL_FILE)
        os.symlink("a", self.path("sub/link"))
        self.client(server, "verify", "sub")
        self.assertIn("sub/link: ", self.stderr)
        self.client(server, "verify", "--follow-links", "sub", expect=WRONG_DIGEST)
        self.client("unix:nobody", "verify", "sub", expect=BROKEN)


if __name__ == "__main__":
    programs.run_tests("filexfer-server", "filexfer-client")
