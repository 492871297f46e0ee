#!/usr/bin/env python3
"""Uploads and downloads of whole folders.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""
# ctest: COST 140

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess

import peer
from peer import Behaviour, md5
from relays import Relay
from test_programs import (BROKEN, DONE, HELLO, HELLO_ID, INTERRUPTED, LOCAL_FILE, NAMES, REFUSED,
                           TIMEOUT, USAGE, WRONG_DIGEST, Case, make_data, wait_until)

DEEP = "/".join("%d" % (level % 10) for level in range(100))


class Trees(Case):
    space_in_memory = 64 * 2**20

    def write_tree(self, folder):
        """Writes files with special names, sizes and times. Returns their names and bytes."""
        rng = random.Random(7)
        files = {name: b"content of " + os.fsencode(name) for name in NAMES}
        files.update({"names/" + name: b"again " + os.fsencode(name) for name in NAMES
                      if len(name) < 200})
        files.update({"sub %d/%d/f" % (i % 7, i): make_data(rng.randrange(3000), i)
                      for i in range(150)})
        files.update({"c" * 200: b"long", "d" * 120 + "/" + "e" * 134: b"as long as can be",
                      DEEP + "/end": b"deep", "empty": b"", "sub/empty": b"",
                      "large": make_data(700001), "sub.txt": b"beside sub", "twin one": b"twins",
                      "twin/two": b"twins", "twin/two (again)": b"twins"})
        for name, data in files.items():
            path = self.write(folder + "/" + name, data)
            os.utime(path, ns=(0, rng.choice((-1, 1)) * rng.randrange(2 * 10**18)))
        return files

    def names(self, server, *arguments):
        """The names that the server lists, unescaped."""
        entries = [line.split(b";")
                   for line in self.client(server, "list", *arguments).splitlines()]
        return sorted(os.fsdecode(peer.decode_name(entry[1])) for entry in entries)


class Uploads(Trees):
    def test_each_file_is_sent_under_its_name_below_the_folder(self):
        files = self.write_tree("tree")
        os.makedirs(self.path("tree/nothing/at all"))
        for folder in ("tree", "./tree//", self.path("tree")):
            server = self.serve()
            out = self.client(server, "upload", folder).decode().splitlines()
            self.assertEqual(self.stderr, "")
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
            self.assertIn("tree/%s: is " % name, self.stderr)
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
        self.write("tree/%s/%s" % ("d" * 200, "e" * 55), HELLO)  # 256 bytes
        for name in (b"latin \xe9", b"folder \xff/file"):
            path = os.path.join(os.fsencode(self.path("tree")), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(HELLO)
        out = self.client(server, "upload", "tree", expect=LOCAL_FILE)
        self.assertEqual(len(out.splitlines()), 2)
        self.assertEqual(self.stderr.count("can't be sent"), 3)
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


class Downloads(Trees):
    def assert_same(self, expected, actual):
        result = subprocess.run(["diff", "-r", expected, actual], cwd=self.folder,
                                capture_output=True)
        self.assertEqual((result.returncode, result.stdout), (0, b""), result)

    def test_a_downloaded_tree_equals_the_uploaded_one(self):
        files = self.write_tree("tree")
        for digest, store in (("md5", "memory"), ("sha256", "store")):
            server = self.serve("--digest", digest, store=store)
            self.client(server, "upload", "tree")
            out = self.client(server, "download", "--all", "-o", digest)
            self.assertEqual(len(out.splitlines()), len(files))
            self.assert_same("tree", digest)
            for name in files:
                self.assertEqual(os.stat(self.path(digest, name)).st_mtime_ns,
                                 os.stat(self.path("tree", name)).st_mtime_ns, name)

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

    def files_below(self, folder):
        return sorted(os.path.relpath(os.path.join(path, name), self.path(folder))
                      for path, _, names in os.walk(self.path(folder)) for name in names)

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
            self.assertEqual(self.stderr.count("symbolic link"), 2)
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
        self.assertEqual(self.stderr.count("is no name"), 2)
        self.assertEqual(self.files_below("each"),
                         sorted(["alone", *("sub/file." + id for id in ids.values())]))
        for data, id in ids.items():
            self.assertEqual(self.read("each/sub/file." + id), data)

    def test_a_failed_download_leaves_no_folder(self):
        self.write("file", make_data(3000000))
        server = self.serve(store="store")
        self.client(server, "upload", "file", "--name", "a/b/c/file")
        stored = self.path("store", md5(make_data(3000000)), "a/b/c/file")
        os.chmod(stored, 0o600)
        with open(stored, "r+b") as file:
            file.seek(2000000)
            file.write(b"damage")
        for words in (("--all",), ("a/b/c/file",)):
            os.makedirs(self.path("out"), exist_ok=True)
            self.client(server, "download", *words, "-o", "out", expect=WRONG_DIGEST)
            self.assertEqual(os.listdir(self.path("out")), [])


class Skipping(Trees):
    """Files that the other side has already are not transferred."""

    def logged_sizes(self, server, command):
        """The number of bytes in each line of the server's log about that command."""
        lines = [line for line in server.log().splitlines() if " %s " % command in line]
        return [int(re.search(r'" (\d+) (of \d+ )?bytes', line).group(1)) for line in lines]

    def test_stored_files_are_not_sent_again(self):
        files = self.write_tree("tree")
        server = self.serve(store="store")
        first = self.client(server, "upload", "tree", "--skip-existing").decode().splitlines()
        sent = self.logged_sizes(server, "UPLOAD")
        self.assertEqual(sum(sent), sum(len(data) for data in set(files.values())))
        listed = sorted(self.client(server, "list").splitlines())
        again = self.client(server, "upload", "tree", "--skip-existing").decode().splitlines()
        self.assertEqual(len(again), len(files))
        self.assertEqual(sorted(line.split("  ", 1)[1] for line in again),
                         sorted(line.split("  ", 1)[1] for line in first))
        self.assertEqual({line.split("  ")[0] for line in again}, {"Already there"})
        self.assertEqual(sum(self.logged_sizes(server, "UPLOAD")), sum(sent))
        self.assertEqual(sorted(self.client(server, "list").splitlines()), listed)

    def test_names_and_times_are_updated_without_sending_bytes(self):
        server = self.serve(store="store")
        self.write("tree/a", HELLO)
        self.client(server, "upload", "tree")
        self.write("tree/a", b"other")
        os.utime(self.write("tree/b", HELLO), (0, 1000))
        out = self.client(server, "upload", "--skip-existing", "tree", "-", stdin=HELLO).decode()
        self.assertEqual(sorted(out.splitlines()),
                         ["Already there  %s  b" % HELLO_ID, "Already there  %s  stdin" % HELLO_ID,
                          "Success  %s  a" % md5(b"other")])
        self.assertEqual(sum(self.logged_sizes(server, "UPLOAD")), len(HELLO) + len(b"other"))
        self.client(server, "download", "b", "-o", "copy")
        self.assertEqual(os.stat(self.path("copy")).st_mtime, 1000)
        self.client(server, "upload", "--skip-existing", "--name", "../x", "tree/a", expect=USAGE)
        self.client(self.serve("--read-only"), "upload", "--skip-existing", "tree", expect=REFUSED)

    def test_a_server_without_features_is_sent_everything(self):
        self.write("tree/a", HELLO)
        with peer.Server() as server:
            for _ in range(2):
                out = self.client(server.address, "upload", "--skip-existing", "tree").decode()
                self.assertEqual(out, "Success  %s  a\n" % HELLO_ID)

    def test_existing_files_are_not_fetched_again(self):
        files = self.write_tree("tree")
        server = self.serve()
        self.client(server, "upload", "tree")
        self.client(server, "download", "--all", "-o", "copy")
        before = {name: os.stat(self.path("copy", name)) for name in files}
        count = len(self.logged_sizes(server, "DOWNLOAD"))
        os.utime(self.path("copy/twin/two"), (0, 0))
        for force in ((), ("--force",)):
            out = self.client(server, "download", "--all", "-o", "copy",
                              *force).decode().splitlines()
            self.assertEqual(len(out), len(files))
            self.assertEqual({line.split("  ")[0] for line in out}, {"Already there"})
        self.assertEqual(len(self.logged_sizes(server, "DOWNLOAD")), count)
        for name in files:
            now = os.stat(self.path("copy", name))
            self.assertEqual((now.st_ino, now.st_mtime_ns),
                             (before[name].st_ino, before[name].st_mtime_ns), name)
            if name != "twin/two":
                self.assertEqual(now.st_ctime_ns, before[name].st_ctime_ns, name)

    def test_an_existing_file_that_differs_is_replaced_only_with_force(self):
        server = self.serve()
        self.write("a", HELLO)
        self.client(server, "upload", "a")
        os.mkdir(self.path("out"))
        for data in (b"hellO", b"hello, and more", b""):
            self.write("out/a", data)
            for words in (("a",), ("--all",), (HELLO_ID,)):
                self.client(server, "download", *words, "-o", "out", expect=LOCAL_FILE)
                self.assertEqual(self.read("out/a"), data)
        self.client(server, "download", "--all", "-o", "out", "--force")
        self.assertEqual(self.read("out/a"), HELLO)
        # A link to a file with the same bytes does not count.
        os.rename(self.path("out/a"), self.path("out/b"))
        os.symlink("b", self.path("out/a"))
        for words in (("a", "-o", "out"), (HELLO_ID, "-o", "out/a"), (HELLO_ID, "-o", "out")):
            self.client(server, "download", *words, expect=LOCAL_FILE)

    def test_an_existing_file_is_recognized_by_id_too(self):
        server = self.serve()
        os.utime(self.write("a", HELLO), (0, 1000))
        self.client(server, "upload", "a", "--name", "sub/a")
        self.client(server, "download", "--all", "-o", "out")
        os.utime(self.path("out/sub/a"), (0, 0))
        for words in ((HELLO_ID, "-o", "out/sub/a"), (HELLO_ID.upper(), "-o", "out")):
            out = self.client(server, "download", *words).decode()
            self.assertEqual(out, "Already there  %s  out/sub/a\n" % HELLO_ID)
        self.assertEqual(os.stat(self.path("out/sub/a")).st_mtime, 1000)


class Batches(Trees):
    """Many pipelined files, and connections that break meanwhile."""

    def relay(self, server, *cut_after):
        relay = Relay(server.address)
        self.addCleanup(relay.close)
        relay.cut_after = list(cut_after)
        return relay

    def write_many(self):
        files = {"sub %d/f%03d" % (number % 5, number): make_data(2000, number)
                 for number in range(200)}
        for name, data in files.items():
            self.write("tree/" + name, data)
        return files

    def test_files_on_a_broken_connection_are_retried(self):
        self.retry_options = ()
        files = self.write_many()
        server = self.serve()
        for job, cuts in ((("upload", "tree"), (50000, 100000, 0, 100)),
                          (("download", "--all", "-o", "copy"), (60000, 70000, 0, 100)),
                          (("upload", "--skip-existing", "tree"), (3000, 0, 9000))):
            relay = self.relay(server, *cuts)
            out = self.client(relay.address, *job).decode().splitlines()
            # Each file is reported once, even if it was sent or requested twice.
            self.assertEqual(sorted(line.split("  ")[1] for line in out),
                             sorted(md5(data) for data in files.values()))
            self.assertIn("trying again", self.stderr)
            self.assertEqual(relay.cut_after, [])
        self.assertEqual(self.names(server), sorted(files))
        result = subprocess.run(["diff", "-r", "tree", "copy"], cwd=self.folder,
                                capture_output=True)
        self.assertEqual((result.returncode, result.stdout), (0, b""), result)

    def test_without_retries_one_file_fails_and_the_rest_is_transferred(self):
        files = self.write_many()
        server = self.serve()
        for job in (("upload", "tree"), ("download", "--all", "-o", "copy"),
                    ("upload", "--skip-existing", "tree")):
            relay = self.relay(server, 60000 if "--skip-existing" not in job else 9000)
            out = self.client(relay.address, *job, expect=BROKEN)
            self.assertEqual(len(out.splitlines()), len(files) - 1)
            self.assertEqual(len(self.stderr.splitlines()), 1)
            self.client(server, "upload", "tree")

    def test_a_broken_small_file_resumes_from_its_part_file(self):
        self.retry_options = ()
        data = make_data(2**20)
        self.write("tree/file", data)
        server = self.serve()
        self.client(server, "upload", "tree")
        relay = self.relay(server, 800000)
        self.client(relay.address, "download", "--all", "-o", "copy")
        self.assertLess(relay.passed, 1.2 * len(data))
        self.assertEqual(self.read("copy/file"), data)
        # A part file of an earlier download, even a wrong one, does no harm and is removed.
        self.write("again/.filexfer-%s.part" % md5(data), b"wrong")
        self.client(server, "download", "--all", "-o", "again")
        self.assertEqual(self.read("again/file"), data)
        self.assertEqual(os.listdir(self.path("again")), ["file"])

    def test_a_failed_file_does_not_affect_the_others(self):
        files = self.write_many()
        self.write("tree/sub 2/large", make_data(9000))
        server = self.serve("--max-size", "8000")
        out = self.client(server, "upload", "tree", expect=REFUSED)
        self.assertEqual(len(out.splitlines()), len(files))
        self.assertRegex(self.stderr, "^tree/sub 2/large: the server answered ERROR too-large")
        damaged = "sub 3/f003"
        server = self.serve(store="store")
        self.client(server, "upload", "tree")
        stored = self.path("store", md5(files[damaged]), damaged)
        os.chmod(stored, 0o600)
        with open(stored, "r+b") as file:
            file.write(b"damage")
        self.write("copy/sub 1/f001", b"mine")
        out = self.client(server, "download", "--all", "-o", "copy", expect=LOCAL_FILE).decode()
        self.assertEqual(out.count("Success  "), len(files) - 1)
        self.assertIn("Fail  ", out)
        self.assertIn(damaged + ": what arrived is", self.stderr)
        self.assertEqual(self.read("copy/sub 1/f001"), b"mine")
        self.assertFalse(os.path.exists(self.path("copy", damaged)))
        self.assertEqual([name for name in os.listdir(self.path("copy/sub 3"))
                          if name.startswith(".")], [])

    def test_few_descriptors_are_enough(self):
        files = self.write_many()
        server = self.serve()
        for job in (("upload", "tree"), ("upload", "--skip-existing", "tree"),
                    ("download", "--all", "-o", "copy")):
            for parallel in ("1", "4"):
                command = 'ulimit -n 150; exec "$0" "$@"'
                result = subprocess.run(["sh", "-c", command, peer.program("filexfer-client"),
                                         "--server", server.address,
                                         *job, "--parallel", parallel], cwd=self.folder,
                                        capture_output=True, timeout=TIMEOUT)
                self.assertEqual((result.returncode, result.stderr), (DONE, b""))
                self.assertEqual(len(result.stdout.splitlines()), len(files))


class Parallel(Trees):
    """Several connections."""

    def write_few(self, folder):
        files = {"sub %d/f%d" % (number % 5, number): make_data(2000, number)
                 for number in range(40)}
        for name, data in files.items():
            self.write(folder + "/" + name, data)
        return files

    def start_stalling(self, **faults):
        """Starts a server that stalls in the middle of each file until it is released."""
        server = peer.Server(features=True, behaviour=Behaviour(**faults))
        self.addCleanup(server.stop)
        return server

    def assert_same_trees(self, expected, actual):
        result = subprocess.run(["diff", "-r", expected, actual], cwd=self.folder,
                                capture_output=True)
        self.assertEqual((result.returncode, result.stdout), (0, b""), result)

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
            for name in files:
                self.assertEqual(os.stat(self.path(copy, name)).st_mtime_ns,
                                 os.stat(self.path("tree", name)).st_mtime_ns, name)
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
            server = self.start_stalling(**faults)
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
        files = self.write_few("tree")
        for connections in ("1", "3"):
            server = self.serve("--max-connections", connections)
            for job in (("upload", "tree"), ("download", "--all", "-o", "copy" + connections)):
                out = self.client(server, *job, "--parallel", "8")
                self.assertEqual(len(out.splitlines()), len(files))
                # It is reported once, and is no failure.
                self.assertRegex(self.stderr,
                                 "^--parallel: goes on with fewer connections: .*busy.*\n$")

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
            server = self.start_stalling(**faults)
            for number in range(4) if job[0] == "download" else ():
                server.store.add("sub/f%d" % number, make_data(300000, number))
            client = self.start_client(server, *job, "--parallel", "3")
            wait_until(lambda: self.active_transfers(server, job) == 3, "three files on their way")
            client.send_signal(signal.SIGINT)
            out, err = client.communicate(timeout=TIMEOUT)
            self.assertEqual((client.returncode, out), (INTERRUPTED, b""))
            self.assertEqual(err.count(b"interrupted"), 3)
        self.assertEqual(os.listdir(self.path("copy")), [])

    def relay(self, server):
        relay = Relay(server.address)
        self.addCleanup(relay.close)
        return relay

    def test_broken_connections_are_replaced(self):
        self.retry_options = ()
        files = self.write_few("tree")
        relay = self.relay(self.serve(store="store"))
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
        relay = self.relay(self.serve(store="store"))
        relay.cut_after = [7000, 7000, 7000] + [0] * 100
        out = self.client(relay.address, "upload", "--parallel", "3", *words, expect=BROKEN)
        # Each file is reported, whether it was tried or not.
        self.assertEqual(len(out.splitlines()) + len(set(re.findall(r"tree/f\d\d", self.stderr))),
                         20)
        self.client(relay.address, "upload", "--parallel", "3", "tree", expect=BROKEN)
        self.client("unix:nobody", "upload", "--parallel", "3", "tree", expect=BROKEN)
        self.assertEqual(len(self.stderr.splitlines()), 1)

    def test_parallel_transfers_work_through_via(self):
        files = self.write_few("tree")
        command = "%s --listen stdio --quiet --store store" % peer.program("filexfer-server")
        for job in (("upload", "tree"), ("download", "--all", "-o", "copy")):
            out = self.run_program("filexfer-client", "--via", command, *job, "--parallel", "4")
            self.assertEqual(len(out.splitlines()), len(files))
        self.assert_same_trees("tree", "copy")


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
    peer.run_tests("filexfer-server", "filexfer-client")
