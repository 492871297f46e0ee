#!/usr/bin/env python3
"""Digests that the client remembers, and what it does with those that are wrong.

FILEXFER_BIN is the folder of the programs. Exits with 77 where they are absent.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest

import peer
from peer import md5
from test_programs import DONE, HELLO, LOCAL_FILE, SANITIZED, WRONG_DIGEST, Case, make_data

# b is as long as a, and large is not sent ahead.
FILES = {"a": HELLO, "b": b"other", "longer": b"a longer one", "large": make_data(3000000), "empty": b""}


class Cache(Case):
    @classmethod
    def setUpClass(cls):
        """Each test has old files of its own: their time of change can't be set back."""
        cls.all_files = tempfile.mkdtemp(prefix="filexfer-")
        cls.addClassCleanup(shutil.rmtree, cls.all_files)
        for test in unittest.defaultTestLoader.getTestCaseNames(cls):
            os.mkdir(os.path.join(cls.all_files, test))
            for name, data in FILES.items():
                path = os.path.join(cls.all_files, test, name)
                with open(path, "wb") as file:
                    file.write(data)
                os.utime(path, (0, 1000))
        time.sleep(2.1)

    def setUp(self):
        super().setUp()
        self.old = os.path.join(self.all_files, self._testMethodName)

    def cached(self, server, *arguments, **keywords):
        return self.client(server, "--checksum-cache", "cache", *arguments, **keywords).decode()

    def lines(self):
        return self.read("cache").decode().splitlines()

    def remembered(self):
        return sorted(line.split()[0] for line in self.lines())

    def forge(self, data, data_that_is_not_there):
        """Has the cache say that the file has other bytes."""
        lines = []
        for line in self.lines():
            words = line.split(" ")
            if words[0] == md5(data):
                words[0] = md5(data_that_is_not_there)
            words[-1] = md5((" ".join(words[:-1]) + " ").encode())
            lines.append(" ".join(words) + "\n")
        self.write("cache", "".join(lines).encode())

    def reads(self, server, *arguments):
        """How often the client reads from one of the old files."""
        if SANITIZED or not shutil.which("strace") or subprocess.run(["strace", "-o", os.devnull, "true"]).returncode:
            self.skipTest("nothing can be traced here")
        paths = [word for name in FILES for word in ("-P", os.path.join(self.old, name))]
        result = subprocess.run(
            ["strace", "-f", "-o", self.path("trace"), "-e", "trace=read,readv,pread64,preadv,mmap,sendfile", *paths,
             peer.program("filexfer-client"), "--server", server.address, "--checksum-cache", "cache", *arguments],
            cwd=self.folder, capture_output=True, env=self.environment)
        self.assertEqual(result.returncode, DONE, result)
        return sum(b"resumed" not in line and b"(" in line for line in self.read("trace").splitlines())

    def test_a_second_run_does_not_read_the_files(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        for command in (("verify", self.old), ("upload", "--skip-existing", self.old), ("upload", "--parallel", "3", "--skip-existing", self.old),
                        ("download", "--all", "-o", self.old), ("download", "a", "b", "-o", self.old)):
            self.write("cache", b"")
            self.assertGreater(self.reads(server, *command), 0, command)
            self.assertEqual(self.reads(server, *command), 0, command)

    def test_what_was_not_read_is_not_shown_as_progress(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        for moved in (sum(map(len, FILES.values())), 0):
            said = [json.loads(line) for line in self.cached(server, "--json", "verify", self.old).splitlines()]
            self.assertEqual((said[-1]["files"], said[-1]["bytes"]), (len(FILES), moved))

    def test_what_is_remembered_is_believed(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        self.assertNotIn("Lacks", self.cached(server, "verify", self.old))
        self.assertEqual(self.remembered(), sorted(map(md5, FILES.values())))
        self.forge(FILES["a"], FILES["b"])
        self.assertIn("Lacks  %s  a\n" % md5(FILES["b"]), self.cached(server, "verify", self.old, expect=WRONG_DIGEST))
        self.assertNotIn("Lacks", self.client(server, "verify", self.old).decode())

    def test_a_file_that_was_changed_in_place_is_read_anew(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        self.cached(server, "verify", self.old)
        with open(os.path.join(self.old, "a"), "r+b") as file:
            file.write(b"HELLO")
        os.utime(os.path.join(self.old, "a"), (0, 1000))
        self.assertIn("Lacks  %s  a\n" % md5(b"HELLO"), self.cached(server, "verify", self.old, expect=WRONG_DIGEST))
        self.assertIn("Success  %s  a\n" % md5(b"HELLO"), self.cached(server, "upload", "--skip-existing", self.old))
        self.assertNotIn(md5(b"HELLO"), self.remembered())

    def test_a_young_file_is_not_remembered(self):
        server = self.serve()
        os.utime(self.write("young", b"young"), (0, 1000))
        os.utime(self.write("of tomorrow", b"of tomorrow"), (0, time.time() + 86400))
        old = os.path.join(self.old, "a")
        os.link(old, self.path("linked"))  # changed now, if not its bytes
        self.cached(server, "upload", "--skip-existing", "young", "of tomorrow", old, os.path.join(self.old, "b"))
        self.assertEqual(self.remembered(), [md5(FILES["b"])])

    def test_lines_of_other_kinds_are_passed_over(self):
        server = self.serve()
        self.client(server, "upload", self.old)
        self.cached(server, "verify", self.old)
        good = self.lines()
        foreign = ["", " ", "#", "a comment", "x" * 100000, "\0" * 50, md5(HELLO), "d41d8cd98f00b204e9800998ecf8427e  a",
                   *(line.replace(" md5 ", " sha1 ") for line in good), *(line + " 1" for line in good),
                   *(md5(b"damaged") + line[32:] for line in good)]
        torn = good.pop()
        for cut in (0, 20, 40, len(torn) - 40, len(torn) - 1):
            text = "\n".join([*good, *foreign, torn[:cut]])
            self.write("cache", text.encode())
            self.assertNotIn("Lacks", self.cached(server, "verify", self.old))
            self.assertEqual(self.lines(), text.splitlines() + [torn])
        # The last line has all but its end.
        self.write("cache", "\n".join([*good, torn]).encode())
        self.cached(server, "verify", self.old)
        self.assertEqual(self.lines(), [*good, torn, torn])

    def test_a_wrong_digest_does_not_keep_a_file_from_being_stored(self):
        for name, other in (("a", b"HELLO"), ("a", FILES["longer"]), ("longer", FILES["a"]), ("large", make_data(3000000, 1)),
                            ("large", FILES["a"]), ("empty", FILES["a"])):
            for words in ((), ("--parallel", "2")):
                with self.subTest(name=name, other=other[:20], words=words):
                    server = self.serve(store="store")
                    self.client(server, "upload", *(os.path.join(self.old, held) for held in ("a", "longer") if held != name))
                    self.cached(server, "verify", self.old, expect=WRONG_DIGEST)
                    self.forge(FILES[name], other)
                    out = self.cached(server, "upload", "--skip-existing", *words, self.old)
                    self.assertIn("  %s  %s\n" % (md5(FILES[name]), name), out)
                    self.assertEqual(len(out.splitlines()), len(FILES))
                    self.assertEqual(self.remembered().count("-"), 1, "not forgotten")
                    for stored, data in FILES.items():
                        self.assertEqual(self.read("store/%s/%s" % (md5(data), stored)), data)
                    # It is known now, and for the next run, too.
                    self.assertNotIn("Lacks", self.cached(server, "verify", self.old))
                    self.no_temporaries()
                    server.stop()
                    shutil.rmtree(self.path("store"))
                    os.remove(self.path("cache"))

    def test_a_wrong_digest_and_a_server_that_cannot_be_told_of_it(self):
        with peer.Server() as server:
            path = os.path.join(self.old, "a")
            self.cached(server.address, "upload", "--skip-existing", path)
            self.forge(FILES["a"], b"HELLO")
            self.assertEqual(self.cached(server.address, "upload", "--skip-existing", path), "Success  %s  a\n" % md5(FILES["a"]))

    def test_each_kind_of_digest_is_remembered(self):
        for _ in range(2):
            for digest in ("md5", "sha256"):
                server = self.serve("--digest", digest)
                self.cached(server, "upload", "--skip-existing", self.old)
                out = self.cached(server, "verify", self.old)
                self.assertIn("Held  %s  a\n" % hashlib.new(digest, FILES["a"]).hexdigest(), out)
        self.assertEqual(len(self.lines()), 2 * len(FILES))

    def test_a_cache_that_cannot_be_had(self):
        server = self.serve()
        os.mkdir(self.path("folder"))
        os.mkfifo(self.path("fifo"))
        for cache in ("folder", "fifo", "no/such", ""):
            for command in (("verify", self.old), ("upload", "--skip-existing", self.old), ("download", "--all", "-o", "out")):
                self.assertEqual(self.client(server, "--checksum-cache", cache, *command, expect=LOCAL_FILE), b"")
                self.assertIn("--checksum-cache %s: " % cache, self.said)
        self.assertEqual(self.client(server, "list"), b"")


if __name__ == "__main__":
    peer.run_tests("filexfer-server", "filexfer-client")
